"""Fault 3, F7.3: a field that could not be read is unknown wherever it is shown, and never a no."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.urls import reverse

from accounts.models import Account, AccountChange, Coverage
from accounts.tests.stored import MAY_1, account
from accounts.tests.test_oracle import stored
from engines.tests.oracle_emulated import ServeOracle
from instances.models import Instance
from instances.tests.api import client_with
from instances.tests.pages import superstaff, without_random_words
from sync.models import SyncRecord
from sync.tests.targets import visit_once
from taifish.tests.mariadb import MariadbServer

WITHHELD = {"auth_method", "is_locked", "password_changed_at", "password_expired", "valid_until"}
PEOPLE = """
CREATE USER ada IDENTIFIED BY 'x' ACCOUNT LOCK; CREATE USER bob IDENTIFIED BY 'x'; CREATE ROLE team;
"""


def sync(instance: Instance) -> SyncRecord:
    record = visit_once("accounts", instance)
    assert record.status in ("completed", "partial"), record.error
    return record


def values(name: str) -> dict[str, Any]:
    fields = Account.objects.filter(name=name).values("kind", "can_login", "is_superuser", *WITHHELD)
    return dict(fields.get())


def blind(server: MariadbServer, is_blind: bool) -> None:
    """Whether the collection account may read mysql.global_priv, the table that also holds the hashes."""
    server.execute(
        "GRANT SELECT ON mysql.* TO taifish_collector"
        if not is_blind
        else "REVOKE ALL ON mysql.* FROM taifish_collector"
    )


@pytest.fixture
def hash_blind(add, maria_server) -> Instance:
    """A MariaDB with a locked user, visited once by an account that may not read hashes."""
    maria_server.execute(PEOPLE)
    instance = add("maria", maria_server.collector(hash_blind=True))
    sync(instance)
    return instance


def test_a_first_visit_stores_nothing_for_what_it_could_not_read(hash_blind):
    coverage = Coverage.objects.get(instance=hash_blind, until=None)
    assert set(coverage.unread) == WITHHELD
    (gap,) = [gap for gap in coverage.gaps if gap["scope"] == "account fields"]
    assert set(gap["fields"]) == WITHHELD
    for name in ("ada", "bob"):
        assert values(name) == {
            "kind": "user", "can_login": True, "is_superuser": False, **dict.fromkeys(WITHHELD),
        }  # fmt: skip
    # A role is never locked, whatever could be read.
    assert values("team")["is_locked"] is False


def test_pages_api_and_files_say_unknown(hash_blind):
    ada = Account.objects.get(name="ada")
    client = client_with("accounts.view_account", "accounts.view_coverage", "instances.view_instance")
    answer = client.get(f"/api/accounts/{ada.pk}/").json()
    assert (answer["is_locked"], answer["valid_until"], answer["auth_method"]) == (None, None, None)

    def found(query: str) -> set[str]:
        rows = client.get(f"/api/accounts/?instance={hash_blind.pk}&kind=user&{query}").json()["results"]
        return {row["name"] for row in rows} & {"ada", "bob"}

    assert [found("locked=true"), found("locked=false")] == [set(), set()]
    assert found("unread=is_locked") == {"ada", "bob"}
    assert found("unread=is_superuser") == set()

    pages = superstaff().get
    listed = pages(reverse("admin:accounts_account_changelist"), {"unread": "is_locked"})
    assert {"ada", "bob"} <= {row.name for row in listed.context["cl"].result_list}
    row = without_random_words(listed.content.decode()).partition("ada")[2].partition("</tr>")[0]
    assert row.count("unknown") == 2
    facts = dict(pages(reverse("admin:accounts_account_change", args=[ada.pk])).context["facts"])
    shown = {str(label): value for label, value in facts.items()}
    assert {shown[label] for label in ("Locked", "Valid until", "Password changed", "Authentication")} == {"unknown"}
    file = pages(reverse("where-is"), {"name": "ada", "csv": "1"})
    header, line = file.getvalue().decode("utf-8-sig").splitlines()[:2]
    cells = dict(zip(header.split(","), line.split(","), strict=False))
    assert (cells["superuser"], cells["can log in"], cells["locked"]) == ("False", "True", "unknown")


def changes(name: str) -> list[tuple[list[str], dict[str, Any]]]:
    rows = AccountChange.objects.filter(account__name=name, baseline=False).order_by("pk")
    return [(row.events, row.details.get("attributes", {})) for row in rows]


def test_what_was_read_before_is_not_shown_as_current_and_comes_back_without_news(add, maria_server):
    maria_server.execute(PEOPLE)
    instance = add("maria", maria_server.collector(hash_blind=True))
    blind(maria_server, False)
    sync(instance)
    assert (values("ada")["is_locked"], values("bob")["is_locked"]) == (True, False)
    known = values("ada")

    blind(maria_server, True)
    sync(instance)
    assert values("ada") == known | dict.fromkeys(WITHHELD)
    blind(maria_server, False)
    sync(instance)
    assert values("ada") == known
    assert changes("ada") == changes("bob") == []

    blind(maria_server, True)
    sync(instance)
    maria_server.execute("ALTER USER ada ACCOUNT UNLOCK; ALTER USER bob ACCOUNT LOCK")
    sync(instance)
    assert changes("ada") == changes("bob") == []
    blind(maria_server, False)
    sync(instance)
    assert changes("ada") == [(["unlocked"], {})]
    assert changes("bob") == [(["locked"], {})]
    assert Account.objects.get(name="ada").last_known == {}


def test_a_field_that_was_never_read_makes_no_news_when_it_is(hash_blind, maria_server):
    blind(maria_server, False)
    sync(hash_blind)
    assert values("ada")["is_locked"] is True
    assert changes("ada") == changes("team") == []
    maria_server.execute("ALTER USER ada ACCOUNT UNLOCK")
    sync(hash_blind)
    assert changes("ada")[-1][0] == ["unlocked"]


def test_only_a_yes_is_certain_without_the_password_file(transactional_db, serve_oracle: ServeOracle) -> None:
    """SYS is a superuser; of all others it is unknown, SYSDBA or not."""
    server = serve_oracle("19c PDB")
    server.user_row("SYS", ORACLE_MAINTAINED="Y")
    server.user_row("ADA")
    server.user_row("BOB")
    server.rows["V$PWFILE_USERS"].append(server.pwfile("ADA", "SYSDBA", common="NO"))
    server.denied = {"SYS.V_$PWFILE_USERS"}
    instance = stored(server)
    sync(instance)
    assert Coverage.objects.get(instance=instance, until=None).unread == ["is_superuser"]
    superusers = dict(Account.objects.filter(instance=instance, kind="user").values_list("name", "is_superuser"))
    assert {"ADA", "BOB"} <= superusers.keys()
    assert superusers == dict.fromkeys(superusers) | {"SYS": True}
    section = superstaff().get(reverse("admin:instances_instance_change", args=[instance.pk])).content.decode()
    assert "1 or more" in section


def test_locks_on_a_standby_are_unknown(transactional_db, serve_oracle: ServeOracle) -> None:
    """Its own locks after failed logins stand elsewhere; who is locked on the primary is locked here too."""
    server = serve_oracle()
    server.role = "PHYSICAL STANDBY"
    server.user_row("ADA", ACCOUNT_STATUS="LOCKED")
    server.user_row("BOB")
    sync(stored(server))
    assert (values("ADA")["is_locked"], values("BOB")["is_locked"]) == (True, None)


@pytest.fixture
def before(transactional_db: None) -> Any:
    yield
    call_command("migrate", verbosity=0)


def test_an_upgrade_fills_in_what_gaps_said_in_words(before, instances):
    pg, my = instances
    call_command("migrate", "accounts", "0008", verbosity=0)
    gaps = {
        my.pk: '[{"scope": "account fields", "code": "denied", "database": "", "hint": "GRANT SELECT ON mysql.global_priv'
        ' TO x;", "message": "could not be read: auth_method, is_locked"},'
        ' {"scope": "account fields", "code": "denied", "database": "", "message": "no",'
        ' "hint": "GRANT SELECT ON mysql.role_edges TO x;"},'
        ' {"scope": "system", "code": "denied", "database": "", "message": "could not be read: nothing", "hint": ""}]',
        pg.pk: '[{"scope": "account fields", "code": "denied", "database": "", "message": "ORA-00942: no",'
        ' "hint": "GRANT SELECT ON SYS.V_$PWFILE_USERS TO X;"}]',
    }
    with connection.cursor() as cursor:
        for instance, told in gaps.items():
            cursor.execute(
                "INSERT INTO accounts_coverage (instance_id, level, covered, beyond, gaps, digest, since, read_at)"
                " VALUES (%s, 'A', '{}', '{}', %s, 'x', %s, %s)",
                [instance, told, MAY_1, MAY_1],
            )
            cursor.execute(
                "INSERT INTO accounts_account (instance_id, name, host, kind, native_id, is_system, is_filtered,"
                " can_login, is_locked, is_superuser, auth_method, first_seen_at)"
                " VALUES (%s, 'ada', '', 'user', '', false, false, true, false, false, '', %s)",
                [instance, MAY_1],
            )
    call_command("migrate", verbosity=0)
    unread = dict(Coverage.objects.values_list("instance", "unread"))
    assert unread == {my.pk: ["auth_method", "can_login", "is_locked", "kind"], pg.pk: ["is_superuser"]}
    fields = ("kind", "can_login", "is_locked", "is_superuser", "auth_method")
    assert dict(zip(fields, Account.objects.values_list(*fields).get(instance=my), strict=True)) == {
        "kind": None, "can_login": None, "is_locked": None, "is_superuser": False, "auth_method": None,
    }  # fmt: skip
    assert Account.objects.get(instance=pg).is_superuser is None
    account(my, "bob", kind=None, auth_method=None)
    call_command("migrate", "accounts", "0008", verbosity=0)
