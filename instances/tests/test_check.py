"""`manage.py check_instance`, `manage.py print_grants` and the check of the API."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg2 import sql

from engines.target import Target
from instances.models import Credential, Instance
from instances.tests.api import client_with, superclient
from instances.tests.test_commands import run
from taifish.tests.mariadb import MysqlFamilyServer
from taifish.tests.postgres import PostgresServer, identifier

NAME = 'the "collector"'


def stored(name: str, target: Target, proof: str = "hashes") -> Instance:
    credential = Credential.objects.create(name=name, username=target.username, password=target.password)
    return Instance.objects.create(
        name=name,
        engine=target.engine,
        host=target.host,
        port=target.port,
        credential=credential,
        level=target.level,
        tls_mode=target.tls_mode,
        proof=proof,
    )


@pytest.fixture
def server(postgres18: PostgresServer) -> Iterator[PostgresServer]:
    yield postgres18
    postgres18.reset()


@pytest.fixture
def family(mysql_family: MysqlFamilyServer) -> Iterator[MysqlFamilyServer]:
    yield mysql_family
    mysql_family.reset()


@pytest.fixture
def instance(db: None, server: PostgresServer) -> Instance:
    server.fresh_database("shop")
    return stored("prod", server.collector(NAME, level="B"))


def test_all_works(instance: Instance) -> None:
    code, told = run("check_instance", "prod")
    first, *lines = told.splitlines()
    assert (code, first.startswith("prod: PostgreSQL 18")) == (0, True), told
    assert {line[:4] for line in lines} == {"yes "}
    assert re.search(r"^yes objects in database shop +works$", told, re.MULTILINE)
    instance.refresh_from_db()
    assert instance.version.startswith("18")


def test_what_is_missing_is_told_with_its_grant_and_its_cost(instance: Instance, server: PostgresServer) -> None:
    grant = f'GRANT CONNECT ON DATABASE "shop" TO {identifier(NAME)};'
    server.execute("REVOKE CONNECT ON DATABASE shop FROM PUBLIC")
    server.execute(f"ALTER ROLE {identifier(NAME)} CREATEDB")
    code, told = run("check_instance", "prod")
    assert code == 3
    assert re.search(r'^NO  objects in database shop +permission denied for database "shop"$', told, re.MULTILINE)
    assert (
        f"missing (in database shop): {grant}\n        without it unknown: Grants on objects in database shop" in told
    )
    assert (
        f"CREATEDB: Taifish creates and changes nothing.\n        remedy: ALTER ROLE {identifier(NAME)} NOCREATEDB;"
        in told
    )
    code, told = run("check_instance", "prod", "--json")
    found = json.loads(told)
    assert (code, found["instance"], found["ok"], found["connection"]["ok"]) == (3, "prod", False, True)
    (lost,) = [capability for capability in found["capabilities"] if not capability["works"]]
    assert (lost["missing"], lost["database"], lost["level"], lost["works"]) == (grant, "shop", "B", False)
    assert [excess["right"] for excess in found["excess"]] == ["CREATEDB"]


def test_excess_alone_is_no_failure(instance: Instance, server: PostgresServer) -> None:
    server.execute(f"ALTER ROLE {identifier(NAME)} CREATEDB")
    assert run("check_instance", "prod")[0] == 0


def test_no_connection(instance: Instance, server: PostgresServer) -> None:
    server.execute(f"ALTER ROLE {identifier(NAME)} NOLOGIN")
    code, told = run("check_instance", "prod")
    assert (code, told.startswith("prod: auth_failed: "), told.count("\n")) == (1, True, 1)
    assert f"ALTER ROLE {identifier(NAME)} LOGIN;" in told
    code, told = run("check_instance", "prod", "--json")
    (connection,) = json.loads(told)["capabilities"]
    assert (code, connection["works"], connection["missing"]) == (1, False, f"ALTER ROLE {identifier(NAME)} LOGIN;")


def test_unknown_and_retired_instances_are_wrong_calls(instance: Instance) -> None:
    assert run("check_instance", "dorp") == (2, "Invalid instances: 'dorp' is unknown.")
    instance.retire()
    assert run("check_instance", "prod") == (2, "Invalid instances: 'prod' is retired.")
    assert run("print_grants", "postgresql", "--for", "prod") == (2, "Invalid instances: 'prod' is retired.")


def test_the_check_of_the_api(instance: Instance, server: PostgresServer) -> None:
    url = f"/api/instances/{instance.pk}/check/"
    assert client_with("instances.view_instance").post(url).status_code == 403
    assert client_with("instances.connect_instance").post(url).status_code == 403
    client = client_with("instances.view_instance", "instances.connect_instance")
    assert client.get(url).status_code == 405
    answer = client.post(url)
    assert (answer.status_code, answer.json()["ok"], answer.json()["excess"]) == (200, True, [])
    server.execute(f"REVOKE pg_read_all_stats FROM {identifier(NAME)}")
    found = client.post(url).json()
    (lost,) = [capability for capability in found["capabilities"] if not capability["works"]]
    assert (found["ok"], found["connection"]["product"]) == (False, "PostgreSQL")
    assert lost["missing"] == f"GRANT pg_read_all_stats TO {identifier(NAME)};"
    instance.credential.password = "wrong"
    instance.credential.save()
    found = client.post(url).json()
    assert (found["ok"], found["connection"]["code"], len(found["capabilities"])) == (False, "auth_failed", 1)


def test_hashes_are_looked_at_when_asked_for(db: None, family: MysqlFamilyServer) -> None:
    instance = stored("maria", family.collector(), proof="as_before")
    url = f"/api/instances/{instance.pk}/check/"
    assert superclient().post(url).json()["excess"] == []
    (excess,) = superclient().post(url, {"hash_blind": True}, format="json").json()["excess"]
    assert excess["right"] == "SELECT on `mysql`.*"
    assert superclient().post(url, {"hash_blind": "maybe"}, format="json").status_code == 400
    assert "Beyond need:" not in run("check_instance", "maria")[1]
    assert "Beyond need:\n    SELECT on `mysql`.*: " in run("check_instance", "maria", "--hash-blind")[1]


# The printed script


def printed(*arguments: str) -> list[str]:
    """The statements of a script: comments are lines of their own."""
    code, told = run("print_grants", *arguments)
    assert code == 0, told
    return [line for line in told.splitlines() if not line.startswith("--")]


@pytest.mark.parametrize("level", ["A", "C"])
def test_the_printed_script_runs_on_postgresql(db: None, postgres: PostgresServer, level: str) -> None:
    """Unchanged, and each statement has a word on what it is for."""
    arguments = ("postgresql", "--level", level, "--account", NAME)
    statements = printed(*arguments)
    told = run("print_grants", *arguments)[1].splitlines()
    assert all(told[told.index(statement) - 1].startswith("-- ") for statement in statements)
    try:
        for statement in statements:
            postgres.execute(statement)
        assert run_check(postgres.target(NAME, "…", level=level)) == 0
    finally:
        postgres.reset()


@pytest.mark.parametrize("options", ["", "--level C", "--hash-blind", "--hash-blind --level C"])
def test_the_printed_script_runs_on_mariadb_and_mysql(db: None, family: MysqlFamilyServer, options: str) -> None:
    for statement in printed(family.product.lower(), "--account", "it`s@%", *shlex.split(options)):
        family.execute(statement)
    level = "C" if "C" in options else "A"
    # MariaDB keeps more than the hashes in the one document, and MySQL's roles are known by their lack of a hash.
    assert run_check(family.target("it`s", "…", level=level)) == (3 if "--hash-blind" in options else 0)


def run_check(target: Target) -> int:
    stored("checked", target, proof="as_before")
    return run("check_instance", "checked")[0]


def test_the_script_for_an_instance(instance: Instance, server: PostgresServer) -> None:
    """With the name of its account, to its depth, and with what its databases lack right now."""
    role = identifier(NAME)
    server.execute("REVOKE CONNECT ON DATABASE shop FROM PUBLIC")
    server.execute(sql.SQL("CREATE DATABASE {0}").format(sql.Identifier("a\nDROP TABLE b; --")))
    server.execute(sql.SQL("REVOKE CONNECT ON DATABASE {0} FROM PUBLIC").format(sql.Identifier("a\nDROP TABLE b; --")))
    run("check_instance", "prod")
    code, told = run("print_grants", "postgresql", "--for", "prod")
    assert (code, told.startswith("-- PostgreSQL 18.")) == (0, True)
    assert f'GRANT CONNECT ON DATABASE "shop" TO {role};\n' in told
    assert f"GRANT pg_read_all_stats TO {role};\n" in told
    assert "Databases of prod that need more now: 2." in told
    # Fault 1, F7.11: a name with a line break is in no SQL and no comment.
    assert "DROP TABLE" not in told
    assert "No SQL is offered for 1 of them" in told
    assert "\\connect -reuse-previous=on \"dbname='shop'\"\nGRANT CONNECT" in told
    checked = run("check_instance", "prod")[1]
    assert "\nDROP TABLE" not in checked
    assert "objects in database a" in checked
    assert "GRANT CONNECT" not in run("print_grants", "postgresql", "--for", "prod", "--level", "A")[1]


def test_the_script_for_an_instance_that_does_not_answer(instance: Instance) -> None:
    instance.credential.username = "nobody yet"
    instance.credential.save()
    code, told = run("print_grants", "postgresql", "--for", "prod")
    assert (code, 'CREATE ROLE "nobody yet" LOGIN' in told) == (0, True)
    assert "-- Cannot check which databases of prod need more: " in told


def test_what_was_remembered_of_an_instance_decides(db: None) -> None:
    target = Target("mysql", "db.invalid", "old", level="B")
    instance = stored("old", target)
    instance.version = "5.7.44-log"
    for product in ("MySQL", "MariaDB"):
        instance.product = product
        instance.save()
        told = run("print_grants", "mysql", "--for", "old", "--hash-blind")[1]
        assert told.startswith(f"-- {product} 5.7.44-log, read depth B\n")
        assert "CREATE USER `old`@`%` " in told
        assert ("roles_mapping" in told, "role_edges" in told) == (product == "MariaDB", False)
    assert run("print_grants", "postgresql", "--for", "old") == (2, "The engine of old is mysql, not postgresql.")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("mysql", "--hash-blind"), "partial_revokes"),
        (("mysql", "--hash-blind"), "MySQL does not mark roles"),
        (("mysql",), "includes password hashes"),
        (("mariadb", "--hash-blind"), "mysql.global_priv"),
        (("postgresql", "--hash-blind"), "superusers only"),
        (("postgresql", "--level", "B"), "PUBLIC has it by default"),
    ],
)
def test_what_the_script_leaves_open_is_said(arguments: Any, told: str) -> None:
    assert told in run("print_grants", *arguments)[1]
