"""A new engine is one folder and one line: the abacus beside this file goes through visit, check, script and pages."""

from __future__ import annotations

import ast
import sqlite3
import subprocess
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.urls import reverse

from accounts.models import Account
from capacity.models import Database
from engines.registry import ENGINES
from engines.tests.abacus.engine import ENGINE
from instances.models import Instance
from instances.tests.pages import superstaff
from sync.tests.targets import visit_once

CATALOGUE = """
CREATE TABLE users (name, locked); CREATE TABLE members (member, role); CREATE TABLE rights (user, privilege);
CREATE TABLE tables (user, base, name, privilege); CREATE TABLE bases (name, bytes);
INSERT INTO users VALUES ('ada', 0), ('bob', 1), ('readers', 0), ('nobody', 0);
INSERT INTO members VALUES ('ada', 'readers');
INSERT INTO rights VALUES ('nobody', 'COUNT');
INSERT INTO tables VALUES ('readers', 'shop', 'orders', 'COUNT');
INSERT INTO bases VALUES ('shop', 1024);
"""

#: Files that may name an engine: rules that are shipped for it, and the store and servers of the demo, which are
#: PostgreSQL.
MAY_NAME = {
    "classification/library.py",
    "taifish/management/commands/demo.py",
    "taifish/management/commands/up.py",
}


@pytest.fixture
def abacus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, add: Any) -> Iterator[Instance]:
    """An instance of the new engine, after the one line that registers it."""
    monkeypatch.setitem(ENGINES, ENGINE.name, ENGINE)
    path = tmp_path / "abacus.db"
    connection = sqlite3.connect(path)
    connection.executescript(CATALOGUE)
    yield add("counter", engine="abacus", host=str(path), level="B")
    connection.close()


def printed(*arguments: str) -> tuple[int, str]:
    """The exit code of a command, and what it prints."""
    out = StringIO()
    try:
        call_command(*arguments, stdout=out)
    except SystemExit as stop:
        return int(str(stop.code)), out.getvalue()
    return 0, out.getvalue()


def change(instance: Instance, statement: str) -> None:
    with sqlite3.connect(instance.host) as connection:
        connection.execute(statement)


def test_visits_and_who_can(abacus: Instance) -> None:
    """Accounts, memberships, grants and sizes are stored, and questions follow the engine's semantics."""
    record = visit_once("accounts", abacus)
    assert (record.status, record.gaps) == ("completed", [])
    assert {(a.name, a.is_locked) for a in Account.objects.all()} == {
        ("ada", False),
        ("bob", True),
        ("readers", False),
        ("nobody", False),
    }
    assert visit_once("capacity", abacus).status == "completed"
    assert [database.name for database in Database.objects.all()] == ["shop"]
    code, answer = printed("who_can", "COUNT", "--on", "shop.orders")
    assert code == 0
    assert {name for name in ("ada", "bob", "nobody") if name in answer} == {"ada", "nobody"}


def test_a_failed_read_is_a_gap_and_a_capability_that_does_not_work(abacus: Instance) -> None:
    """The one table of reads serves both: nothing of the engine says it twice."""
    visit_once("accounts", abacus)
    change(abacus, "DROP TABLE tables")
    record = visit_once("accounts", abacus)
    assert (record.status, [gap["scope"] for gap in record.gaps]) == ("partial", ["table"])
    code, told = printed("check_instance", "counter")
    assert code != 0
    assert "no such table: tables" in told
    change(abacus, "DROP TABLE users")
    assert visit_once("accounts", abacus).status == "failed"


def test_check_and_script(abacus: Instance) -> None:
    """The script names each table that visits to that depth read, and the check finds the right beyond need."""
    code, told = printed("check_instance", "counter")
    assert (code, "REVOKE COUNT FROM" in told) == (0, True)
    code, script = printed("print_grants", "abacus", "--level", "A")
    assert [line for line in script.splitlines() if not line.startswith("--")] == [
        "CREATE USER taifish;",
        *(f"GRANT SELECT ON {name} TO taifish;" for name in ("users", "members", "rights", "bases")),
    ]
    assert "GRANT SELECT ON tables TO taifish;" in printed("print_grants", "abacus", "--level", "B")[1]


def test_pages(abacus: Instance) -> None:
    visit_once("accounts", abacus)
    client = superstaff()
    for url in (
        reverse("admin:instances_instance_changelist") + "?engine=abacus",
        reverse("admin:instances_instance_change", args=[abacus.pk]),
        reverse("admin:accounts_account_changelist") + "?engine=abacus",
        *(reverse("admin:accounts_account_change", args=[account.pk]) for account in Account.objects.all()),
    ):
        answer = client.get(url)
        assert answer.status_code == 200
        assert "counter" in answer.content.decode()
    answer = client.post(reverse("admin:instances_instance_do", args=[abacus.pk, "check"]))
    assert "REVOKE COUNT FROM" in answer.content.decode()


def _names(path: Path) -> set[str]:
    """The names of engines and products that stand alone as a string in this file."""
    names = {name.lower() for engine in ENGINES.values() for name in (engine.name, *engine.products, engine.label)}
    names |= {product.lower() for engine in ENGINES.values() for product in engine.products.values()}
    return {
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.lower() in names
    }


def test_nothing_but_its_folder_and_the_registry_knows_an_engine() -> None:
    """So a new one is one folder and one line."""
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=settings.BASE_DIR, capture_output=True, text=True)
    files = [
        Path(line) for line in tracked.stdout.split() if not {"tests", "migrations", "bench"} & {*Path(line).parts}
    ]
    assert len(files) > 200
    engines = {Path("engines", name) for name in ENGINES}
    naming = {str(path) for path in files if not engines & {*path.parents} and _names(settings.BASE_DIR / path)}
    assert naming == MAY_NAME
    registering = [
        line
        for line in Path(settings.BASE_DIR, "engines/registry.py").read_text().splitlines()
        if "oracle" in line.lower()
    ]
    assert len(registering) == 2
