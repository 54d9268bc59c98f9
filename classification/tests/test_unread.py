"""Fault 3, F7.3: rules on fields that visits could not read, on real servers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Account, Coverage
from accounts.tests.test_oracle import stored
from classification.effect import effect_of
from classification.models import ClassificationRule
from engines.tests.oracle_emulated import ServeOracle
from instances.models import Instance
from sync.tests.targets import visit_once
from taifish.tests.mariadb import MariadbServer


def verdicts(expression: str, names: set[str], at: datetime | None = None) -> dict[str, set[str]]:
    """Of the accounts of these names: those that the rule matches, and those of which it is unknown."""
    effect = effect_of(ClassificationRule(expression=expression), Instance.objects.all(), at=at)
    found = {outcome: {one.account.name for one in effect.accounts[outcome]} & names for outcome in effect.accounts}
    return {"yes": found["gained"] | found["kept"], "unknown": found["unknown"]}


PEOPLE = {"ada", "bob"}


@pytest.fixture
def blind(add, maria_server: MariadbServer) -> Instance:
    """ada is locked, bob is not, and nobody may know: the collection account may not read hashes."""
    maria_server.execute("CREATE USER ada IDENTIFIED BY 'x' ACCOUNT LOCK; CREATE USER bob IDENTIFIED BY 'x'")
    instance = add("maria", maria_server.collector(hash_blind=True))
    assert visit_once("accounts", instance).status == "partial"
    return instance


@pytest.mark.parametrize(
    "words",
    ["locked", "password_expired", "expires", "expired", "valid_days > 3", "password_age_days > 90", "auth('*')"],
)
def test_neither_a_rule_nor_its_opposite_matches_what_was_not_read(blind, words):
    assert verdicts(words, PEOPLE) == {"yes": set(), "unknown": PEOPLE}
    assert verdicts(f"not ({words})", PEOPLE) == {"yes": set(), "unknown": PEOPLE}


@pytest.mark.parametrize("words", ["can_login", "not superuser", "not is_role", "connection_limit > 3"])
def test_what_was_read_of_the_same_accounts_is_known(blind, words):
    assert verdicts(words, PEOPLE) == {"yes": PEOPLE, "unknown": set()}
    assert verdicts(f"not ({words})", PEOPLE) == {"yes": set(), "unknown": set()}


def test_of_the_past_it_is_known_what_was_read_then(blind, maria_server):
    """F7.3: before, during and after a time in which it could not be read."""

    def visited(statement: str = "") -> datetime:
        if statement:
            maria_server.execute(statement)
        visit_once("accounts", blind)
        return timezone.now()

    moments: list[Any] = [
        visited(),
        visited("GRANT SELECT ON mysql.* TO taifish_collector"),
        visited("REVOKE ALL ON mysql.* FROM taifish_collector"),
    ]
    known = {"yes": {"ada"}, "unknown": set()}
    unknown = {"yes": set(), "unknown": PEOPLE}
    assert [verdicts("locked", PEOPLE, at) for at in [*moments, None]] == [unknown, known, unknown, unknown]
    moments.append(visited("ALTER USER ada ACCOUNT UNLOCK; GRANT SELECT ON mysql.* TO taifish_collector"))
    unlocked = {"yes": set(), "unknown": set()}
    expected = [unknown, known, unknown, unlocked, unlocked]
    assert [verdicts("locked", PEOPLE, at) for at in [*moments, None]] == expected


def test_no_rule_reads_the_words_of_a_gap(blind):
    """What a gap says is for people; which fields it is about is data."""
    Coverage.objects.update(gaps=[])
    assert verdicts("not locked", PEOPLE)["unknown"] == PEOPLE
    gaps = [{"scope": "account fields", "database": "", "code": "denied", "message": "is_superuser", "hint": ""}]
    Coverage.objects.update(gaps=gaps, unread=[])
    assert verdicts("not superuser", PEOPLE) == {"yes": PEOPLE, "unknown": set()}


def test_not_superuser_does_not_match_an_oracle_administrator_who_could_not_be_seen(
    transactional_db: None, serve_oracle: ServeOracle
) -> None:
    server = serve_oracle("19c PDB")
    server.user_row("SYS", ORACLE_MAINTAINED="Y")
    server.user_row("ADA")
    server.rows["V$PWFILE_USERS"].append(server.pwfile("ADA", "SYSDBA", common="NO"))
    server.denied = {"SYS.V_$PWFILE_USERS"}
    instance = stored(server)
    assert visit_once("accounts", instance).status == "partial"
    names = {"SYS", "ADA"}
    assert verdicts("not superuser", names) == {"yes": set(), "unknown": {"ADA"}}
    assert verdicts("superuser", names) == {"yes": {"SYS"}, "unknown": {"ADA"}}
    server.denied = set()
    assert visit_once("accounts", instance).status == "completed"
    assert verdicts("superuser", names) == {"yes": names, "unknown": set()}
    assert Account.objects.get(name="ADA").is_superuser
