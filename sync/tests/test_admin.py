"""The pages of sessions, visits and their health."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse
from django.utils import timezone

from engines.errors import AdapterError
from engines.facts import Gap
from instances.models import Instance
from instances.tests.api import user_with
from instances.tests.pages import entered, staff, superstaff, told
from sync import services
from sync.models import SyncRecord, SyncSession, VisitHealth
from sync.registry import ImplausibleShrink, Outcome

INSTANCES = reverse("admin:instances_instance_changelist")
SESSIONS = reverse("admin:sync_syncsession_changelist")
RECORDS = reverse("admin:sync_syncrecord_changelist")
HEALTH = reverse("admin:sync_visithealth_changelist")
LOOK = ("sync.view_syncsession", "sync.view_syncrecord")
RUN = ("instances.view_instance", "sync.view_syncsession", "sync.run_visits")


def page(session: SyncSession) -> str:
    return reverse("admin:sync_syncsession_change", args=[session.pk])


def live(session: SyncSession) -> str:
    return reverse("admin:sync_syncsession_live", args=[session.pk])


def do(session: SyncSession, button: str) -> str:
    return reverse("admin:sync_syncsession_do", args=[session.pk, button])


def fails(instance, phase):
    raise AdapterError("no route to <host>", code="denied", hint="Look at the network.")


def names(answer) -> list[str]:
    return [row.name for row in answer.context["cl"].result_list]


def test_one_many_and_all_are_visited_with_the_person_who_asked(make_instances):
    """F1: admin action and button (one instance, many, all); a single manual sync makes a session too."""
    one, two, three = make_instances(3)
    three.retire()
    user = user_with(*RUN)
    client = entered(user)
    urls = [
        client.post(reverse("admin:instances_instance_do", args=[one.pk, "sync-accounts"])).url,
        client.post(INSTANCES + "?state=all", {"action": "sync_accounts", "_selected_action": [two.pk, three.pk]}).url,
        client.post(reverse("admin:instances_instance_do_on_list", args=["sync-accounts"])).url,
    ]
    sessions = SyncSession.objects.order_by("pk")
    assert urls == [page(session) for session in sessions]
    assert {(session.kind, session.trigger, session.requested_by) for session in sessions} == {
        ("accounts", "manual", user)
    }
    assert [session.records.count() for session in sessions] == [1, 1, 2]


def test_nothing_to_visit_makes_no_session(make_instances):
    [instance] = make_instances(1)
    instance.retire()
    client = entered(user_with(*RUN))
    answer = client.post(reverse("admin:instances_instance_do_on_list", args=["sync-accounts"]), follow=True)
    assert "Nothing to visit" in told(answer)
    client.post(INSTANCES + "?state=all", {"action": "sync_accounts", "_selected_action": [instance.pk]})
    assert not SyncSession.objects.exists()


def test_instances_are_found_by_their_last_visit(probe, make_instances):
    """A visit that was skipped is none: what was known before stays in view."""
    make_instances(4)
    for name, status in (("db0000", "completed"), ("db0001", "failed"), ("db0001", "skipped"), ("db0002", "failed")):
        instance = Instance.objects.get(name=name)
        session = SyncSession.objects.create(kind="accounts", trigger="manual")
        SyncRecord.objects.create(session=session, instance=instance, kind="accounts", status=status)
    session = SyncSession.objects.create(kind="probe", trigger="manual")
    SyncRecord.objects.create(
        session=session, instance=Instance.objects.get(name="db0002"), kind="probe", status="completed"
    )
    VisitHealth.objects.create(
        instance=Instance.objects.get(name="db0002"), kind="accounts", failures=5, paused_at=timezone.now()
    )
    client = superstaff()
    expected = {
        "last_accounts=failed": ["db0001", "db0002"],
        "last_accounts=completed": ["db0000"],
        "last_accounts=never": ["db0003"],
        "paused=1": ["db0002"],
        "paused=0": ["db0000", "db0001", "db0003"],
        "last_accounts=failed&paused=0": ["db0001"],
    }
    assert {query: names(client.get(f"{INSTANCES}?{query}")) for query in expected} == expected
    assert client.get(f"{INSTANCES}?paused=1").content.decode().count("tf-paused") == 1


def test_the_live_part_follows_a_session_to_its_end(probe, make_instances):
    """F6.3: progress from the session page. F1.12: one failed of three is counted apart."""
    make_instances(3)
    probe.read = lambda instance, phase: fails(instance, phase) if instance.name == "db0001" else None
    probe.write = lambda instance, facts, record: Outcome(
        {"rows": 7, "lost": 0},
        [Gap("routine", "denied", "SELECT on <procs_priv> is missing", hint="Grant it.")]
        if instance.name == "db0002"
        else [],
    )
    session = probe.start()
    client = staff(*LOOK)
    before = client.get(live(session)).content.decode()
    assert 'data-open="1"' in before
    assert "0 of 3 visits have ended" in before
    assert before.count("tf-badge tf-pending") == 1 + 3
    services.run_here(session)
    after = client.get(live(session)).content.decode()
    assert 'data-open="0"' in after
    assert "3 of 3 visits have ended" in after
    for text in ("1 completed", "1 partial", "1 failed", "no route to &lt;host&gt;", "Look at the network.", "7 rows"):
        assert text in after, text
    assert "SELECT on &lt;procs_priv&gt; is missing" in after
    assert "lost" not in after
    failed = client.get(live(session), {"status": "failed"}).content.decode()
    assert ("db0001" in failed, "db0000" in failed) == (True, False)
    # The page itself shows the same, and works without a script.
    assert "3 of 3 visits have ended" in client.get(page(session)).content.decode()


def test_a_session_is_cancelled_and_its_failed_visits_retried(probe, make_instances):
    """F6.3, F1.11"""
    make_instances(2)
    user = user_with("sync.view_syncsession", "sync.run_visits")
    client = entered(user)
    session = probe.start()
    assert "2 pending visits ended" in told(client.post(do(session, "cancel"), follow=True))
    session.refresh_from_db()
    assert session.status == "cancelled"
    assert "no longer available" in told(client.post(do(session, "cancel"), follow=True))
    assert "no longer available" in told(client.post(do(session, "retry"), follow=True))
    probe.read = fails
    failed = probe.run()
    answer = client.post(do(failed, "retry"))
    again = SyncSession.objects.get(retry_of=failed)
    assert answer.url == page(again)
    assert (again.trigger, again.requested_by, again.records.count()) == ("retry", user, 2)
    assert f"probe #{again.pk}" in client.get(page(failed)).content.decode()


def test_a_held_visit_is_confirmed_knowingly_and_once(probe, make_instances):
    """F1.6: an implausible shrink is held until a person confirms it, who is told what is confirmed."""
    make_instances(1)

    def write(instance, facts, record):
        raise ImplausibleShrink("accounts", present=12, ending=12)

    probe.write = write
    held = probe.run().records.get()
    url = reverse("admin:sync_syncrecord_do", args=[held.pk, "confirm"])
    # The right to run is not the right to declare accounts gone.
    runner = staff(*LOOK, "sync.run_visits")
    assert "Confirm: 12" not in runner.get(page(held.session)).content.decode()
    assert runner.post(url, {"confirmed": 1}).status_code == 403
    client = staff(*LOOK, "sync.confirm_shrink")
    assert "Confirm: 12 are really gone" in client.get(page(held.session)).content.decode()
    asked = client.post(url).content.decode()
    assert "12 of 12 accounts would end at once" in asked
    assert "at most 12 disappearances are accepted" in asked
    assert SyncSession.objects.count() == 1
    client.post(url, {"confirmed": 1})
    again = SyncRecord.objects.latest("pk")
    assert (again.confirmed_count, again.instance, again.session.retry_of) == (12, held.instance, held.session)
    # It is confirmed: neither offered nor done again.
    assert "Confirm: 12" not in client.get(page(held.session)).content.decode()
    assert "no longer available" in told(client.post(url, {"confirmed": 1}, follow=True))
    assert SyncSession.objects.count() == 2


def test_pages_are_for_looking_only(probe, make_instances):
    make_instances(1)
    session = probe.run()
    client = superstaff()
    record, health = session.records.get(), VisitHealth.objects.get()
    for name, row in (("syncsession", session), ("syncrecord", record), ("visithealth", health)):
        assert client.get(reverse(f"admin:sync_{name}_add")).status_code == 403
        change = reverse(f"admin:sync_{name}_change", args=[row.pk])
        assert client.get(change).status_code == 200
        assert client.post(change, {"status": "failed"}).status_code == 403
        assert client.post(reverse(f"admin:sync_{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    assert SyncSession.objects.get().status == "completed"


def test_who_may_look_may_not_yet_run(probe, make_instances):
    make_instances(1)
    session = probe.start()
    health = VisitHealth.objects.create(instance=Instance.objects.get(), kind="probe", paused_at=timezone.now())
    viewer = staff(*LOOK, "sync.view_visithealth", "instances.view_instance")
    for url in (
        do(session, "cancel"),
        do(session, "retry"),
        reverse("admin:sync_visithealth_do", args=[health.pk, "resume"]),
        reverse("admin:instances_instance_do_on_list", args=["sync-accounts"]),
        reverse("admin:instances_instance_do", args=[health.instance_id, "sync-accounts"]),
    ):
        assert viewer.post(url, {"confirmed": 1}).status_code == 403, url
    for url, action in ((HEALTH, "resume"), (INSTANCES, "sync_accounts"), (INSTANCES, "resume_instances")):
        fields = {"action": action, "_selected_action": [health.pk]}
        assert viewer.post(url, fields).status_code == 403, action
    pages = "".join(
        viewer.get(url).content.decode()
        for url in (
            page(session),
            INSTANCES,
            HEALTH,
            reverse("admin:instances_instance_change", args=[health.instance_id]),
        )
    )
    assert re.findall(r'formaction="[^"]+"', pages) == []
    assert SyncSession.objects.count() == 1
    assert VisitHealth.objects.get().paused_at
    stranger = staff("instances.view_instance")
    assert stranger.get(live(session)).status_code == 403
    assert stranger.get(page(session)).status_code == 403
    # The session without its visits, for who may not see those.
    assert "db0000" not in staff("sync.view_syncsession").get(page(session)).content.decode()


def test_a_paused_instance_is_resumed_from_anywhere(probe, make_instances):
    [instance] = make_instances(1)
    client = superstaff()
    shown = reverse("admin:instances_instance_change", args=[instance.pk])
    ways = [
        lambda health: client.post(reverse("admin:sync_visithealth_do", args=[health.pk, "resume"]), {"next": shown}),
        lambda health: client.post(HEALTH, {"action": "resume", "_selected_action": [health.pk]}),
        lambda health: client.post(INSTANCES, {"action": "resume_instances", "_selected_action": [instance.pk]}),
    ]
    for way in ways:
        health, _ = VisitHealth.objects.update_or_create(
            instance=instance, kind="probe", defaults={"failures": 5, "paused_at": timezone.now()}
        )
        assert [row.pk for row in client.get(HEALTH, {"paused": "1"}).context["cl"].result_list] == [health.pk]
        assert "tf-paused" in client.get(shown).content.decode()
        assert way(health).status_code == 302
        health.refresh_from_db()
        assert (health.paused_at, health.failures) == (None, 0)


def test_lists_and_pages_take_a_fixed_number_of_queries(probe, make_instances, django_assert_num_queries):
    make_instances(40)
    for _ in range(3):
        session = probe.run()
    client = superstaff()
    # Session, user, users for the filter, two counts, the rows, the saved views.
    with django_assert_num_queries(7):
        assert len(client.get(SESSIONS).context["cl"].result_list) == 3
    with django_assert_num_queries(5):
        assert len(client.get(RECORDS).context["cl"].result_list) == 50
    with django_assert_num_queries(6):
        assert len(client.get(HEALTH).context["cl"].result_list) == 40
    # Session, user, the session, is there anything to retry, retries, how many visits, the visits.
    with django_assert_num_queries(7):
        assert client.get(live(session)).content.decode().count("tf-badge tf-completed") == 1 + 1 + 40


def test_a_large_session_has_pages(probe, make_instances):
    make_instances(201)
    session = probe.start()
    client = staff(*LOOK)
    first, second = (client.get(live(session), {"page": number}).content.decode() for number in (1, 2))
    assert first.count("tf-badge tf-pending") == 1 + 200
    assert second.count("tf-badge tf-pending") == 1 + 1
    assert "1 to 200 of 201" in first
    # A page that is not there is the last one, and a status that is not one is none.
    assert "201 to 201 of 201" in client.get(live(session), {"page": "99", "status": "lost"}).content.decode()


@pytest.mark.parametrize("pk", [77, 2**70])
def test_a_session_that_is_not_there(db, pk):
    client = superstaff()
    assert client.get(f"{SESSIONS}{pk}/live/").status_code == 404
    assert client.post(f"{SESSIONS}{pk}/do/cancel/").status_code == 404
