"""Tablespaces fill up too: to the limit that the engine knows, or to one that was typed in."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from capacity.models import Tablespace, TablespaceSize
from console.visibility import shown_to
from instances.models import Instance
from instances.tests.api import superclient
from instances.tests.pages import superstaff
from planning.answers import Forecast
from planning.models import Projection, SizeLimit
from planning.reading import Ceiling, ceilings, forecasts, growing, one, series
from planning.services import compute
from planning.tests.stored import GIB, ago, grown


@pytest.fixture
def instance(db: None) -> Instance:
    return grown("ora", {"ORCLPDB": [100] * 60}, engine="oracle")


def tablespace(instance: Instance, name: str, used: bool = True, days: int = 60, **fields: Any) -> Tablespace:
    """It allocates 90 GiB, and fills by 1 GiB a day to 60; `used`: the engine says so."""
    now = timezone.now()
    row = Tablespace.objects.create(
        instance=instance,
        database=instance.databases.get(),
        name=name,
        first_seen_at=now,
        last_seen_at=now,
        size=90 * GIB,
        used=60 * GIB if used else None,
        **fields,
    )
    TablespaceSize.objects.bulk_create(
        TablespaceSize(
            tablespace=row,
            day=ago(days - 1 - n),
            size=90 * GIB if used else (n + 1) * GIB,
            used=(n + 1) * GIB if used else None,
            collected_at=now,
        )
        for n in range(days)
    )
    return row


def found() -> dict[str, tuple[Ceiling, Any]]:
    return {ceiling.name: (ceiling, answer) for ceiling, answer in forecasts(ceilings())}


@pytest.mark.parametrize("used", [True, False])
def test_the_limit_of_the_engine_needs_no_typing_and_a_typed_one_goes_first(instance, used):
    """F10.1: MAXBYTES; what is used counts, or what is allocated where the engine does not say."""
    users = tablespace(instance, "USERS", used, limit=100 * GIB)
    compute()
    ceiling, forecast = found()["ora / ORCLPDB / USERS"]
    assert (ceiling.kind, ceiling.limit, ceiling.source, ceiling.row) == ("tablespace", 100 * GIB, "engine", None)
    assert isinstance(forecast, Forecast)
    assert (forecast.size, forecast.days) == (60 * GIB, 40)
    limit = SizeLimit.objects.create(tablespace=users, size=70 * GIB)
    ceiling, forecast = found()["ora / ORCLPDB / USERS"]
    assert (ceiling.limit, ceiling.source, ceiling.row) == (70 * GIB, "typed", limit)
    assert forecast.days == 10
    assert one("tablespace", users)[1].days == 10
    limit.delete()
    assert one("tablespace", users)[1].days == 40


def test_a_day_without_the_bytes_in_use_is_a_gap(instance):
    """What is allocated would look like a jump."""
    users = tablespace(instance, "USERS", limit=100 * GIB)
    TablespaceSize.objects.filter(tablespace=users, day=ago(5)).update(used=None)
    sizes = series([found()["ora / ORCLPDB / USERS"][0]])[0]
    assert sizes[-5] == 56 * GIB
    assert sizes[-6] != sizes[-6]
    assert sizes[-7] == 54 * GIB


def test_undo_and_temporary_tablespaces_only_with_a_typed_limit(instance):
    """The engine uses their space again: they are full by design."""
    tablespace(instance, "USERS")
    temp = tablespace(instance, "TEMP", kind="temporary", limit=61 * GIB)
    tablespace(instance, "OLD", limit=61 * GIB, gone_at=timezone.now())
    compute()
    assert not [name for name in found() if name.startswith("ora")]
    assert Projection.objects.filter(kind="tablespace").count() == 1
    SizeLimit.objects.create(tablespace=temp, size=65 * GIB)
    compute()
    assert found()["ora / ORCLPDB / TEMP"][1].days == 5
    instance.retire()
    assert found() == {}


def test_growth_without_a_limit_leaves_out_what_the_engine_limits(instance):
    data = tablespace(instance, "DATA")
    tablespace(instance, "USERS", limit=100 * GIB)
    typed = tablespace(instance, "TYPED")
    SizeLimit.objects.create(tablespace=typed, size=GIB)
    compute()
    assert [row.target for row in growing(kind="tablespace")] == [data.pk]


def test_tablespaces_on_the_page_and_over_the_api(instance, django_assert_num_queries):
    users = tablespace(instance, "USERS", limit=100 * GIB)
    tablespace(instance, "DATA", limit=100 * GIB)
    compute()
    SizeLimit.objects.create(tablespace=users, size=70 * GIB)
    with django_assert_num_queries(3):
        assert len(ceilings()) == 2
    browser = superstaff()
    for url in (reverse("filling-up"), reverse("forecasts")):
        page = browser.get(url).text
        assert "ora / ORCLPDB / USERS" in page
        assert "ora / ORCLPDB / DATA" in page
    assert "ora / ORCLPDB / DATA" in browser.get(reverse("filling-up"), {"kind": "tablespace"}).text
    detail = browser.get(reverse("filling-up"), {"of": f"tablespace-{users.pk}"})
    assert "ora / ORCLPDB / USERS" in detail.text
    rows = superclient().get(reverse("filling-up-list"), {"kind": "tablespace"}).json()["results"]
    assert [(row["name"], row["limit_source"], row["days"]) for row in rows] == [
        ("ora / ORCLPDB / USERS", "typed", 10),
        ("ora / ORCLPDB / DATA", "engine", 40),
    ]
    assert shown_to(SizeLimit.objects.all(), None).count() == 1
