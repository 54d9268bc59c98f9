"""The home page, and the pages of users and schedules."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from accounts.models import Account, AccountChange
from capacity.tests.stored import database, total
from instances.models import Credential, Instance
from instances.tests.pages import staff, superstaff
from planning.models import SizeLimit
from planning.services import compute
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
        account = Account.objects.create(instance=instance, name="app", kind="user", first_seen_at=timezone.now())
        AccountChange.objects.create(account=account, at=timezone.now(), events=["locked"])
    boss = Account.objects.create(
        instance=instance, name="boss", kind="user", is_superuser=True, first_seen_at=timezone.now()
    )
    details = {"attributes": {"is_superuser": [False, True]}}
    AccountChange.objects.create(account=boss, at=timezone.now(), events=["attributes"], details=details)
    measured = Instance.objects.get(name="db0")
    total(measured, 10, ago=1)
    database(measured, "shop", 5)
    session = SyncSession.objects.create(kind="capacity", trigger="schedule", status="failed")
    SyncRecord.objects.create(session=session, instance=measured, kind="capacity", status="failed")
    Instance.objects.update(created_at=timezone.now() - timedelta(days=2))
    VisitHealth.objects.filter(instance__name="db1").update(paused_at=timezone.now())
    Instance.objects.get(name="db4").retire()


def test_each_figure_is_what_its_list_shows(store):
    client = superstaff()
    figures = {str(figure["label"]): figure for figure in client.get(HOME).context["figures"]}
    assert {label: figure["count"] for label, figure in figures.items()} == {
        "Active instances": 4,
        "Last account visit failed": 2,
        "Last capacity visit failed": 1,
        "Never visited": 1,
        "Accounts not known": 4,
        "Paused": 1,
        "No size yesterday": 4,
        "New superusers in a day": 1,
    }
    for label, figure in figures.items():
        shown = client.get(figure["url"]).context
        if label == "No size yesterday":
            assert shown["page"].paginator.count == figure["count"]
        else:
            assert shown["cl"].result_count == figure["count"], label


def test_the_home_page_takes_a_fixed_number_of_queries(store, django_assert_num_queries):
    client = superstaff()
    # Session, user, figures (three), scheduler, workers (two), running sessions, changes (two), health of visits,
    # databases (two), limits (those set, of volumes, of engines), schedules.
    with django_assert_num_queries(18):
        answer = client.get(HOME)
    assert len(answer.context["running"]) == 5
    assert len(answer.context["latest"]) == 6
    assert [health.instance.name for health in answer.context["oldest"]] == ["db0", "db1", "db2"]
    assert [change["change"].account.name for change in answer.context["superusers"]] == ["boss"]
    assert [database.name for database in answer.context["largest"]] == ["shop"]


def test_a_superuser_is_news_once(store):
    """A first visit says what is there, not what happened."""
    news = AccountChange.objects.of_the_last(1).of_new_superusers()
    boss = Account.objects.get(name="boss")
    assert [change.account for change in news.all()] == [boss]
    change = AccountChange.objects.get(account=boss)
    before = timezone.now() - timedelta(days=1, hours=1)
    for fields in ({"baseline": True}, {"at": before}, {"events": ["locked"], "details": {}}):
        with transaction.atomic():
            AccountChange.objects.filter(pk=change.pk).update(**fields)
            assert not news.all().exists()
            transaction.set_rollback(True)


def test_superusers_that_came_and_went_within_the_day_are_news(store):
    """Fault 14: tile, card and list show the same changes; who is gone, or was demoted, is marked so."""
    instance = Instance.objects.get(name="db0")

    def account(name: str, *changes: tuple[str, object], superuser: bool, gone: bool = False) -> None:
        now = timezone.now()
        row = Account.objects.create(
            instance=instance, name=name, kind="user", is_superuser=superuser, first_seen_at=now, gone_at=now if gone else None
        )  # fmt: skip
        for hours, (event, after) in zip(range(len(changes), 0, -1), changes, strict=True):
            details = {} if after is None else {"attributes": {"is_superuser": [not after, after]}}
            AccountChange.objects.create(account=row, at=now - timedelta(hours=hours), events=[event], details=details)

    account("stayed", ("appeared", None), superuser=True)
    account("dropped", ("appeared", None), ("disappeared", None), superuser=True, gone=True)
    account("demoted", ("attributes", True), ("attributes", False), superuser=False)
    account("came demoted", ("appeared", None), ("attributes", False), superuser=False)
    account("promoted later", ("appeared", None), ("attributes", True), superuser=True)
    account("plain", ("appeared", None), ("disappeared", None), superuser=False, gone=True)
    account("only demoted", ("attributes", False), superuser=False)
    account("came back plain", ("reappeared", False), superuser=False)
    expected = {"boss", "stayed", "dropped", "demoted", "came demoted", "promoted later"}
    client = superstaff()
    home = client.get(HOME).context
    (figure,) = [figure for figure in home["figures"] if figure["label"] == "New superusers in a day"]
    listed = client.get(figure["url"])
    changes = list(listed.context["cl"].result_list)
    assert {change.account.name for change in changes} == expected
    assert len(changes) == figure["count"] == len(expected)
    assert {row["change"].pk for row in home["superusers"]} == {change.pk for change in changes}
    over = {change.account.name for change in changes if change.is_over}
    assert over == {"dropped", "demoted", "came demoted"}
    for page in (listed, client.get(HOME)):
        text = page.content.decode()
        assert text.count('tf-gone">gone<') == 1
        assert text.count("no longer superuser") == 2


def test_the_home_page_shows_no_more_than_one_may_see(store):
    page = staff().get(HOME)
    assert page.status_code == 200
    parts = ("figures", "checks", "running", "superusers", "latest", "oldest", "largest", "growers", "forecasts")
    assert {page.context[part] for part in (*parts, "schedules")} == {None}
    assert "db0" not in page.content.decode()
    seen = staff("instances.view_instance").get(HOME)
    assert [str(figure["label"]) for figure in seen.context["figures"]] == ["Active instances"]


def test_the_home_page_names_what_is_nearest_and_what_runs_next(store):
    schedules.install()
    instance = Instance.objects.get(name="db0")
    instance.sizes.all().delete()
    for ago in range(30):
        total(instance, 1000 - 10 * ago, ago=ago)
    SizeLimit.objects.create(instance=instance, size=1095)
    compute()
    page = superstaff().get(HOME)
    assert [row["forecast"].days for row in page.context["forecasts"]] == [10]
    assert "in 10 days" in page.content.decode()
    assert len(page.context["schedules"]) == len(schedules.TIMETABLE)
    runs = [row["next"] for row in page.context["schedules"]]
    assert runs == sorted(runs)
    PeriodicTask.objects.update(last_run_at=timezone.now() - timedelta(days=2))
    late = superstaff("late").get(HOME)
    assert {row["is_late"] for row in late.context["schedules"]} == {True}
    assert "not well" in late.content.decode()


def test_a_schedule_is_edited_with_our_tasks(db):
    """F6.2, F8.7: schedules are edited in the admin, and run our tasks only, without arguments."""
    schedules.install()
    client = superstaff()
    task = PeriodicTask.objects.get(task="accounts.sync")
    url = reverse("admin:django_celery_beat_periodictask_change", args=[task.pk])
    shown = client.get(url).content.decode()
    for name in ("accounts.sync", "sync.reap", "instances.purge"):
        assert f'<option value="{name}"' in shown
    hourly = CrontabSchedule.objects.create(minute="5", timezone="UTC")
    for name in ("celery.chain", "sync.visit", "sync.work"):
        assert f'<option value="{name}"' not in shown
    for name in ("args", "kwargs", "queue", "exchange", "routing_key", "priority", "headers", "expires"):
        assert f'name="{name}"' not in shown
    PeriodicTask.objects.filter(pk=task.pk).update(args='["x"]', queue="elsewhere", headers='{"a": 1}')
    fields = {"name": "Hourly", "task": "accounts.sync", "crontab": hourly.pk, "kwargs": '{"x": 1}'}
    answer = client.post(url, fields)
    assert answer.status_code == 302, answer.context["errors"]
    task.refresh_from_db()
    assert (task.name, task.crontab, task.enabled) == ("Hourly", hourly, False)
    assert (task.args, task.kwargs, task.queue, task.headers) == ("[]", "{}", None, "{}")
    answer = client.post(url, fields | {"task": "sync.visit"})
    assert "Select a valid choice." in answer.content.decode()


def test_intervals_have_a_lower_bound(db):
    """F8.7"""
    client, url = superstaff(), reverse("admin:django_celery_beat_intervalschedule_add")
    for every, period in ((9, "seconds"), (9_000_000, "microseconds")):
        answer = client.post(url, {"every": every, "period": period})
        assert "At least 10 seconds must lie between two runs." in answer.content.decode()
    none = {"periodictask_set-TOTAL_FORMS": 0, "periodictask_set-INITIAL_FORMS": 0}
    assert client.post(url, {"every": 10, "period": "seconds"} | none).status_code == 302


def test_other_tasks_are_not_run_at_once_either(db, monkeypatch):
    """F8.7"""
    schedules.install()
    PeriodicTask.objects.filter(task="sync.purge").update(kwargs='{"x": 1}')
    PeriodicTask.objects.filter(task="capacity.purge").update(task="sync.visit")
    run = []
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda self, **options: run.append(self.name))
    chosen = PeriodicTask.objects.filter(task__in=["sync.purge", "sync.visit", "sync.reap"])
    form = {"action": "run_tasks", "_selected_action": list(chosen.values_list("pk", flat=True))}
    text = superstaff().post(TASKS, form, follow=True).content.decode()
    assert run == ["sync.reap"]
    assert "Not run, because they have another task or arguments" in text


def test_a_schedule_says_when_in_words(db):
    schedules.install()
    text = superstaff().get(TASKS).content.decode()
    for words in ("every day at 04:45, UTC", "every hour at minute 20", "every 30 seconds"):
        assert words in text, words


def test_shipped_schedules_have_chinese_names_in_their_list(db):
    schedules.install()
    text = superstaff().get(TASKS, headers={"accept-language": "zh-hans"}).content.decode()
    assert "Sync accounts" not in text.split('id="result_list"')[1]


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


def test_a_new_style_is_not_hidden_by_the_one_that_browsers_keep(db):
    style = settings.BASE_DIR / "taifish" / "static" / "taifish" / "taifish.css"
    assert f'taifish/taifish.css?{style.stat().st_mtime_ns}"' in superstaff().get(HOME).content.decode()
