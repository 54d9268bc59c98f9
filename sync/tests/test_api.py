"""/api/sync-sessions/, /api/sync-records/ and /api/visit-health/."""

from __future__ import annotations

import pytest
from django.utils import timezone

from engines.errors import AdapterError
from instances.models import Instance
from instances.tests.api import client_of, client_with, superclient, user_with
from sync import services
from sync.models import SyncRecord, SyncSession, VisitHealth
from sync.registry import ImplausibleShrink

RUN = ("sync.view_syncsession", "sync.run_visits")
SESSIONS = "/api/sync-sessions/"


def fails(instance, phase):
    raise AdapterError("no route to host", code="denied", hint="Look at the network.")


def test_starting_visits_by_id_tag_and_all(probe, make_instances):
    """F1: every entry makes a session, with the person who asked."""
    instances = make_instances(3)
    instances[2].tags.create(slug="lab", label="Lab")
    user = user_with(*RUN)
    client = client_of(user)
    answer = client.post(SESSIONS, {"kind": "probe", "instance_ids": [instances[0].pk] * 2}, format="json")
    told = answer.json()
    assert (answer.status_code, answer["Location"]) == (202, told["url"])
    assert (told["trigger"], told["requested_by"], told["status"]) == ("api", user.username, "running")
    assert (told["counts"]["total"], told["counts"]["pending"]) == (1, 1)
    services.run_here(SyncSession.objects.get())
    told = client.get(told["url"]).json()
    assert (told["status"], told["counts"]["completed"], bool(told["finished_at"])) == ("completed", 1, True)
    services.run_here(SyncSession.objects.get(pk=client.post(SESSIONS, {"kind": "probe", "tag": "lab"}).json()["id"]))
    assert probe.visited == ["db0000", "db0002"]
    answer = client.post(SESSIONS, {"kind": "probe", "all": True}, format="json")
    assert answer.json()["counts"]["total"] == 3


@pytest.mark.parametrize(
    ("asked", "field", "told"),
    [
        ({"instance_ids": [1]}, "kind", "required"),
        ({"kind": "acounts", "all": True}, "kind", "Choose from: accounts, "),
        ({"kind": "probe"}, "non_field_errors", "Give one of"),
        ({"kind": "probe", "all": False}, "non_field_errors", "Give one of"),
        ({"kind": "probe", "all": True, "tag": "lab"}, "non_field_errors", "Give one of"),
        ({"kind": "probe", "instance_ids": []}, "instance_ids", "empty"),
        ({"kind": "probe", "instance_ids": [77, 78, 2**62]}, "instance_ids", "Unknown or retired: 77, 78, 46116"),
        ({"kind": "probe", "instance_ids": [2**80]}, "instance_ids", "less than or equal"),
        ({"kind": "probe", "tag": "lab"}, "tag", "No active instance has the tag 'lab'."),
    ],
)
def test_a_wrong_call_starts_nothing(probe, make_instances, asked, field, told):
    make_instances(1)
    answer = client_with(*RUN).post(SESSIONS, asked, format="json")
    assert answer.status_code == 400
    assert told in str(answer.json()[field])
    assert not SyncSession.objects.exists()


def test_a_retired_instance_is_not_visited(probe, make_instances):
    [instance] = make_instances(1)
    instance.retire()
    client = client_with(*RUN)
    answer = client.post(SESSIONS, {"kind": "probe", "instance_ids": [instance.pk]}, format="json")
    assert (answer.status_code, str(instance.pk) in answer.json()["instance_ids"][0]) == (400, True)
    answer = client.post(SESSIONS, {"kind": "probe", "all": True}, format="json")
    assert answer.json() == {"all": ["There is no active instance."]}


def test_who_may_look_may_not_yet_run(probe, make_instances):
    make_instances(1)
    session = probe.start()
    viewer = client_with("sync.view_syncsession", "sync.view_syncrecord", "sync.view_visithealth")
    record, health = session.records.get(), VisitHealth.objects.create(instance=Instance.objects.get(), kind="probe")
    for url in (
        SESSIONS,
        f"{SESSIONS}{session.pk}/cancel/",
        f"{SESSIONS}{session.pk}/retry-failed/",
        f"/api/sync-records/{record.pk}/confirm-shrink/",
        f"/api/visit-health/{health.pk}/resume/",
    ):
        assert viewer.post(url, {"kind": "probe", "all": True}, format="json").status_code == 403, url
    # The right to run is not the right to declare accounts gone.
    answer = client_with("sync.view_syncrecord", "sync.run_visits").post(
        f"/api/sync-records/{record.pk}/confirm-shrink/"
    )
    assert answer.status_code == 403
    assert SyncSession.objects.count() == 1
    session.refresh_from_db()
    assert session.cancel_requested_at is None


def test_progress_retry_and_cancel(probe, make_instances):
    """F6.3: retry failed, cancel, and see progress, from the API."""
    make_instances(3)
    probe.read = lambda instance, phase: fails(instance, phase) if instance.name == "db0001" else None
    session = probe.run()
    user = user_with(*RUN, "sync.view_syncrecord")
    client = client_of(user)
    counts = client.get(f"{SESSIONS}{session.pk}/").json()["counts"]
    assert (counts["total"], counts["completed"], counts["failed"]) == (3, 2, 1)
    [failed] = client.get(f"{SESSIONS}{session.pk}/records/?status=failed").json()["results"]
    assert (failed["instance_name"], failed["error_code"]) == ("db0001", "denied")
    assert (failed["error"], failed["hint"]) == ("no route to host", "Look at the network.")
    answer = client.post(f"{SESSIONS}{session.pk}/retry-failed/")
    again = answer.json()
    assert (answer.status_code, again["retry_of"], again["trigger"]) == (202, session.pk, "retry")
    assert (again["requested_by"], again["counts"]["total"]) == (user.username, 1)
    answer = client.post(f"{SESSIONS}{again['id']}/cancel/")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    answer = client.post(f"{SESSIONS}{again['id']}/cancel/")
    assert (answer.status_code, answer.json()) == (409, {"detail": "This session has ended: it is cancelled."})
    answer = client.post(f"{SESSIONS}{again['id']}/retry-failed/")
    assert (answer.status_code, "No visit" in answer.json()["detail"]) == (409, True)


def test_confirming_a_held_visit(probe, make_instances):
    """F1.6: an implausible shrink is held until a person confirms it."""
    make_instances(1)

    def write(instance, facts, record):
        raise ImplausibleShrink("accounts", present=12, ending=12)

    probe.write = write
    held = probe.run().records.get()
    client = client_with("sync.view_syncrecord", "sync.confirm_shrink")
    assert client.get("/api/sync-records/?held=true").json()["results"][0]["held_count"] == 12
    answer = client.post(f"/api/sync-records/{held.pk}/confirm-shrink/")
    assert (answer.status_code, answer.json()["retry_of"]) == (202, held.session_id)
    confirmed = SyncRecord.objects.get(session=answer.json()["id"])
    assert (confirmed.confirmed_count, confirmed.instance) == (12, held.instance)
    answer = client.post(f"/api/sync-records/{confirmed.pk}/confirm-shrink/")
    assert (answer.status_code, answer.json()) == (409, {"detail": "This visit was not held for confirmation."})


def test_resuming_a_paused_instance(probe, make_instances):
    [instance] = make_instances(1)
    health = VisitHealth.objects.create(instance=instance, kind="probe", failures=5, paused_at=timezone.now())
    client = client_with("sync.view_visithealth", "sync.run_visits")
    assert client.get("/api/visit-health/?paused=true").json()["results"][0]["instance_name"] == "db0000"
    answer = client.post(f"/api/visit-health/{health.pk}/resume/")
    assert (answer.status_code, answer.json()["paused_at"], answer.json()["failures"]) == (200, None, 0)
    assert client.get("/api/visit-health/?paused=true").json()["count"] == 0


def test_lists_take_a_fixed_number_of_queries(probe, make_instances, django_assert_num_queries):
    make_instances(30)
    for _ in range(3):
        last = probe.run()
    client = superclient()
    with django_assert_num_queries(2):
        sessions = client.get(SESSIONS).json()["results"]
    assert [session["id"] for session in sessions] == sorted((s["id"] for s in sessions), reverse=True)
    with django_assert_num_queries(3):
        assert client.get(f"{SESSIONS}{last.pk}/records/").json()["count"] == 30
    with django_assert_num_queries(2):
        assert client.get("/api/sync-records/").json()["count"] == 90
    with django_assert_num_queries(2):
        assert client.get("/api/visit-health/").json()["count"] == 30
