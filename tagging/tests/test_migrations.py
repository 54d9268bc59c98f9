"""An upgrade does what a worker had still to do."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from instances.models import Instance
from tagging import services
from tagging.models import InstanceTag, Tag, TagOperation
from tagging.tests.test_bulk import links, make


@pytest.fixture
def before(transactional_db: None) -> Iterator[None]:
    """Ends as it began, whatever happens in between."""
    yield
    # Of all apps: going back in one takes those along that depend on it.
    call_command("migrate", verbosity=0)


def test_operations_that_wait_are_finished_by_the_upgrade(before: None) -> None:
    """F4.1: with the outcome of every pair, as a worker would have noted it; receipts stay as they are."""
    (one, two, old), (prod, off) = make(3, 2)
    Tag.objects.filter(pk=off).update(active=False)
    Instance.objects.get(pk=old).retire()
    InstanceTag.objects.create(instance_id=two, tag_id=prod)
    InstanceTag.objects.create(instance_id=old, tag_id=off)
    ada = User.objects.create(username="ada")
    kept = TagOperation.objects.get(pk=services.assign([two], [prod]).pk)
    every = IntervalSchedule.objects.create(every=60, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.create(name="Resume tag operations", task="tagging.resume", interval=every)

    call_command("migrate", "tagging", "0006", verbosity=0)
    blocks = [{"instances": [one, two, old, 10**12], "tags": [prod, off, 10**12]}]
    with connection.cursor() as cursor:
        for action in ("assign", "remove"):
            cursor.execute(
                "INSERT INTO tagging_tagoperation (action, requested_by_id, created_at, asked, outcomes, reasons)"
                " VALUES (%s, %s, now(), %s, '{}', '[]')",
                [
                    action,
                    ada.pk,
                    json.dumps(blocks if action == "assign" else [{"instances": [one], "tags": [prod, off]}]),
                ],
            )
    call_command("migrate", verbosity=0)

    removed, added = TagOperation.objects.all()[:2]
    assert {outcome: sorted(added.pairs(outcome)) for outcome in added.outcomes} == {
        "added": [(one, prod)],
        "already_there": [(two, prod)],
        "retired": [(old, prod), (old, off)],
        "inactive": [(one, off), (two, off)],
        "unknown": [(one, 10**12), (two, 10**12), (old, 10**12), *((10**12, tag) for tag in (prod, off, 10**12))],
    }
    assert (removed.totals, removed.finished_at >= removed.created_at) == ({"removed": 1, "not_there": 1}, True)
    assert (
        TagOperation.objects.get(pk=kept.pk).__dict__.items()
        >= {"finished_at": kept.finished_at, "outcomes": kept.outcomes, "reasons": kept.reasons}.items()
    )
    assert links() == {(two, prod), (old, off)}
    assert not PeriodicTask.objects.filter(task="tagging.resume").exists()
    # What it added could be undone like any other, had it not been removed by the next.
    assert services.undo(added).totals == {"not_there": 1}
