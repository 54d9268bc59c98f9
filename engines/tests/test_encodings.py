"""Databases in every encoding, and statements that each of them can take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from engines.adapter import Adapter
from engines.paths import dotted
from engines.registry import adapter_for
from engines.session import Session
from engines.target import Target
from engines.tests.oracle_emulated import SHAPES, ServeOracle
from taifish.tests.mariadb import MysqlFamilyServer
from taifish.tests.postgres import PostgresServer, identifier

#: Encoding → a name in its own letters.
NAMES = {
    "UTF8": "größe 大小",
    "LATIN1": "größe",
    "LATIN2": "wielkość",
    "LATIN5": "büyüklüğü",
    "LATIN9": "taille_€",
    "ISO_8859_5": "размер",
    "KOI8R": "размер",
    "WIN866": "размер",
    "WIN1251": "размер",
    "WIN1252": "größe €",
    "EUC_JP": "大きさ",
    "EUC_CN": "大小",
}


@pytest.fixture
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    yield postgres
    postgres.reset()


def create(server: PostgresServer, encoding: str) -> str:
    """A database in that encoding, under the encoding's name."""
    provider = "LOCALE_PROVIDER libc" if server.major >= 15 else ""
    server.execute(
        f"CREATE DATABASE {encoding.lower()} TEMPLATE template0 ENCODING '{encoding}'"
        f" LC_COLLATE 'C' LC_CTYPE 'C' {provider}"
    )
    return encoding.lower()


@pytest.mark.parametrize("encoding", NAMES)
def test_a_database_in_any_encoding_is_read(server: PostgresServer, encoding: str) -> None:
    """Fault 5, F1.9: at every depth, from within and from another database, and names arrive as they are."""
    database, name = create(server, encoding), NAMES[encoding]
    server.execute("CREATE ROLE alice")
    server.execute(
        f"""
        CREATE SCHEMA {identifier(name)};
        CREATE TABLE {identifier(name)}.{identifier(name)} ({identifier(name)} int);
        GRANT SELECT ON {identifier(name)}.{identifier(name)} TO alice;
        GRANT UPDATE ({identifier(name)}) ON {identifier(name)}.{identifier(name)} TO alice;
        """,
        database=database,
    )
    target = server.collector(level="C")
    for reached_by in ("postgres", database):
        with adapter_for(_in(target, reached_by)) as adapter:
            found = adapter.permissions()
            largest = adapter.table_sizes(database, 1000)
            examined = adapter.examine()
        assert found.gaps == []
        assert {(grant.kind, grant.scope) for grant in found.grants if grant.account == ("alice", "")} == {
            ("table", dotted(database, name, name)),
            ("column", dotted(database, name, name, name)),
        }
        assert (name, name) in {(table.schema, table.name) for table in largest}
        assert [one.name for one in examined.capabilities if one.works is None] == []


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "WIN1252"])
def test_a_name_that_cannot_be_decoded_hides_no_other(server: PostgresServer, encoding: str) -> None:
    r"""Fault 5, F1.5: its odd bytes appear as \xNN, in place of the one name; all else in its database is there."""
    database = create(server, encoding)
    server.execute("CREATE ROLE alice")
    server.execute(
        r"""
        SET client_encoding = SQL_ASCII;
        DO $$ BEGIN EXECUTE 'CREATE TABLE "odd_' || chr(129) || '" (a int)'; END $$;
        CREATE TABLE plain (a int);
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO alice;
        """,
        database=database,
    )
    target = server.collector(level="C")
    for reached_by in ("postgres", database):
        with adapter_for(_in(target, reached_by)) as adapter:
            found, largest = adapter.permissions(), adapter.table_sizes(database, 1000)
        assert found.gaps == []
        assert {grant.scope for grant in found.grants if grant.account == ("alice", "")} == {
            f"{database}.public.plain",
            rf"{database}.public.odd_\x81",
        }
        assert {table.name for table in largest if table.schema == "public"} == {"plain", r"odd_\x81"}


def test_names_in_sql_ascii_are_utf8_where_they_can_be(server: PostgresServer) -> None:
    """Fault 5: what most clients store there is UTF-8, and is shown so."""
    database = create(server, "SQL_ASCII")
    server.execute('CREATE TABLE "größe" (a int)', database=database)
    target = server.collector(level="B")
    for reached_by in ("postgres", database):
        with adapter_for(_in(target, reached_by)) as adapter:
            assert f"{database}.public.größe" in {grant.scope for grant in adapter.permissions().grants}


def _in(target: Target, database: str) -> Target:
    return replace(target, database=database)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that a session sends."""
    statements: list[str] = []
    query = Session.query

    def recorded(
        self: Session, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        statements.append(f"{sql} {parameters or ''}")
        return query(self, sql, parameters)

    monkeypatch.setattr(Session, "query", recorded)
    return statements


def everything(adapter: Adapter, database: str) -> None:
    """Whatever an adapter can be asked for."""
    with adapter:
        adapter.inventory()
        adapter.permissions()
        adapter.databases()
        adapter.sizes()
        adapter.table_sizes(database, 5)
        adapter.examine()
        adapter.examine(hash_blind=True)


def assert_all_ascii(sent: list[str]) -> None:
    assert sent
    assert [statement for statement in sent if not statement.isascii()] == []


def test_postgresql_is_sent_ascii_only(server: PostgresServer, sent: list[str]) -> None:
    """Fault 5: SQL text is converted to the database's encoding, comments included."""
    everything(adapter_for(server.collector(level="C")), "postgres")
    assert_all_ascii(sent)


def test_mysql_is_sent_ascii_only(mysql_family: MysqlFamilyServer, sent: list[str]) -> None:
    mysql_family.execute("CREATE DATABASE shop")
    try:
        everything(adapter_for(mysql_family.collector(level="C")), "shop")
    finally:
        mysql_family.reset()
    assert_all_ascii(sent)


@pytest.mark.parametrize("shape", SHAPES)
def test_oracle_is_sent_ascii_only(serve_oracle: ServeOracle, shape: str, sent: list[str]) -> None:
    server = serve_oracle(shape)
    server.granted = {"SYS.CDB_SEGMENTS", "SYS.DBA_SEGMENTS"}
    everything(adapter_for(server.collector("C")), server.here.name)
    assert_all_ascii(sent)
