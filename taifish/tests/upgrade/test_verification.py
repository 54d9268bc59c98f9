"""`manage.py verify_store`: a store that visits filled has no violation, and each that is made in it is found."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection

from taifish.verification import INVARIANTS, verify

pytestmark = pytest.mark.django_db

OPEN_GRANT = "(SELECT min(id) FROM accounts_grant WHERE until IS NULL AND NOT denied)"
OPEN_MEMBERSHIP = "(SELECT min(id) FROM accounts_membership WHERE until IS NULL)"
DONE = "(SELECT min(id) FROM sync_syncrecord WHERE status = 'completed' AND kind = 'capacity')"
LAST_READ = "(SELECT max(id) FROM sync_syncrecord WHERE status = 'completed' AND kind = 'accounts')"
BY_RULE = "(SELECT min(id) FROM classification_assignment WHERE until IS NULL AND rule_id IS NOT NULL)"
SIZED = "(SELECT min(id) FROM capacity_database WHERE size_day IS NOT NULL AND gone_at IS NULL)"
AGGREGATE = "(SELECT max(id) FROM aggregation_instanceaggregate WHERE period = 'daily' AND change IS NOT NULL)"

#: Two campaigns that run, the first with an item.
CAMPAIGN = """
        INSERT INTO reviews_campaign (name, engines, privilege, "on", by, due_on, note, state, scope_text, query_text,
                                      version, created_at, frozen_at, acknowledged_name, acknowledged_text, escalate_after)
             SELECT 'c' || n, '{}', '', '', 'named', '2020-01-01', '', 'running', '', '', '', now(), now(), '', '', 3
               FROM generate_series(1, 2) n;
        INSERT INTO reviews_campaigninstance (campaign_id, name, engine, level, stale, unread, beyond, unknown, n_left_out)
             SELECT id, 'one', 'postgresql', '', '', '{}', '{}', '', 0 FROM reviews_campaign;
        INSERT INTO reviews_item (campaign_id, place_id, account_label, what, privilege, object_kind, database, object,
                                  native_id, chain, extent, usable, risk, owner_name, verdict, same_as)
             SELECT campaign_id, max(id), 'bob', 'account', '', '', '', '', '', '[]', '', '', '', '', '', ''
               FROM reviews_campaigninstance GROUP BY campaign_id ORDER BY campaign_id LIMIT 1;
        ALTER TABLE reviews_item DISABLE TRIGGER USER; ALTER TABLE reviews_decision DISABLE TRIGGER USER;
"""

#: Invariant → SQL that makes one violation of it, and perhaps of others. A constraint that holds the same is dropped.
BREAKS = {
    "store.valid_indexes": "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'account_name'::regclass",
    "store.valid_constraints": "UPDATE pg_constraint SET convalidated = false WHERE conname = 'assignment_says_why'",
    "sync.session_closed": f"""
        UPDATE sync_syncsession SET finished_at = NULL
         WHERE id = (SELECT session_id FROM sync_syncrecord WHERE id = {DONE})""",
    "sync.session_ends": f"""
        UPDATE sync_syncsession SET finished_at = NULL, status = 'running'
         WHERE id = (SELECT session_id FROM sync_syncrecord WHERE id = {DONE})""",
    "sync.session_status": f"UPDATE sync_syncrecord SET status = 'failed', error_code = 'x' WHERE id = {DONE}",
    "sync.session_cancelled": """
        UPDATE sync_syncsession SET status = 'cancelled' WHERE id = (SELECT max(id) FROM sync_syncsession)""",
    "sync.record_kind": f"UPDATE sync_syncrecord SET kind = 'classification' WHERE id = {DONE}",
    "sync.record_state": f"UPDATE sync_syncrecord SET lease_until = now() WHERE id = {DONE}",
    "sync.one_running_visit": f"""
        DROP INDEX one_running_visit_per_kind;
        INSERT INTO sync_syncsession (kind, trigger, status, params, created_at)
             SELECT 'capacity', 'manual', 'running', '{{}}', now() FROM generate_series(1, 2);
        INSERT INTO sync_syncrecord (session_id, instance_id, kind, status, phase, attempt, max_attempts, sent_times,
                                     worker, lease_until, started_at, error_code, parameters, message, advice, summary,
                                     gaps)
             SELECT s.id, r.instance_id, 'capacity', 'running', 'read', 1, 1, 0, 'w', now(), now(), '', '{{}}', '', '',
                    '{{}}', '[]'
               FROM sync_syncsession s, sync_syncrecord r WHERE r.id = {DONE} ORDER BY s.id DESC LIMIT 2""",
    "sync.visit_counted": f"""
        DELETE FROM sync_visithealth h USING sync_syncrecord r
         WHERE r.id = {DONE} AND h.instance_id = r.instance_id AND h.kind = r.kind""",
    "sync.pause": """
        UPDATE sync_visithealth SET paused_at = now() WHERE id = (SELECT min(id) FROM sync_visithealth
                                                                   WHERE failures = 0)""",
    "accounts.interval": f"UPDATE accounts_grant SET ended = 'revoked' WHERE id = {OPEN_GRANT}",
    "accounts.overlap": f"""
        INSERT INTO accounts_grant (account_id, kind, database, scope, privilege, grantable, denied, held_since, since,
                                    until)
             SELECT account_id, kind, database, scope, privilege, grantable, denied, held_since, since,
                    since + interval '1 minute'
               FROM accounts_grant WHERE id = {OPEN_GRANT}""",
    "accounts.held_since": f"UPDATE accounts_grant SET since = since + interval '1 s' WHERE id = {OPEN_GRANT}",
    "accounts.membership_within_instance": """
        INSERT INTO accounts_membership (member_id, role_id, admin_option, inherit, set_option, held_since, since, until)
             SELECT m.id, r.id, false, true, true, c.at, c.at, c.at + interval '1 s'
               FROM accounts_account m JOIN accounts_account r ON r.instance_id <> m.instance_id
               JOIN accounts_accountchange c ON c.account_id = m.id AND c.events @> '{memberships}'
              WHERE r.gone_at IS NULL AND c.baseline LIMIT 1""",
    "accounts.role_of_membership": f"""
        UPDATE accounts_account SET gone_at = now()
         WHERE id = (SELECT role_id FROM accounts_membership WHERE id = {OPEN_MEMBERSHIP});
        DELETE FROM accounts_membership WHERE id <> {OPEN_MEMBERSHIP}""",
    "accounts.closure": """
        UPDATE accounts_rolereach SET is_admin = NOT is_admin WHERE id = (SELECT max(id) FROM accounts_rolereach)""",
    "accounts.closure_steps": """
        UPDATE accounts_rolereach SET depth = depth + 1 WHERE id = (
            SELECT max(id) FROM accounts_rolereach x WHERE NOT EXISTS (
                SELECT FROM accounts_rolereach b WHERE b.member_id = x.member_id AND b.via_id = x.role_id))""",
    "accounts.change_logged": f"""
        UPDATE accounts_grant SET ended = 'revoked', until = since + interval '1 s' WHERE id = {OPEN_GRANT}""",
    "accounts.grant_of_change": """
        UPDATE accounts_accountchange
           SET details = jsonb_set(details, '{granted,0,scope}', '"never"')
         WHERE id = (SELECT min(id) FROM accounts_accountchange WHERE details ? 'granted' AND NOT baseline)""",
    "accounts.membership_of_change": """
        UPDATE accounts_accountchange SET details = details || '{"joined": [{"role": "never"}]}'
         WHERE id = (SELECT min(id) FROM accounts_accountchange WHERE NOT baseline)""",
    "accounts.account_logged": """
        UPDATE accounts_accountchange SET events = '{}' WHERE id = (
            SELECT c.id FROM accounts_accountchange c JOIN accounts_account a ON a.id = c.account_id
             WHERE c.events = '{appeared}' AND c.at = a.first_seen_at ORDER BY 1 LIMIT 1)""",
    "accounts.coverage": """
        UPDATE accounts_coverage SET read_at = since - interval '1 s'
         WHERE id = (SELECT min(id) FROM accounts_coverage)""",
    "accounts.coverage_open": """
        DELETE FROM accounts_coverage WHERE instance_id = (SELECT min(instance_id) FROM accounts_account)""",
    "accounts.read_stored": f"UPDATE sync_syncrecord SET started_at = now() WHERE id = {LAST_READ}",
    "capacity.total": """
        UPDATE capacity_instancesize SET n_databases = n_databases + 1
         WHERE (instance_id, day) = (SELECT instance_id, day FROM capacity_instancesize ORDER BY 1, 2 LIMIT 1)""",
    "capacity.total_exists": """
        DELETE FROM capacity_instancesize WHERE (instance_id, day) = (
            SELECT d.instance_id, max(s.day) FROM capacity_databasesize s JOIN capacity_database d
                ON d.id = s.database_id GROUP BY 1 ORDER BY 1 LIMIT 1)""",
    "capacity.latest_size": f"UPDATE capacity_database SET size = size + 1 WHERE id = {SIZED}",
    "capacity.seen": f"UPDATE capacity_database SET last_seen_at = first_seen_at - interval '1 s' WHERE id = {SIZED}",
    "capacity.negative_size": """
        INSERT INTO capacity_tablespace (instance_id, name, kind, first_seen_at, last_seen_at, gone_at, size, size_day)
             SELECT min(id), 'odd', 'permanent', now(), now(), now(), -1, '2020-01-01' FROM instances_instance;
        INSERT INTO capacity_tablespacesize (tablespace_id, day, size, collected_at)
             SELECT id, size_day, size, now() FROM capacity_tablespace WHERE name = 'odd'""",
    "capacity.tablespace_of_database": f"""
        INSERT INTO capacity_tablespace (instance_id, database_id, name, kind, first_seen_at, last_seen_at)
             SELECT i.id, d.id, 'odd', 'permanent', now(), now()
               FROM capacity_database d JOIN instances_instance i ON i.id <> d.instance_id WHERE d.id = {SIZED} LIMIT 1""",
    "aggregation.figures": f"UPDATE aggregation_instanceaggregate SET max_size = max_size + 1 WHERE id = {AGGREGATE}",
    "aggregation.days": f"UPDATE aggregation_instanceaggregate SET days_expected = 0 WHERE id = {AGGREGATE}",
    "aggregation.change": f"UPDATE aggregation_instanceaggregate SET change = change + 1 WHERE id = {AGGREGATE}",
    "aggregation.aggregated": """
        DELETE FROM aggregation_instanceaggregate WHERE id = (
            SELECT max(id) FROM aggregation_instanceaggregate WHERE period = 'daily' AND start < now() - interval '3 days')""",
    "classification.assignment": f"""
        UPDATE classification_assignment s SET instance_id = (SELECT max(i.id) FROM instances_instance i
                                                               WHERE i.id <> s.instance_id)
         WHERE id = {BY_RULE}""",
    "classification.assignment_overlap": f"""
        INSERT INTO classification_assignment (account_id, instance_id, classification_id, rule_id, rule_version, reason,
                                               since, until)
             SELECT account_id, instance_id, classification_id, rule_id, rule_version, '', since,
                    since + interval '1 minute'
               FROM classification_assignment WHERE id = {BY_RULE}""",
    "classification.rule_version": f"UPDATE classification_assignment SET rule_version = 999 WHERE id = {BY_RULE}",
    "classification.rule_result": """
        UPDATE classification_ruleresult SET examined = matched + unknown - 1
         WHERE id = (SELECT min(id) FROM classification_ruleresult WHERE matched > 0 AND message = '')""",
    "tagging.receipt": """
        INSERT INTO tagging_tagoperation (action, created_at, finished_at, outcomes, reasons)
             VALUES ('assign', now(), now(), '{"added": [{"tags": [1], "instances": [1, 2]}],
                     "already_there": [{"tags": [1], "instances": [2]}]}', '[]')""",
    "alerts.alert": """
        UPDATE alerts_alert SET last_seen_at = first_seen_at - interval '1 s'
         WHERE id = (SELECT min(id) FROM alerts_alert)""",
    "alerts.delivery": """
        UPDATE alerts_delivery SET status = 'sent', sent_at = NULL WHERE id = (SELECT min(id) FROM alerts_delivery)""",
    "owners.end_date_within_instance": """
        INSERT INTO owners_enddate (account_id, of, role_id, grant_kind, database, scope, privilege, denied, ends_on, reason,
                                    ticket, approver, created_at)
             SELECT m.id, 'membership', r.id, '', '', '', '', false, '2020-01-01', '', '', '', now()
               FROM accounts_account m JOIN accounts_account r ON r.instance_id <> m.instance_id LIMIT 1""",
    "drift.saved_state": """
        INSERT INTO drift_baseline (name, state, ignored, active, note) VALUES ('b', '{"items": []}', '', true, '')""",
    "reviews.campaign": CAMPAIGN + "UPDATE reviews_campaign SET state = 'sealed', sealed_at = now() WHERE name = 'c1'",
    "reviews.decision_in_time": f"""{CAMPAIGN}
        INSERT INTO reviews_decision (item_id, verdict, reason, by_name, at, bulk_size)
             SELECT id, 'keep', '', 'ann', now() + interval '1 hour', 1 FROM reviews_item;
        UPDATE reviews_item SET verdict = 'keep';
        UPDATE reviews_campaign SET state = 'sealed', closed_at = now(), acknowledged_at = now(), sealed_at = now()""",
    "reviews.verdict": CAMPAIGN + "UPDATE reviews_item SET verdict = 'revoke'",
    "reviews.item_within_campaign": f"""{CAMPAIGN}
        UPDATE reviews_item SET campaign_id = (SELECT max(id) FROM reviews_campaign)""",
}


def found() -> dict[str, int]:
    """Broken invariant → number of violations."""
    return {f"{app}.{result.invariant.name}": result.count for app, result in verify([], 20) if result.count}


def test_a_store_that_visits_filled_has_no_violation(upgraded):
    assert found() == {}


def test_each_invariant_is_broken_below():
    assert BREAKS.keys() == {f"{app}.{invariant.name}" for app, those in INVARIANTS.items() for invariant in those}


@pytest.mark.parametrize("name", BREAKS)
def test_a_violation_is_found(upgraded, name):
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(BREAKS[name])
    assert found().get(name) == 1


def test_roles_that_are_missing_or_reached_by_no_membership_are_found(upgraded):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM accounts_rolereach WHERE id = (SELECT min(id) FROM accounts_rolereach)")
        cursor.execute(
            "INSERT INTO accounts_rolereach (member_id, role_id, depth, via_id, inherits, can_set, is_admin)"
            " SELECT role_id, member_id, 1, role_id, true, true, false FROM accounts_rolereach ORDER BY id LIMIT 1"
        )
    problems = {row["problem"] for _, each in verify(["accounts"], 20) for row in each.violations if "problem" in row}
    assert {"missing", "unfounded"} <= problems


def test_apps_that_store_anything_declare_invariants():
    """Of `instances` and `planning` the constraints of the store say all; `access` has no tables."""
    with_models = {config.label for config in apps.get_app_configs() if list(config.get_models())}
    ours = with_models & {
        "instances",
        "tagging",
        "sync",
        "accounts",
        "capacity",
        "aggregation",
        "planning",
        "classification",
        "alerts",
        "owners",
        "drift",
        "reviews",
    }
    assert ours - {"instances", "planning"} == INVARIANTS.keys() - {"store"}


def run(*arguments: str) -> tuple[int | str | None, str]:
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("verify_store", *arguments, stdout=out)
    return ended.value.code, out.getvalue()


def test_the_command_reports(upgraded):
    """Exits 0 or 3; names of servers are escaped; `--json` has the same."""
    code, said = run()
    assert (code, said) == (0, f"{len(BREAKS)} invariants checked, 0 violations.\n")
    with connection.cursor() as cursor:
        cursor.execute(BREAKS["accounts.grant_of_change"].replace("never", r"ne\u001bver"))
    code, said = run("--app", "accounts")
    assert code == 3
    assert "accounts.grant_of_change: 1 violations. Broken: Each grant in the log of changes has its interval." in said
    assert r"ne\u001bver" in said or r"ne\x1bver" in said
    assert "\x1b" not in said
    code, said = run("--json")
    document: dict[str, Any] = json.loads(said)
    assert (code, document["violations"]) == (3, 1)
    (broken,) = [each for each in document["invariants"] if each["count"]]
    assert broken["violations"][0]["word"] == "granted"
