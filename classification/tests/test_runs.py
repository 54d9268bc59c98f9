"""Runs: what they begin, end and leave alone, and what they say."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from importlib import import_module

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from accounts.freshness import unknown_instances
from accounts.models import Account, Coverage
from accounts.tests.stored import MAY_1, account
from classification import services, tasks
from classification.effect import CHUNK, Found, effect_of
from classification.models import (
    Assignment,
    Classification,
    ClassificationCount,
    ClassificationRule,
    RuleResult,
    RuleVersion,
)
from classification.tests.conftest import grant
from instances.models import Instance
from sync import registry
from sync.models import SyncRecord, SyncSession, VisitHealth
from sync.services import run_here, start
from sync.texts import text_of


def held(code: str = "") -> list[str]:
    rows = Assignment.objects.current()
    return sorted(str(row.account) for row in (rows.filter(rule__code=code) if code else rows))


def names(found: Iterable[Found]) -> list[str]:
    return sorted(str(one.account) for one in found)


def deny(names: str) -> None:
    """Have the store refuse assignments of these accounts, as a fault of its own would."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF (SELECT name FROM accounts_account WHERE id = NEW.account_id) IN ({names})
            THEN RAISE 'disk on fire' USING ERRCODE = 'XX000'; END IF; RETURN NEW; END $$;
            CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON classification_assignment
            FOR EACH ROW EXECUTE FUNCTION refuse()"""
        )


def test_a_run_assigns_what_matches_and_running_again_changes_nothing(people, rule, applied):
    """F5.8: the numbers are those of the rows."""
    rule("pg-super", "superuser or has('CREATEROLE')")
    told = applied()
    assert told["pg"] == {
        "rules": 1, "examined": 4, "matched": 3, "unknown": 0, "gained": 3, "lost": 0, "kept": 0, "failed": 0, "gaps": [],
    }  # fmt: skip
    assert held() == ["ada", "bob", "dba"]
    before = list(Assignment.objects.values_list())
    again = applied()["pg"]
    assert (again["gained"], again["lost"], again["kept"], again["matched"]) == (0, 0, 3, 3)
    assert list(Assignment.objects.values_list()) == before
    result = RuleResult.objects.get(instance__name="pg")
    assert result.counts() == {"examined": 4, "matched": 3, "unknown": 0, "gained": 0, "lost": 0, "kept": 3}


def test_a_failing_rule_leaves_its_assignments_and_those_of_all_others(people, rule, applied, instances):
    """F5.1, F5.4: an error of the database in mid-run; the record names the rule and the account."""
    super_rule = rule("pg-super", "superuser")
    rule("pg-roles", "has('CREATEROLE')")
    applied()
    before = {(row.account_id, row.rule_id) for row in Assignment.objects.current()}
    super_rule.expression = "superuser or name('carl') or name('web')"
    services.keep_rule(super_rule)
    deny("'carl'")
    told = applied()
    now = {(row.account_id, row.rule_id) for row in Assignment.objects.current()}
    assert now == before | {(people["web"].pk, super_rule.pk)}
    (gap,) = told["pg"]["gaps"]
    assert (gap.code, gap.message) == ("rule_failed", "")
    assert text_of(gap.code, gap.parameters)[0] == "rule pg-super was not applied: disk on fire"
    assert (told["pg"]["failed"], told["pg"]["rules"]) == (1, 1)
    # The other instance is nobody's victim.
    assert (told["my"]["gaps"], told["my"]["gained"]) == ([], 1)
    result = RuleResult.objects.get(rule=super_rule, instance__name="pg")
    assert (result.error, result.matched) == ("rule pg-super was not applied: disk on fire", 0)


def test_a_run_for_one_instance_touches_that_instance_only(people, rule, applied, instances):
    """F5.1: neither assignments of others nor their results."""
    first = rule("login", "can_login")
    applied()
    first.expression = "superuser"
    services.keep_rule(first)
    pg, my = instances
    applied(pg)
    assert held() == ["ada", "web@%"]
    assert RuleResult.objects.get(instance=my).version == 1
    assert RuleResult.objects.get(instance=pg).version == 2
    applied(my)
    assert held() == ["ada"]


def test_a_run_of_one_rule_touches_that_rule_only(people, rule, applied):
    first, second = rule("one", "superuser"), rule("two", "superuser")
    applied(rules=[first])
    assert (held("one"), held("two")) == (["ada"], [])
    Account.objects.update(is_superuser=False)
    applied()
    assert held() == []
    Account.objects.update(is_superuser=True)
    applied(rules=[second])
    assert (held("one"), len(held("two"))) == ([], 5)


def test_what_people_assigned_no_run_takes_back(people, rule, applied):
    """F5.1: manual assignments are never lost."""
    first = rule("one", "superuser")
    by_hand = services.assign(people["carl"], first.classification, "on call", None)
    also = services.assign(people["ada"], first.classification, "agreed", None)
    applied()
    Account.objects.update(is_superuser=False, gone_at=timezone.now())
    applied()
    assert set(Assignment.objects.current()) == {by_hand, also}
    with pytest.raises(ValueError, match="by hand already"):
        services.assign(people["carl"], first.classification, "again", None)
    services.withdraw(by_hand)
    assert list(Assignment.objects.current()) == [also]
    with pytest.raises(ValueError, match="A rule made this assignment"):
        services.withdraw(Assignment.objects.filter(rule=first).first())


def test_a_changed_and_a_deleted_rule_take_effect_at_the_next_run(people, rule, applied):
    """F5.2: everywhere, and nothing is cached."""
    first, second, third = rule("one", "superuser"), rule("two", "can_login"), rule("three", "is_role")
    applied()
    assert (held("one"), held("two"), held("three")) == (["ada"], ["ada", "bob", "carl", "web@%"], ["dba"])
    first.expression = "name('carl')"
    services.keep_rule(first)
    services.retire_rule(second)
    third.active = False
    services.keep_rule(third)
    told = applied()
    assert (held("one"), held("two"), held("three")) == (["carl"], [], [])
    assert (told["pg"]["lost"], told["my"]["lost"]) == (5, 1)
    assert {row.until is None for row in Assignment.objects.filter(rule=second)} == {False}
    assert [row.expression for row in RuleVersion.objects.filter(rule=first)] == ["name('carl')", "superuser"]
    assert not RuleResult.objects.filter(rule__in=[second, third]).exists()


def test_an_edit_that_changes_no_meaning_makes_no_version(people, rule):
    first = rule("one", "superuser")
    first.note = "seen"
    services.keep_rule(first)
    assert (first.version, first.versions.count()) == (1, 1)
    first.engine = "mysql"
    services.keep_rule(first)
    assert [(row.number, row.engine) for row in first.versions.all()] == [(2, "mysql"), (1, "")]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"expression": ""}, "The rule is empty"),
        ({"expression": "supruser"}, "Line 1, column 1: There is no word supruser. Did you mean superuser?"),
        ({"engine": "sqlserver"}, "No adapter serves the engine 'sqlserver'."),
    ],
)
def test_a_rule_that_cannot_be_is_an_error_on_the_run(people, rule, applied, fields, told):
    """F5.3, F5.5: whatever put it into the store; an empty rule matches nothing, and its accounts stay what they are."""
    first = rule("one", "superuser")
    rule("two", "superuser")
    applied()
    ClassificationRule.objects.filter(pk=first.pk).update(**fields)
    outcome = applied()["pg"]
    (gap,) = outcome["gaps"]
    assert (told in text_of(gap.code, gap.parameters)[0], gap.scope) == (True, "rule one")
    assert (held("one"), held("two")) == (["ada"], ["ada"])


def test_two_rules_of_one_classification_keep_their_own_matches(people, rule, applied):
    """F5.5"""
    first, second = rule("one", "superuser"), rule("two", "superuser or name('carl')")
    applied()
    assert (held("one"), held("two")) == (["ada"], ["ada", "carl"])
    services.retire_rule(first)
    applied()
    assert (held("one"), held("two")) == ([], ["ada", "carl"])
    assert Classification.objects.with_counts().get(pk=second.classification_id).n_accounts == 2


def test_what_is_unknown_ends_nothing_and_is_counted_apart(people, rule, applied, instances):
    """A fact that could not be read never becomes a silent no."""
    rule("roles", "has('CREATEROLE')")
    applied()
    assert held() == ["bob", "dba"]
    gaps = [{"scope": "attribute", "database": "", "code": "denied", "message": "no", "hint": ""}]
    Coverage.objects.filter(instance=instances[0]).update(gaps=gaps)
    people["dba"].grants.update(until=timezone.now())
    told = applied()["pg"]
    assert (told["matched"], told["unknown"], told["lost"]) == (0, 4, 0)
    assert held() == ["bob", "dba"]
    assert Assignment.objects.current().filter(unconfirmed_since=None).count() == 0
    unconfirmed = Assignment.objects.current().values_list("unconfirmed_since", flat=True)
    applied()
    assert list(Assignment.objects.current().values_list("unconfirmed_since", flat=True)) == list(unconfirmed)
    Coverage.objects.filter(instance=instances[0]).update(gaps=[])
    people["dba"].grants.update(until=None)
    applied()
    assert Assignment.objects.current().filter(unconfirmed_since=None).count() == 2


def test_accounts_that_are_gone_lose_what_rules_gave_them(people, rule, applied):
    rule("one", "superuser")
    applied()
    Account.objects.filter(pk=people["ada"].pk).update(gone_at=timezone.now())
    assert applied()["pg"]["lost"] == 1
    assert held() == []


def test_a_dry_run_says_what_the_run_then_does(people, rule, applied, instances):
    """F5.6: saved or not, nothing is written."""
    first = rule("one", "can_login and not name('carl')")
    applied()
    first.expression = "superuser or name('carl') or attribute('CREATEROLE') or unused_days > 90 and is_role"
    effect = effect_of(first, Instance.objects.all())
    told = {outcome: names(accounts) for outcome, accounts in effect.accounts.items()}
    assert told == {"gained": ["carl", "dba"], "lost": ["bob", "web@%"], "kept": ["ada"], "unknown": []}
    assert (effect.examined, effect.matched) == (5, 3)
    assert held() == ["ada", "bob", "web@%"]
    new = ClassificationRule(expression="unused_days > 90 or superuser")
    unsaved = effect_of(new, Instance.objects.filter(name="pg"))
    assert unsaved.counts == {"gained": 1, "lost": 0, "kept": 0, "unknown": 3}
    assert {one.reason for one in unsaved.accounts["unknown"]} == {
        "no login is recorded, or the engine does not show logins"
    }
    services.keep_rule(first)
    applied()
    assert held() == ["ada", "carl", "dba"]
    with pytest.raises(ValueError, match="in the future"):
        effect_of(first, Instance.objects.all(), at=timezone.now() + timedelta(hours=1))


def test_a_dry_run_tells_of_a_day_in_the_past(people, rule, instances):
    """Design 10: the same query on the intervals."""
    first = rule("one", "has('CREATEROLE')")
    grant(people["carl"], "CREATEROLE", since=MAY_1 + timedelta(days=10), until=MAY_1 + timedelta(days=20))
    Coverage.objects.update(since=MAY_1)
    told = {
        days: names(effect_of(first, Instance.objects.all(), at=MAY_1 + timedelta(days=days)).accounts["gained"])
        for days in (5, 15, 25)
    }
    assert told == {5: ["bob", "dba"], 15: ["bob", "carl", "dba"], 25: ["bob", "dba"]}
    assert effect_of(first, Instance.objects.all(), at=MAY_1 - timedelta(days=1)).examined == 0


def test_a_dry_run_says_why_the_rule_is_unknown_for_an_account(people, instances):
    """F5.6: the reason is that of the words on which it depends, on the account's instance."""
    account(instances[0], "dan", can_login=None, is_superuser=False)
    account(instances[1], "eve", is_superuser=True)
    Coverage.objects.filter(instance=instances[1]).update(
        beyond=["table"], gaps=[{"scope": "system", "database": "", "message": "no SELECT on mysql.user"}]
    )
    rule = ClassificationRule(
        expression='superuser or (can_login and not name("ada") and name("d*")) or has("SELECT", on="shop.t")'
    )
    found = effect_of(rule, Instance.objects.all()).accounts
    assert names(found["gained"]) == ["ada", "eve"]
    assert {str(one.account): one.reason for one in found["unknown"]} == {
        "dan": "the engine does not show it, or visits could not read it",
        "web@%": "no SELECT on mysql.user; read depth A leaves out: table",
    }
    VisitHealth.objects.create(
        instance=instances[0], kind="accounts", failures=2, failed_at=timezone.now(), error_code="unreachable"
    )
    found = effect_of(rule, Instance.objects.filter(name="pg")).accounts
    assert names(found["unknown"]) == ["ada", "bob", "carl", "dan", "dba"]
    assert all("2 visits failed since (unreachable)" in one.reason for one in found["unknown"])


def test_a_dry_run_lists_any_number_of_accounts_in_two_queries(people, instances, django_assert_num_queries):
    """Each slice takes one query more."""
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO accounts_account (instance_id, name, host, kind, native_id, is_system, is_filtered,
               auth_method, last_known, first_seen_at)
               SELECT %s, 'many' || n, '', 'user', '', false, false, '', '{}', now() FROM generate_series(1, %s) n""",
            [instances[0].pk, CHUNK + 1],
        )
    with django_assert_num_queries(2):
        effect = effect_of(ClassificationRule(expression="unused_days > 90"), Instance.objects.all())
    assert effect.counts["unknown"] == CHUNK + 6
    with django_assert_num_queries(1):
        assert len(effect.accounts["unknown"][100:200]) == 100
    with django_assert_num_queries(2):
        assert len({one.account.pk for one in effect.accounts["unknown"]}) == CHUNK + 6


def test_a_rule_may_match_any_number_of_accounts_in_as_many_statements(people, rule, applied, instances):
    """F5.7: one statement a rule, past the 65,535 that bind parameters allow."""
    rule("one", "name('many*') and not has('FILE')")
    with CaptureQueriesContext(connection) as few:
        applied()
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO accounts_account (instance_id, name, host, kind, native_id, is_system, is_filtered,
               auth_method, last_known, first_seen_at)
               SELECT %s, 'many' || n, '', 'user', '', false, false, '', '{}', now() FROM generate_series(1, 66000) n""",
            [instances[0].pk],
        )
    with CaptureQueriesContext(connection) as many:
        assert applied()["pg"]["gained"] == 66_000
    assert len(many) == len(few) <= 9
    assert Assignment.objects.current().count() == 66_000


def test_the_day_is_counted_once_however_often(people, rule, applied):
    first = rule("one", "superuser or unused_days > 90")
    services.assign(people["carl"], first.classification, "on call", None)
    services.assign(people["ada"], first.classification, "too", None)
    applied()
    services.count_day(0)
    services.count_day(0)
    row = ClassificationCount.objects.get()
    assert (row.day, row.accounts, row.unknown) == (timezone.localdate(), 2, 4)


# As sessions


@pytest.fixture
def stored(transactional_db, people, rule) -> dict[str, Account]:
    rule("one", "superuser")
    return people


def test_classification_follows_the_visits_of_accounts_for_their_instances(stored, instances):
    """F5.6: once for each session, and only of what was read."""
    pg, my = instances
    session = SyncSession.objects.create(kind="accounts", trigger="schedule")
    for instance, status in ((pg, "partial"), (my, "failed")):
        SyncRecord.objects.create(session=session, instance=instance, kind="accounts", status=status)
    registry.KINDS["accounts"].follow_ups[0](session.pk)
    registry.KINDS["accounts"].follow_ups[0](session.pk)
    following = SyncSession.objects.get(kind="classification")
    assert (following.trigger, [r.instance for r in following.records.all()]) == ("follow_up", [pg])
    assert run_here(following).status == "completed"
    assert held() == ["ada"]
    assert ClassificationCount.objects.get().accounts == 1
    nothing = SyncSession.objects.create(kind="accounts", trigger="schedule")
    services.after_accounts(nothing.pk)
    assert SyncSession.objects.filter(kind="classification").count() == 1


def test_the_schedule_starts_one_session_for_one_occurrence(stored):
    run = tasks.run
    for _ in range(2):
        run.apply(headers={"taifish_slot": "Classify accounts after x"})
    assert SyncSession.objects.filter(kind="classification", trigger="schedule").count() == 1


def test_a_session_with_a_failing_rule_is_partial_and_says_so(stored, instances):
    """F5.4"""
    deny("'ada'")
    try:
        session = run_here(start("classification", Instance.objects.all(), trigger="manual", enqueue=False))
        record = session.records.get(instance__name="pg")
        assert (session.status, record.status) == ("partial", "partial")
        assert "rule one was not applied: disk on fire" in record.not_read[0]["message"]
        assert session.records.get(instance__name="my").status == "completed"
        assert held() == []
    finally:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse() CASCADE")


def test_results_of_earlier_releases_say_what_they_said(people, rule, instances):
    """Upgrade: the sentence around an error was stored with it."""
    results = [
        RuleResult.objects.create(
            rule=rule(code, "superuser"), instance=instances[0], version=1, at=MAY_1, message=text
        )
        for code, text in (("one", "rule one was not applied: disk on fire"), ("two", ""), ("three", "on fire"))
    ]
    migration = import_module("classification.migrations.0004_message_of_result")
    with connection.cursor() as cursor:
        cursor.execute(migration.STRIP)
    told = [RuleResult.objects.get(pk=result.pk).error for result in results]
    assert told == ["rule one was not applied: disk on fire", "", "rule three was not applied: on fire"]


def test_why_accounts_are_unknown_is_said_in_the_readers_language(people, rule, applied, instances):
    """The gap stores moments and numbers."""
    rule("one", "superuser")
    VisitHealth.objects.create(
        instance=instances[0], kind="accounts", failures=3, failed_at=timezone.now(), error_code="timeout"
    )
    Coverage.objects.filter(instance=instances[1]).delete()
    told = applied()
    (pg,), (my,) = told["pg"]["gaps"], told["my"]["gaps"]
    assert (pg.code, pg.message, my.parameters) == ("stale", "", {})
    assert json.loads(json.dumps(pg.parameters)) == pg.parameters
    message = text_of(pg.code, pg.parameters)[0]
    assert message == f"the accounts are unknown: {unknown_instances(Instance.objects.all())[instances[0]]}"
    assert "3 visits failed since (timeout)" in message
    assert text_of(my.code, my.parameters)[0] == "the accounts are unknown: not visited by then"
    with translation.override("zh-hans"):
        message, hint = text_of(pg.code, pg.parameters)
        assert message.startswith("账户情况未知：")
        assert "visit" not in message + hint


def test_an_engine_that_comes_later_is_examined_too(people, rule, applied, instances):
    first = rule("one", "can_login", engine="mysql")
    assert applied()["pg"]["examined"] == 0
    assert held() == ["web@%"]
    first.engine = "postgresql"
    services.keep_rule(first)
    assert applied()["my"]["lost"] == 1
    assert account(instances[0], "late", can_login=True)
    applied()
    assert held() == ["ada", "bob", "carl", "late"]
