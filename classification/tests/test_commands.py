from __future__ import annotations

import csv
import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import Coverage
from accounts.tests.stored import account
from classification.models import Assignment, ClassificationRule
from instances.models import Instance


def classify(*words: str) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    out, err = StringIO(), StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command("classify", *words, stdout=out, stderr=err)
    return caught.value.code or 0, out.getvalue(), err.getvalue()


@pytest.fixture
def ready(transactional_db, people, rule) -> None:
    rule("super", "superuser")
    rule("roles", 'has("CREATEROLE")')
    rule("idle", "is_role", active=False)


def test_a_run_prints_what_each_rule_did(ready):
    """F5.8"""
    code, out, _ = classify()
    assert code == 0
    assert "super: 5 examined, 1 matched, 0 unknown, 1 gained, 0 lost, 0 kept" in out
    assert "roles: 5 examined, 2 matched, 0 unknown, 2 gained, 0 lost, 0 kept" in out
    assert "completed" in out
    code, out, _ = classify("--instance", "pg", "--rule", "super", "--json")
    told = json.loads(out)
    assert (code, told["status"], told["problems"]) == (0, "completed", [])
    assert [(row["rule"], row["examined"], row["kept"]) for row in told["rules"]] == [("super", 4, 1)]


def test_a_dry_run_writes_nothing(ready):
    code, out, _ = classify("--dry-run", "--rule", "super", "idle")
    assert (code, Assignment.objects.count()) == (0, 0)
    assert "super: 5 examined, 1 matched; 1 gained, 0 lost, 0 kept, 0 unknown\n  gained: pg: ada" in out
    assert "idle: 5 examined, 1 matched; 1 gained" in out
    code, out, _ = classify("--as-of", "2026-05-02", "--json")
    told = {row["rule"]: row for row in json.loads(out)["rules"]}
    assert told["roles"]["gained"] == [{"instance": "pg", "account": "bob"}, {"instance": "pg", "account": "dba"}]
    assert told["super"]["n_gained"] == 1


def test_a_dry_run_lists_all_with_reasons(ready, people):
    """JSON and CSV have all accounts, and each unknown one has the reason; so has each instance without accounts."""
    for number in range(25):
        account(people["ada"].instance, f"=many{number:02}", is_superuser=None)
    silent = Instance.objects.create(
        name="silent", engine="mysql", host="silent", credential=people["ada"].instance.credential
    )
    reason = "the engine does not show it, or visits could not read it"
    code, out, _ = classify("--dry-run", "--rule", "super", "roles")
    assert (code, f"  unknown: pg: =many00: {reason}\n" in out, "unknown: and 5 more; --csv" in out) == (3, True, True)
    code, out, _ = classify("--dry-run", "--rule", "super", "--json")
    unknown = json.loads(out)["rules"][0]["unknown"]
    assert (code, len(unknown)) == (3, 25)
    assert unknown[24] == {"instance": "pg", "account": "=many24", "reason": reason}
    code, out, err = classify("--dry-run", "--rule", "super", "roles", "--csv")
    rows = list(csv.DictReader(StringIO(out)))
    assert (code, err) == (3, "silent: not visited by then: nothing was known of its accounts\n")
    told = [
        (row["rule"], row["outcome"], row["instance"], row["account"], row["not known"] and row["last read"] != "")
        for row in rows
    ]
    assert told == [
        ("super", "gained", "pg", "ada", ""),
        *(("super", "unknown", "pg", f"'=many{number:02}", True) for number in range(25)),
        ("super", "", "silent", "", False),
        ("roles", "gained", "pg", "bob", ""),
        ("roles", "gained", "pg", "dba", ""),
        ("roles", "", "silent", "", False),
    ]
    assert {row["not known"] for row in rows if row["instance"] == silent.name} == {"not visited by then"}
    assert {row["expression"] for row in rows} == {"superuser", 'has("CREATEROLE")'}


def test_a_moment_before_the_first_visit_is_told(ready):
    """Nobody matched then because nothing was known, which is no clean bill."""
    code, out, err = classify("--as-of", "2026-04-01", "--rule", "super")
    assert (code, "super: 0 examined" in out) == (1, True)
    assert err.splitlines() == [
        f"{name}: not visited by then: nothing was known of its accounts" for name in ("my", "pg")
    ]
    Coverage.objects.filter(instance__name="my").update(since="2026-05-20T00:00:00Z")
    code, out, err = classify("--as-of", "2026-05-10", "--rule", "super", "--json")
    assert (code, json.loads(out)["unvisited"], err) == (3, ["my"], "")


def test_rules_that_fail_are_told_and_the_exit_code_says_so(ready):
    """F5.3, F5.4"""
    ClassificationRule.objects.filter(code="super").update(expression="nonsense")
    code, out, err = classify()
    assert (code, "partial" in out) == (3, True)
    assert "pg: rule super was not applied: Line 1, column 1: There is no word nonsense." in err
    code, out, err = classify("--dry-run")
    assert (code, "super: Line 1, column 1" in err, "roles: 5 examined" in out) == (3, True, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--rule", "x"], "Unknown rule: x."),
        (["--instance", "x"], "x"),
        (["--rule", "idle"], "Not active, so that only --dry-run applies: idle."),
        (["--as-of", "soon"], "neither a day"),
        (["--csv"], "add --dry-run or --as-of"),
        (["--as-of", f"{timezone.now().year + 1}-01-01"], "in the future"),
    ],
)
def test_a_wrong_call_is_told(ready, words, told):
    with pytest.raises(CommandError, match=told) as caught:
        call_command("classify", *words)
    assert caught.value.returncode == 2
