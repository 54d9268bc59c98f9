"""Projections: what is stored, of what, and when it is computed again."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from django.core.management import call_command
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from capacity.models import Database, DatabaseSize, InstanceSize
from instances.models import Instance
from sync.models import SyncRecord, SyncSession
from sync.sessions import follow_up
from tagging.models import InstanceTag, Tag

from ..answers import WINDOW, Forecast, NoForecast
from ..forecast import forecast as of_series
from ..models import Projection, SizeLimit, Volume
from ..reading import BRIDGED, ceilings, forecasts, series, total
from ..services import compute, compute_after
from .stored import GIB, ago, grown

pytestmark = pytest.mark.django_db

LINE = [100 + n for n in range(120)]


@pytest.fixture
def fleet() -> dict[str, Instance]:
    """Two instances with the tag prod, one without; each with databases that grow."""
    Tag.objects.all().delete()
    prod = Tag.objects.create(slug="prod", label="Production")
    return {
        "one": grown("one", {"shop": LINE, "lab": [5] * 120}, tags=[prod]),
        "two": grown("two", {"crm": [200 + 2 * n for n in range(90)]}, tags=[prod], engine="mysql"),
        "three": grown("three", {"new": [7, 8]}),
    }


def answers() -> dict[str, Forecast | NoForecast]:
    return {ceiling.name: found for ceiling, found in forecasts(ceilings())}


def test_every_size_is_projected_and_limits_come_in_later(fleet, django_assert_num_queries):
    """F10.1, F10.2: what is stored for a database and an instance is what its sizes alone give, beside any limit; for
    the total of a tag, a volume and the fleet it is that of the sums."""
    volume = Volume.objects.create(name="san", size=700 * GIB)
    volume.instances.set([fleet["one"], fleet["two"]])
    tag, shop = Tag.objects.get(), Database.objects.get(name="shop")
    compute()
    assert Projection.objects.count() == 4 + 3 + 1 + 1 + 2
    for target in ({"database": shop}, {"instance": fleet["two"]}, {"tag": tag}, {}):
        SizeLimit.objects.create(size=400 * GIB, **target)
    with django_assert_num_queries(7):
        found = answers()
    sizes = {ago(119 - n): size * GIB for n, size in enumerate(LINE)}
    expected = of_series(sizes, 400 * GIB)
    assert (found["one / shop"].days, found["one / shop"].ahead) == (expected.days, expected.ahead)
    assert found["one / shop"].days == 181
    # 224 + 378 GiB now, and 3 more a day; of the fleet 8 more.
    both = 219 + 5 + 378
    assert found["Production"].size == both * GIB
    assert found["whole fleet"].size == (both + 8) * GIB
    assert found["san"].days == pytest.approx((700 - both) / 3, abs=2)
    assert (found["Production"].days, found["whole fleet"].days) == (0, 0)
    assert Projection.objects.get(kind="untagged").reason == "few"


def test_what_has_no_projection_says_so(fleet):
    """F10.2: a new instance, too few days, an empty size: never a number, and the reason in the reader's words."""
    SizeLimit.objects.create(size=GIB, instance=fleet["three"])
    assert answers()["three"].reason.startswith("Cannot tell: nothing was computed yet.")
    compute()
    assert answers()["three"].reason == "Cannot tell: of the last 60 days 2 have a size, 14 are needed."
    assert answers()["three"].as_of == ago(0)
    InstanceSize.objects.filter(instance=fleet["three"]).delete()
    compute()
    assert answers()["three"].reason == "There is no size yet."


def test_old_sizes_are_called_old(fleet):
    """Three days without a size: the forecast goes on from the last one, and says that it is stale."""
    SizeLimit.objects.create(size=500 * GIB, instance=fleet["one"])
    compute()
    assert not answers()["one"].is_stale
    InstanceSize.objects.filter(day__gt=ago(3)).delete()
    compute()
    found = answers()["one"]
    assert (found.as_of, found.is_stale, found.size) == (ago(3), True, (216 + 5) * GIB)
    assert timezone.now() - found.computed_at < timedelta(minutes=1)


def test_an_incomplete_day_of_an_instance_does_not_count(fleet):
    InstanceSize.objects.filter(instance=fleet["one"], day=ago(0)).update(size=1, is_complete=False)
    compute()
    assert Projection.objects.get(kind="instance", target=fleet["one"].pk).as_of == ago(1)


def test_computing_again_replaces_and_forgets(fleet):
    """F10.1: once more changes nothing but the time; gone databases, retired instances and deleted tags lose theirs."""
    compute()
    before = set(Projection.objects.values_list("kind", "target", "size"))
    compute()
    assert set(Projection.objects.values_list("kind", "target", "size")) == before
    Database.objects.filter(name="crm").update(gone_at=timezone.now())
    Instance.objects.filter(pk=fleet["one"].pk).update(retired_at=timezone.now())
    Tag.objects.all().delete()
    counts = compute()
    assert counts == {"instance": 2, "database": 1, "fleet": 1, "untagged": 1}
    assert sorted(Projection.objects.values_list("kind", flat=True)) == sorted(counts.elements())
    assert Projection.objects.get(kind="untagged").size == (378 + 8) * GIB


def test_a_collection_is_followed_by_the_projections_of_what_it_visited(fleet, monkeypatch):
    compute()
    Projection.objects.update(size=1)
    session = SyncSession.objects.create(kind="capacity", trigger="manual", status="completed")
    for name, summary in (("two", {"bytes": 1}), ("three", {})):
        SyncRecord.objects.create(
            session=session, instance=fleet[name], kind="capacity", status="completed", summary=summary
        )
    compute_after(session.pk)
    assert set(Projection.objects.filter(size=1).values_list("instance__name", flat=True)) == {"one", "three"}


def test_the_close_of_a_capacity_session_sends_the_task(django_capture_on_commit_callbacks, monkeypatch):
    sent = []
    monkeypatch.setattr("planning.services.send", sent.extend)
    session = SyncSession.objects.create(kind="capacity", trigger="manual", status="completed")
    with django_capture_on_commit_callbacks(execute=True):
        follow_up(session.pk, "capacity")
    assert ("planning.forecast", (session.pk,)) in [message[:2] for message in sent]


def test_the_command_computes_all_or_some(fleet, capsys):
    call_command("forecast_sizes", "one")
    assert capsys.readouterr().out == "computed: 1 instance, 2 database, 1 fleet, 1 untagged, 1 tag\n"
    call_command("forecast_sizes")
    assert Projection.objects.filter(kind="instance").count() == 3


def test_the_limit_of_a_measured_volume_is_what_was_free_that_day(fleet):
    """F10.1: 200 GiB were free two days ago, beside 600 GiB in use and what others take."""
    volume = Volume.objects.create(name="san", size=9999 * GIB, available=200 * GIB, read_at=timezone.now())
    volume.instances.set([fleet["one"]])
    Volume.objects.update(read_at=timezone.now() - timedelta(days=2))
    compute()
    assert answers()["san"].limit == (217 + 5 + 200) * GIB


def plain_total(parts):
    """What `total` says, day by day and part by part."""
    days = len(parts[0])
    known = [n for n in range(days) if any(part[n] is not None for part in parts)]
    sums = []
    for day in range(days):
        sizes = []
        for part in parts:
            before = [n for n in range(day + 1) if part[n] is not None]
            if before:
                sizes.append(part[before[-1]] if day - before[-1] <= BRIDGED else None)
        inside = bool(known) and known[0] <= day <= known[-1]
        sums.append(sum(sizes) if inside and None not in sizes else None)
    return sums


@given(
    st.integers(1, 30).flatmap(
        lambda days: st.lists(
            st.lists(st.none() | st.integers(0, 2**40), min_size=days, max_size=days), min_size=1, max_size=4
        )
    )
)
def test_sums_are_those_of_a_plain_reference(parts):
    """F10.1: the size of a tag and of the fleet."""
    found = total(np.array([[np.nan if size is None else size for size in part] for part in parts], dtype=float))
    assert [None if np.isnan(size) else int(size) for size in found] == plain_total(parts)


def test_series_are_read_by_kind_in_the_order_asked_for(fleet):
    SizeLimit.objects.create(size=1, tag=Tag.objects.get())
    SizeLimit.objects.create(size=1, database=Database.objects.get(name="lab"))
    DatabaseSize.objects.filter(day=ago(3)).delete()
    InstanceTag.objects.filter(instance=fleet["two"]).delete()
    found = sorted(ceilings(), key=lambda ceiling: ceiling.kind)
    days = series(found)
    assert days.shape == (2, WINDOW)
    assert days[0, -5:].tolist()[0] == 5 * GIB
    assert np.isnan(days[0, -4])
    assert days[1, -1] == 224 * GIB
