"""The home page, and the pages of users and schedules."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from accounts.models import Account, AccountChange
from instances.models import Credential, Instance
from instances.tests.pages import staff, superstaff
from sync.models import SyncRecord, SyncSession, VisitHealth
from taifish import schedules

HOME = reverse("admin:index")
TASKS = reverse("admin:django_celery_beat_periodictask_changelist")
VIEW_TASK = "django_celery_beat.view_periodictask"


@pytest.fixture
def store(db: None) -> None:
    credential = Credential.objects.create(name="c", username="u")
    for number, status in enumerate(("completed", "failed", "failed", None, "failed")):
        instance = Instance.objects.create(name=f"db{number}", engine="mysql", host="h", credential=credential)
        session = SyncSession.objects.create(kind="accounts", trigger="schedule")
        if status:
            SyncRecord.objects.create(session=session, instance=instance, kind="accounts", status=status)
            VisitHealth.objects.create(instance=instance, kind="accounts", succeeded_at=timezone.now())
        account = Account.objects.create(
            instance=instance, name="app", kind="user", first_seen_at=timezone.now(), last_seen_at=timezone.now()
        )
        AccountChange.objects.create(account=account, at=timezone.now(), events=["locked"])
    VisitHealth.objects.filter(instance__name="db1").update(paused_at=timezone.now())
    Instance.objects.get(name="db4").retire()


def test_each_figure_is_what_its_list_shows(store):
    client = superstaff()
    figures = {str(figure["label"]): figure for figure in client.get(HOME).context["figures"]}
    assert {label: figure["count"] for label, figure in figures.items()} == {
        "Active instances": 4,
        "Last account visit failed": 2,
        "Never visited": 1,
        "Paused": 1,
    }
    for label, figure in figures.items():
        assert client.get(figure["url"]).context["cl"].result_count == figure["count"], label


def test_the_home_page_takes_a_fixed_number_of_queries(store, django_assert_num_queries):
    client = superstaff()
    # Session, user, figures, running sessions, changes, health.
    with django_assert_num_queries(6):
        answer = client.get(HOME)
    assert len(answer.context["running"]) == 5
    assert len(answer.context["latest"]) == 5
    assert [health.instance.name for health in answer.context["oldest"]] == ["db0", "db1", "db2"]


def test_the_home_page_shows_no_more_than_one_may_see(store):
    page = staff().get(HOME)
    assert page.status_code == 200
    assert (page.context["figures"], page.context["running"], page.context["latest"]) == ([], None, None)
    assert "db0" not in page.content.decode()
    seen = staff("instances.view_instance").get(HOME)
    assert [str(figure["label"]) for figure in seen.context["figures"]] == ["Active instances"]


def test_a_schedule_is_edited_with_the_registered_tasks(db):
    """F6.2: schedules are edited in the admin."""
    schedules.install()
    client = superstaff()
    task = PeriodicTask.objects.get(task="accounts.sync")
    url = reverse("admin:django_celery_beat_periodictask_change", args=[task.pk])
    shown = client.get(url).content.decode()
    for name in ("accounts.sync", "sync.reap", "instances.purge"):
        assert f'<option value="{name}"' in shown
    hourly = CrontabSchedule.objects.create(minute="5", timezone="UTC")
    fields = {"name": "Hourly", "task": "accounts.sync", "crontab": hourly.pk, "args": "[]", "kwargs": "{}"}
    answer = client.post(url, fields | {"headers": "{}"})
    assert answer.status_code == 302, answer.context["errors"]
    task.refresh_from_db()
    assert (task.name, task.crontab, task.enabled) == ("Hourly", hourly, False)
    answer = client.post(url, fields | {"headers": "{}", "kwargs": "not json"})
    assert "Unable to parse JSON" in answer.content.decode()


@pytest.mark.parametrize("action", ["run_tasks", "disable_tasks", "toggle_tasks", "enable_tasks", "delete_selected"])
def test_who_may_look_at_schedules_may_not_run_or_switch_them(db, action):
    schedules.install()
    fields = {"action": action, "_selected_action": list(PeriodicTask.objects.values_list("pk", flat=True)), "post": 1}
    assert staff(VIEW_TASK).post(TASKS, fields).status_code == 403
    assert PeriodicTask.objects.filter(enabled=True).count() == len(schedules.TIMETABLE)


def test_a_user_is_added_and_the_password_is_not_shown(db):
    client = superstaff()
    secret = "Tr0ub4dor&3-secret"
    fields = {"username": "ann", "usable_password": "true", "password1": secret, "password2": secret}
    answer = client.post(reverse("admin:auth_user_add"), fields, follow=True)
    ann = User.objects.get(username="ann")
    assert ann.check_password(secret)
    page = answer.content.decode()
    assert secret not in page
    assert ann.password not in page
