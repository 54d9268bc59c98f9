"""Fault 4, F7.2: what was not read lately is not presented as current, at any door."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from access.questions import effective, who_can
from access.tests.test_questions import grant
from accounts.freshness import LastRead, last_read, last_reads, stale_reads
from accounts.models import Account, Coverage
from accounts.tests.stored import account
from classification.models import Assignment, Classification, ClassificationRule, RuleResult
from classification.services import keep_rule
from instances.models import Credential, Instance
from instances.tests.api import superclient
from instances.tests.pages import superstaff
from sync.models import SyncRecord, VisitHealth
from sync.services import resume
from sync.tests.targets import visit_once


@pytest.fixture
def rule(transactional_db: None) -> ClassificationRule:
    ClassificationRule.objects.all().delete()
    kept, _ = Classification.objects.get_or_create(code="risky", defaults={"name": "risky"})
    return keep_rule(ClassificationRule(classification=kept, code="r", name="r", expression='has("CREATEROLE")'))


@pytest.fixture
def now() -> datetime:
    return timezone.now()


def stored(name: str, now: datetime, *, hours: float = 1, **health: Any) -> Instance:
    """An instance that was last read so long ago; `health` is of its account visits."""
    credential, _ = Credential.objects.get_or_create(name="c", username="u")
    made = Instance.objects.create(name=name, engine="postgresql", host=name, credential=credential)
    read_at = now - timedelta(hours=hours)
    covered = ["memberships", "attribute", "database"]
    since = now - timedelta(days=90)
    Coverage.objects.create(instance=made, level="A", covered=covered, beyond=[], since=since, read_at=read_at)
    if health:
        VisitHealth.objects.create(instance=made, kind="accounts", **health)
    holder = account(made, "app", first_seen_at=since, can_login=True)
    grant(holder, "CREATE", "database", "shop", database="shop", since=since)
    return made


def read_of(instance: Instance, at: datetime | None = None) -> LastRead:
    instance.refresh_from_db()
    return last_read(instance, at)


def command(name: str, *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    out, err = StringIO(), StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command(name, *words, stdout=out, stderr=err)
    return caught.value.code or 0, out.getvalue(), err.getvalue()


def doors(instance: Instance) -> dict[str, str]:
    """What each door says about the instance besides rows: door → reason, "" where it says nothing."""
    who = Account.objects.get(instance=instance, name="app")
    api, page = superclient(), superstaff(f"u{timezone.now().timestamp()}")

    def of_api(url: str, **query: str) -> str:
        answer = api.get(url, query).json()
        return "; ".join(row["reason"] for row in answer["unknown"] if row["instance"] == instance.pk)

    def of_page(url: str, **query: str) -> str:
        unknown = page.get(url, query).context["unknown"]
        return "; ".join(reason for one, reason in unknown if one == instance)

    def of_csv(url: str, **query: str) -> str:
        text = page.get(url, {**query, "csv": "1"}).getvalue().decode("utf-8-sig")
        rows = [row for row in csv.DictReader(StringIO(text)) if row["instance"] == instance.name]
        assert {row["last read"] != "" for row in rows} == {True}
        return "; ".join({row["not known"] for row in rows} - {""})

    code, out, _err = command("who_can", "CREATE", "--on", "shop", "--json")
    told = json.loads(out)["unknown"].get(instance.name, "")
    assert (code, bool(told)) in ((0, False), (3, True))
    code, text, _err = command("who_can", "CREATE", "--on", "shop")
    assert (code, f"{instance}: not known: {told}" in text) in ((0, False), (3, True))
    account_page = page.get(reverse("admin:accounts_account_change", args=[who.pk]), {"tab": "effective"})
    read = account_page.context["read"]
    assert (f"{instance} is unknown: {read.reason}." in account_page.content.decode()) == read.is_stale
    code, _out, err = command("classify", "--dry-run")
    assert (code, f"{instance}: not known" in err) in ((0, False), (3, True))
    return {
        "command": told,
        "access": of_api("/api/access/", privilege="CREATE", scope="shop"),
        "effective": of_api(f"/api/accounts/{who.pk}/effective/"),
        "grants": of_api(f"/api/accounts/{who.pk}/grants/"),
        "roles": of_api(f"/api/accounts/{who.pk}/roles/"),
        "account": of_api(f"/api/accounts/{who.pk}/"),
        "accounts": of_api("/api/accounts/"),
        "changes": of_api("/api/account-changes/"),
        "assignments": of_api("/api/assignments/"),
        "who-can page": of_page(reverse("who-can"), privilege="CREATE", scope="shop"),
        "who-can CSV": of_csv(reverse("who-can"), privilege="CREATE", scope="shop"),
        "where-is page": of_page(reverse("where-is"), name="app"),
        "where-is CSV": of_csv(reverse("where-is"), name="app"),
        "list of accounts": of_page(reverse("admin:accounts_account_changelist")),
        "list of changes": of_page(reverse("admin:accounts_accountchange_changelist")),
        "list of assignments": of_page(reverse("admin:classification_assignment_changelist")),
        "page of the account": read.reason,
        "dry run": json.loads(command("classify", "--dry-run", "--json")[1])["unknown"].get(instance.name, ""),
    }


def test_a_server_that_stopped_answering_is_unknown_at_every_door(add, private_postgres, rule):
    """Fault 4, F7.2: visited, stopped, visited in vain; then it is back."""
    server = private_postgres
    instance = add("prod-7", server.collector())
    server.execute("CREATE DATABASE shop")
    server.execute("CREATE ROLE app LOGIN CREATEROLE; GRANT CREATE ON DATABASE shop TO app")
    first = visit_once("accounts", instance)
    assert first.status == "completed"
    assert command("classify")[0] == 0
    held = Assignment.objects.get(account__name="app")
    matched = RuleResult.objects.get(rule=rule).matched
    assert set(doors(instance).values()) == {""}

    server.stop()
    for _ in range(3):
        assert visit_once("accounts", instance).status == "failed"
    code = SyncRecord.objects.latest("pk").error_code
    when = timezone.localtime(first.started_at).strftime("%Y-%m-%d %H:%M %Z")
    reasons = doors(instance)
    for door, reason in reasons.items():
        assert reason.startswith(f"last read {when} ("), door
        assert reason.endswith(f" ago); 3 visits failed since ({code})"), door
    # The rows are there all the same, and say which session saw them.
    answer = who_can("CREATE", "shop")
    assert "app" in {str(row.account) for row in answer.rows}
    assert answer.reads[instance.pk].session == first.session_id
    # A new rule assigns nothing there, and what stood stays.
    new = keep_rule(ClassificationRule(classification=rule.classification, code="n", name="n", expression="can_login"))
    code, _out, err = command("classify")
    assert (code, "prod-7: the accounts are unknown: last read" in err) == (3, True)
    result = RuleResult.objects.get(rule=rule)
    assert (result.matched, result.unknown, result.lost) == (0, result.examined, 0)
    assert not Assignment.objects.filter(rule=new).exists()
    held.refresh_from_db()
    assert (held.until, held.unconfirmed_since is not None) == (None, True)
    api = superclient()
    lines = api.get(f"/api/classification-rules/{rule.pk}/explain/", {"account": held.account_id}).json()
    assert [(line["verdict"], line["because"][0]) for line in lines] == [(None, reasons["account"])]

    server.start()
    assert visit_once("accounts", instance).status == "completed"
    assert set(doors(instance).values()) == {""}
    assert command("classify")[0] == 0
    held.refresh_from_db()
    assert (held.until, held.unconfirmed_since) == (None, None)
    assert RuleResult.objects.get(rule=rule).matched == matched


def test_long_silence(transactional_db, rule, now):
    """Fault 4, F7.2: no visit has failed, and none has come either."""
    PeriodicTask.objects.all().delete()
    lately, late = stored("lately", now, hours=35.9), stored("late", now, hours=7 * 24)
    assert not read_of(lately).is_stale
    reason = read_of(late).reason
    read_at = timezone.localtime(now - timedelta(days=7)).strftime("%Y-%m-%d %H:%M %Z")
    assert reason == f"last read {read_at} (7 days ago); no visit since; the limit is 36 hours"
    assert set(doors(late).values()) == {reason}
    answer = who_can("CREATE", "shop")
    assert answer.unknown == {late: reason}
    assert [row.account.instance for row in answer.rows] == [late, lately]


def schedule(**fields: Any) -> PeriodicTask:
    return PeriodicTask.objects.create(name=f"s{PeriodicTask.objects.count()}", task="accounts.sync", **fields)


def crontab(minute: str, hour: str, **fields: str) -> CrontabSchedule:
    return CrontabSchedule.objects.create(minute=minute, hour=hour, timezone="UTC", **fields)


@pytest.mark.parametrize(
    ("fields", "hours"),
    [
        ({}, 36),
        ({"crontab": ("0", "1", {})}, 36),
        ({"crontab": ("0", "*/6", {})}, 36),
        # The longest gap counts: Friday to Monday.
        ({"crontab": ("30", "2", {"day_of_week": "1-5"})}, 108),
        ({"crontab": ("0", "3", {"day_of_week": "0"})}, 252),
        ({"crontab": ("0", "3,15", {"day_of_week": "sun"})}, 234),
        # From 1 July to 1 August.
        ({"crontab": ("0", "0", {"day_of_month": "1"})}, 1116),
        ({"crontab": ("0", "0", {"day_of_month": "30", "month_of_year": "2"})}, 36),
        ({"interval": (2, "days")}, 72),
        ({"interval": (90, "minutes")}, 36),
        ({"interval": (2, "days"), "enabled": False}, 36),
        ({"interval": (2, "days"), "expires": datetime(2026, 1, 1, tzinfo=UTC)}, 36),
    ],
)  # fmt: skip
def test_a_schedule_longer_than_a_day_allows_longer_silence(db, now, fields, hours):
    """Fault 4: 36 hours, or 1.5 times the longest account schedule."""
    PeriodicTask.objects.all().delete()
    fields = dict(fields)
    if when := fields.pop("crontab", None):
        fields["crontab"] = crontab(when[0], when[1], **when[2])
    if every := fields.pop("interval", None):
        fields["interval"] = IntervalSchedule.objects.create(every=every[0], period=every[1])
    if fields:
        schedule(**fields)
    instance = stored("pg", now)
    assert read_of(instance).limit == timedelta(hours=hours)
    for away, is_stale in ((-0.1, False), (0.1, True)):
        Coverage.objects.update(read_at=now - timedelta(hours=hours + away))
        assert last_read(instance, now).is_stale is is_stale


def test_the_longest_of_several_schedules_counts_and_other_tasks_do_not(db, now):
    PeriodicTask.objects.all().delete()
    schedule(crontab=crontab("0", "1"))
    schedule(crontab=crontab("0", "1", day_of_week="6"))
    weekly = IntervalSchedule.objects.create(every=100, period="days")
    PeriodicTask.objects.create(name="other", task="capacity.collect", interval=weekly)
    assert read_of(stored("pg", now)).limit == timedelta(hours=252)


def test_the_setting_counts_in_hours(db, now, settings):
    PeriodicTask.objects.all().delete()
    settings.TAIFISH_STALE_AFTER = 2
    assert [read_of(stored(name, now, hours=hours)).is_stale for name, hours in (("a", 1.9), ("b", 2.1))] == [
        False,
        True,
    ]


def test_paused_resumed_retired_and_never_visited(transactional_db, rule, now):
    """Fault 4, F7.2: each has its own reason."""
    failed = {"failures": 5, "failed_at": now, "error_code": "unreachable", "message": "no route"}
    paused = stored("paused", now, paused_at=now, **failed)
    retired = stored("retired", now)
    retired.retire()
    new = Instance.objects.create(name="new", engine="postgresql", host="new", credential=Credential.objects.get())
    Instance.objects.filter(pk=retired.pk).update(retired_at=now)
    stamp = timezone.localtime(now).strftime("%Y-%m-%d %H:%M %Z")
    assert read_of(paused).reason.endswith(
        f"(1 hour ago); 5 visits failed since (unreachable); visits are paused since {stamp}"
    )
    assert read_of(retired).reason.endswith(f"(1 hour ago); retired {stamp}")
    assert read_of(new).reason == "not visited by then"
    assert set(doors(paused).values()) == {read_of(paused).reason}
    answer = who_can("CREATE", "shop")
    assert {str(instance) for instance in answer.unknown} == {"paused", "retired", "new"}
    # A retired one has no rows in a question about the fleet.
    assert {str(row.account.instance) for row in answer.rows} == {"paused"}
    code, out, _err = command("who_can", "CREATE", "--on", "shop")
    assert (code, "retired: not known: last read" in out) == (3, True)
    resume(VisitHealth.objects.all())
    assert read_of(paused).reason.endswith("(1 hour ago); visits failed since (unreachable)")
    VisitHealth.objects.create(instance=new, kind="accounts", **failed)
    assert read_of(new).reason == "not visited by then; visits failed (unreachable)"


def test_a_failure_of_another_kind_of_visit_says_nothing_about_accounts(db, now):
    instance = stored("pg", now)
    VisitHealth.objects.create(instance=instance, kind="capacity", failures=9, failed_at=now, paused_at=now)
    assert read_of(instance).reason == ""


def test_a_moment_is_judged_by_the_reads_around_it(db, now):
    """Fault 4, F7.2: a read after the moment vouches for it; after the last read nothing does for long."""
    PeriodicTask.objects.all().delete()
    instance = stored("pg", now, hours=240)
    last = now - timedelta(hours=240)
    assert not read_of(instance, last - timedelta(days=30)).is_stale
    assert not read_of(instance, last + timedelta(hours=30)).is_stale
    late = read_of(instance, last + timedelta(hours=50))
    assert late.is_stale
    assert "(2 days before); no visit since" in late.reason
    health = VisitHealth.objects.create(
        instance=instance, kind="accounts", failures=1, failed_at=last + timedelta(hours=20), error_code="timeout"
    )
    assert not read_of(instance, last - timedelta(days=30)).is_stale
    assert not read_of(instance, last + timedelta(hours=10)).is_stale
    assert "1 visit failed since (timeout)" in read_of(instance, last + timedelta(hours=30)).reason
    # Of several failures only the last is stored: the first may have come before.
    VisitHealth.objects.filter(pk=health.pk).update(failures=2)
    assert read_of(instance, last + timedelta(hours=10)).is_stale
    before = read_of(instance, now - timedelta(days=91))
    assert (before.read_at, before.reason) == (None, "not visited by then")
    # Coverage changed: what stood until then was last read when it says, and the failures are over.
    Coverage.objects.update(until=now - timedelta(hours=2))
    later = now - timedelta(hours=2)
    Coverage.objects.create(instance=instance, level="B", covered=[], beyond=[], since=later, read_at=now)
    VisitHealth.objects.update(succeeded_at=now, failures=0)
    assert read_of(instance).level == "B"
    assert not read_of(instance).is_stale
    assert read_of(instance, last + timedelta(hours=30)).failed_at
    assert read_of(instance, last - timedelta(hours=1)).level == "A"


def test_the_answer_names_read_session_depth_and_gaps(db, now):
    """F7.2, also where all is well."""
    instance = stored("pg", now)
    gap = {"scope": "schema", "database": "crm", "code": "denied", "message": "no CONNECT on crm", "hint": ""}
    Coverage.objects.update(gaps=[gap], beyond=["table"])
    told = superclient().get("/api/access/", {"privilege": "CREATE", "scope": "shop"}).json()
    (read,) = told["instances"]
    assert told["unknown"] == []
    assert (read["instance_name"], read["level"], read["gaps"], read["beyond"]) == ("pg", "A", [gap], ["table"])
    assert (read["session"], read["failed_at"], read["is_stale"]) == (None, None, False)
    who = Account.objects.get(instance=instance)
    assert superclient().get(f"/api/accounts/{who.pk}/effective/").json()["instances"] == [read]
    document = json.loads(command("who_can", "CREATE", "--on", "shop", "--json")[1])
    assert document["instances"][0]["gaps"] == [gap]
    page = superstaff().get(reverse("who-can"), {"privilege": "CREATE", "scope": "shop"}).content.decode()
    assert "no CONNECT on crm" in page
    assert effective(who).coverage.level == "A"


def test_a_list_names_only_the_instances_it_is_about(db, now):
    late, other = stored("late", now, hours=99), stored("other", now, hours=99)
    api = superclient()
    for query in ({"instance": late.pk}, {"instance_name": "late"}):
        unknown = api.get("/api/accounts/", query).json()["unknown"]
        assert [row["instance_name"] for row in unknown] == ["late"], query
    page = superstaff()
    url = reverse("admin:accounts_account_changelist")
    assert [one for one, _ in page.get(url, {"instance__id__exact": other.pk}).context["unknown"]] == [other]
    changes = reverse("admin:accounts_accountchange_changelist")
    chosen = page.get(changes, {"account__instance__id__exact": late.pk})
    assert [one for one, _ in chosen.context["unknown"]] == [late]
    listed = page.get(reverse("admin:instances_instance_changelist"), {"stale": "1"}).context["cl"]
    assert listed.result_count == 2
    assert page.get(reverse("admin:instances_instance_changelist"), {"stale": "0"}).context["cl"].result_count == 0


def test_where_is_names_unknown_instances_also_when_it_finds_nothing(db, now):
    """Fault 4, F7.2: no rows are an answer too."""
    instance = stored("prod-7", now, failures=1, failed_at=now, error_code="unreachable")
    page = superstaff().get(reverse("where-is"), {"name": "nobody"}).content.decode()
    assert "No visit has found such an account." in page
    assert read_of(instance).reason in page
    assert "csv=1" in page
    assert "Find the instances where an account exists" not in page


def test_any_number_of_instances_takes_one_query(db, now, django_assert_num_queries):
    for number in range(30):
        stored(f"pg{number}", now, hours=number, failures=1, failed_at=now)
    with django_assert_num_queries(1):
        assert len(last_reads(Instance.objects.all())) == 30


def test_stale_reads_are_those_of_all_reads(db, now):
    """F7.2: the condition in SQL leaves out none that is stale, at any moment."""
    for hours in (1, 37, 80):
        for failed in (None, 0.5, 20, 60):
            for succeeded in (None, 0.2, 30):
                for paused in (None, 10):
                    ago = {"failed_at": failed, "succeeded_at": succeeded, "paused_at": paused}
                    health = {name: value and now - timedelta(hours=value) for name, value in ago.items()}
                    stored(
                        f"{hours} {failed} {succeeded} {paused}",
                        now,
                        hours=hours,
                        failures=(failed and 2) or 0,
                        **health,
                    )
    never = Instance.objects.create(name="never", engine="mysql", host="n", credential=Credential.objects.get())
    stored("retired", now).retire()
    for at in (None, now - timedelta(hours=15), now - timedelta(hours=70)):
        expected = [(read.instance, read.reason) for read in last_reads(Instance.objects.all(), at) if read.is_stale]
        found = stale_reads(Instance.objects.all(), at)
        assert [read.instance for read in found] == [one for one, _ in expected]
        if at:
            assert [read.reason for read in found] == [reason for _, reason in expected]
        assert never in [read.instance for read in found]
        assert 0 < len(found) < Instance.objects.count() or at
