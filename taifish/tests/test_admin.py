"""The home page, and the pages of users and schedules."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape, strip_tags
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from accounts.models import Account, AccountChange
from alerts.models import Alert, AlertRule, Channel
from capacity.models import InstanceSize
from capacity.tests.stored import database, total
from classification.models import Assignment, Classification, ClassificationRule, RuleResult
from console.units import bytes_label
from instances.models import Credential, Instance
from instances.tests.pages import entered, staff, superstaff
from planning.models import SizeLimit
from planning.services import compute
from sync.models import SyncRecord, SyncSession, VisitHealth
from tagging.models import InstanceTag, Tag, TagLimit
from taifish import roles, schedules

HOME = reverse("admin:index")
TASKS = reverse("admin:django_celery_beat_periodictask_changelist")
VIEW_TASK = "django_celery_beat.view_periodictask"


@pytest.fixture
def store(db: None) -> None:
    credential = Credential.objects.create(name="c", username="u")
    for number, status in enumerate(("completed", "failed", "failed", None, "failed")):
        instance = Instance.objects.create(name=f"db-{number}", engine="mysql", host="h", credential=credential)
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
    measured = Instance.objects.get(name="db-0")
    total(measured, 10, ago=1)
    database(measured, "shop", 5)
    session = SyncSession.objects.create(kind="capacity", trigger="schedule", status="failed")
    SyncRecord.objects.create(session=session, instance=measured, kind="capacity", status="failed")
    Instance.objects.update(created_at=timezone.now() - timedelta(days=2))
    VisitHealth.objects.filter(instance__name="db-1").update(paused_at=timezone.now())
    classes = [
        Classification.objects.create(code=code, name=code, risk=code) for code in ("critical", "high", "medium")
    ]
    now = timezone.now()
    for name, number, since, until in (
        ("boss", 0, now, None),
        ("boss", 1, now - timedelta(days=9), None),
        ("db-0", 1, now - timedelta(days=9), None),
        ("db-1", 2, now - timedelta(days=9), now),
        ("db-2", 0, now - timedelta(days=9), None),
    ):
        account = boss if name == "boss" else Account.objects.get(instance__name=name)
        Assignment.objects.create(
            account=account,
            instance=account.instance,
            classification=classes[number],
            reason="by hand",
            since=since,
            until=until,
        )
    rule = AlertRule.objects.create(name="Failing", kind="failing", threshold=1)
    for instance in Instance.objects.filter(name__in=["db-1", "db-2"]):
        Alert.objects.create(
            rule=rule, key=instance.pk, text="visits fail", instance=instance, first_seen_at=now, last_seen_at=now
        )
    SyncRecord.objects.update(started_at=now)
    Instance.objects.get(name="db-4").retire()


def figures_of(client: Client) -> dict[str, tuple[int, str]]:
    """Every number of the home page that has a list: what it is, the number, and the address of the list."""
    home = client.get(HOME)
    context = home.context
    found = {str(figure["label"]): (figure["count"], figure["url"]) for figure in context["figures"] or ()}
    found |= {f"risk {row['risk']}": (row["count"], row["url"]) for row in context["risks"] or ()}
    for kind in context["visits"] or ():
        found |= {f"{kind['label']} {one['status']}": (one["count"], one["url"]) for one in kind["outcomes"]}
    if context["alerts"] is not None:
        found["Open alerts"] = (context["alerts"]["count"], context["alerts"]["url"])
    for _count, url in found.values():
        assert _count == 0 or f'href="{escape(url)}"' in home.text, url
    return found


def assert_lists_agree(client: Client) -> None:
    for label, (count, url) in figures_of(client).items():
        shown = client.get(url).context
        rows = shown["page"].paginator.count if label == "No size yesterday" else shown["cl"].result_count
        assert rows == count, label


def test_each_figure_is_what_its_list_shows(store):
    client = superstaff()
    assert {label: count for label, (count, _url) in figures_of(client).items()} == {
        "Active instances": 4,
        "Last account visit failed": 2,
        "Last capacity visit failed": 1,
        "Never visited": 1,
        "Accounts not known": 4,
        "Paused": 1,
        "No size yesterday": 4,
        "New superusers in a day": 1,
        "risk critical": 2,
        "risk high": 1,
        "risk medium": 0,
        "risk low": 0,
        "Accounts completed": 1,
        "Accounts failed": 3,
        "Capacity failed": 1,
        "Open alerts": 2,
    }
    assert_lists_agree(client)


def test_figures_hold_within_a_limit_to_a_tag(store):
    """What a limited user counts, the lists behind show to the same user."""
    tag = Tag.objects.create(slug="some", label="Some")
    InstanceTag.objects.bulk_create(
        InstanceTag(tag=tag, instance=instance) for instance in Instance.objects.filter(name__in=["db-0", "db-1"])
    )
    roles.install()
    user = User.objects.create_user("limited", is_staff=True)
    user.groups.add(Group.objects.get(role__key="viewer"))
    TagLimit.objects.create(user=user, tag=tag)
    client = entered(user)
    found = {label: count for label, (count, _url) in figures_of(client).items()}
    assert (found["Active instances"], found["risk critical"], found["risk high"], found["Open alerts"]) == (2, 0, 1, 1)
    assert_lists_agree(client)
    home = client.get(HOME)
    assert (home.context["sizes"]["n"], home.context["sizes"]["n_all"]) == (1, 2)
    assert home.context["steps"] == []
    for hidden in ("db-2", "db-3", "db-4"):
        assert hidden not in home.text


def test_what_is_well_is_not_a_figure(store):
    VisitHealth.objects.update(paused_at=None)
    assert "Paused" not in figures_of(superstaff())


def test_accounts_by_risk_are_those_of_the_highest_risk_and_change_in_a_day(store):
    client = superstaff()
    risks = {row["risk"]: row for row in client.get(HOME).context["risks"]}
    assert [(row["count"], row["change"]) for row in risks.values()] == [(2, 1), (1, -1), (0, -1), (0, 0)]
    text = client.get(HOME).text
    assert "+1" in text
    assert "as a day ago" in text
    Account.objects.filter(name="boss").update(gone_at=timezone.now())
    assert client.get(HOME).context["risks"][0]["count"] == 1


def test_risk_is_unknown_before_rules_have_run(store):
    """F7.3: what was not computed is not 0."""
    Assignment.objects.all().delete()
    page = superstaff().get(HOME)
    assert page.context["risks"] is None
    assert "no rule has classified accounts yet" in page.text
    rule = ClassificationRule.objects.create(
        classification=Classification.objects.first(), code="r", name="r", expression="can_login"
    )
    RuleResult.objects.create(rule=rule, instance=Instance.objects.first(), version=1, at=timezone.now())
    assert [row["count"] for row in superstaff("again").get(HOME).context["risks"]] == [0, 0, 0, 0]


def test_the_total_size_says_of_how_many_instances_it_is(store):
    db0, db1 = Instance.objects.filter(name__in=["db-0", "db-1"]).order_by("name")
    for ago in range(2, 40):
        total(db0, 10_000 - ago, ago=ago)
    total(db1, 4_000, ago=3)
    page = superstaff().get(HOME)
    sizes = page.context["sizes"]
    assert (sizes["n"], sizes["n_all"], sizes["size"]) == (2, 4, bytes_label(4_010))
    assert "2 of 4 instances, as last measured" in page.text
    assert page.text.count("<polyline") == 1
    InstanceSize.objects.all().delete()
    assert "Not known: no instance was measured completely" in superstaff("again").get(HOME).text


def test_a_new_installation_says_what_to_do_next(db):
    client = superstaff()

    def steps() -> list[str]:
        page = client.get(HOME)
        assert all(f'href="{step.url}"' in page.text for step in page.context["steps"])
        return [str(step.label) for step in page.context["steps"]]

    AlertRule.objects.update(active=False)
    assert steps() == ["Add an instance", "Alert rules"]
    credential = Credential.objects.create(name="c", username="u")
    instance = Instance.objects.create(name="db", engine="mysql", host="h", credential=credential)
    assert steps() == ["Visit the instances", "Alert rules"]
    VisitHealth.objects.create(instance=instance, kind="accounts", succeeded_at=timezone.now())
    assert steps() == ["Alert rules"]
    rule = AlertRule.objects.create(name="r", kind="paused", active=True)
    assert steps() == ["Alert rules"]
    channel = Channel.objects.create(name="mail", kind="email", addresses="a@example.org")
    rule.channels.add(channel)
    assert steps() == []
    Channel.objects.update(active=False)
    assert steps() == ["Alert rules"]
    assert [step.label for step in staff("instances.view_instance").get(HOME).context["steps"]] == []


def test_the_home_page_says_what_changed(store):
    text = superstaff().get(HOME).text
    assert "superuser: no → yes" in text
    assert 'class="tf-badge tf-attributes"' in text


def test_the_home_page_takes_a_fixed_number_of_queries(store, django_assert_num_queries):
    client = superstaff()
    # Session, user, steps, figures (three), risks, sizes (two), visits, alerts (two), scheduler, workers (two), running
    # sessions (two), changes (two), databases (two), limits (three: set, of volumes, of engines).
    with django_assert_num_queries(25):
        answer = client.get(HOME)
    assert len(answer.context["running"]) == 5
    assert len(answer.context["latest"]) == 6
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
    instance = Instance.objects.get(name="db-0")

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
    parts = ("steps", "figures", "risks", "sizes", "visits", "alerts", "checks", "running", "superusers", "latest")
    assert {page.context[part] for part in (*parts, "largest", "growers", "forecasts")} == {None}
    assert "db-0" not in page.content.decode()
    seen = staff("instances.view_instance").get(HOME)
    assert [str(figure["label"]) for figure in seen.context["figures"]] == ["Active instances"]


def test_the_home_page_names_what_is_nearest(store):
    instance = Instance.objects.get(name="db-0")
    instance.sizes.all().delete()
    for ago in range(30):
        total(instance, 1000 - 10 * ago, ago=ago)
    SizeLimit.objects.create(instance=instance, size=1095)
    compute()
    page = superstaff().get(HOME)
    assert [row["forecast"].days for row in page.context["forecasts"]] == [10]
    assert "in 10 days" in page.content.decode()
    assert "schedules" not in page.context


def test_health_names_what_runs_next(db):
    schedules.install()
    health = reverse("health")
    page = superstaff().get(health)
    assert len(page.context["schedules"]) == len(schedules.TIMETABLE)
    runs = [row["next"] for row in page.context["schedules"]]
    assert runs == sorted(runs)
    PeriodicTask.objects.update(last_run_at=timezone.now() - timedelta(days=2))
    late = superstaff("late")
    assert {row["is_late"] for row in late.get(health).context["schedules"]} == {True}
    assert "not well" in late.get(HOME).content.decode()
    assert "schedules" not in staff("sync.view_syncsession").get(health).context


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


def test_the_list_of_schedules_shows_next_run_and_last_result_and_runs_one(db, monkeypatch, django_assert_num_queries):
    schedules.install()
    PeriodicTask.objects.filter(task="capacity.collect").update(enabled=False)
    PeriodicTask.objects.filter(task="sync.purge").update(last_run_at=timezone.now() - timedelta(days=3))
    for status, slot in (
        ("failed", "Sync accounts after x"),
        ("partial", "Sync accounts after y"),
        ("completed", None),
    ):
        SyncSession.objects.create(kind="accounts", trigger="schedule", status=status, slot=slot)
    client = superstaff()
    # Session, user, saved views, tasks of the filter, counts (two), rows.
    with django_assert_num_queries(7):
        rows = client.get(TASKS).text.split('id="result_list"')[1].split("<tr")
    row_of = {task: next(row for row in rows if f">{task}<" in row) for task in schedules.TASKS}
    assert 'tf-partial">partial<' in row_of["accounts.sync"]
    assert "tf-partial" not in row_of["capacity.collect"]
    assert 'tf-failed">late<' in row_of["sync.purge"]
    assert f"{timezone.localdate() + timedelta(days=1)} 04:30" not in row_of["capacity.collect"]
    next_one = schedules.next_run(PeriodicTask.objects.get(task="accounts.sync"))
    assert timezone.localtime(next_one).strftime("%Y-%m-%d %H:%M") in row_of["accounts.sync"]
    run = []
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda self, **options: run.append(self.name))
    task = PeriodicTask.objects.get(task="accounts.sync")
    url = reverse("admin:django_celery_beat_periodictask_do", args=[task.pk, "run"])
    assert url in row_of["accounts.sync"]
    assert "“Sync accounts” was sent to the workers." in client.post(url, follow=True).text
    assert run == ["accounts.sync"]
    viewer = staff(VIEW_TASK)
    assert viewer.post(url).status_code == 403
    assert "do/run" not in viewer.get(TASKS).text


def test_pages_of_frameworks_have_our_names(db):
    client = superstaff()
    for url, title in (
        (TASKS, "Schedules"),
        (reverse("admin:axes_accessattempt_changelist"), "Locked logins"),
        (reverse("admin:django_celery_beat_crontabschedule_changelist"), "Times of day"),
        (reverse("admin:auth_user_changelist"), "Users and groups"),
    ):
        heading = strip_tags("<h1" + client.get(url).text.split("<h1")[1].split("</h1>")[0])
        assert title in heading, url
        for word in ("Periodic", "Axes", "Access attempt", "Authentication and"):
            assert word.lower() not in heading.lower(), url


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
