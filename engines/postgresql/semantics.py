"""How PostgreSQL combines grants."""

from __future__ import annotations

from ..semantics import Requirement, Semantics
from ..versions import OnlyIn

_READ_ALL = {"table": frozenset({"SELECT"}), "sequence": frozenset({"SELECT"}), "schema": frozenset({"USAGE"})}


_WRITE = frozenset({"INSERT", "UPDATE", "DELETE"})


_WRITE_ALL = {"table": _WRITE, "sequence": frozenset({"UPDATE"}), "schema": frozenset({"USAGE"})}


_OWNER = frozenset({"OWNER"})


_OF_TABLES = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"})


#: https://www.postgresql.org/docs/current/ddl-priv.html and predefined-roles.html. Not every version has all of these
#: roles: see the accounts of the instance.
POSTGRESQL = Semantics(
    paths={
        "attribute": 0,
        "database": 1,
        "tablespace": 1,
        "parameter": 1,
        "schema": 2,
        "language": 2,
        "large_object": 2,
        "table": 3,
        "sequence": 3,
        "routine": 3,
        "type": 3,
        "foreign": 3,
        "column": 4,
    },
    containers={"column": ("table",)},
    personal=frozenset({"attribute"}),
    everything=("attribute", "SUPERUSER"),
    predefined={
        "pg_read_all_data": {**_READ_ALL, "column": frozenset({"SELECT"})},
        "pg_write_all_data": {**_WRITE_ALL, "column": frozenset({"INSERT", "UPDATE"})},
        "pg_maintain": {"table": frozenset({"MAINTAIN"})},
    },
    database_role="pg_database_owner",
    no_inherit=("attribute", "NOINHERIT"),
    requires=(
        Requirement("database", "CONNECT", 1, "login", beyond=1, without=frozenset({"tablespace", "parameter"})),
        Requirement("schema", "USAGE", 2, "session", beyond=3, without=frozenset({"foreign"})),
    ),
    never_implied=frozenset({"LOGIN", "NOINHERIT", "OWNER"}),
    powerful=frozenset({("attribute", "SUPERUSER")}),
    # Of Amazon, Google and Azure.
    powerful_roles=frozenset({"rds_superuser", "cloudsqlsuperuser", "azure_pg_admin"}),
    passes_on="OWNER",
    # https://www.postgresql.org/docs/16/release-16.html: since then, only roles that one has with ADMIN OPTION.
    makes_roles=("attribute", "CREATEROLE", 15),
    # Those with the context `user` in pg_settings.
    open_to_all=("parameter", "SET"),
    unquoted="lower",
    built_in={
        "schema": frozenset({"pg_catalog", "information_schema", "pg_toast"}),
        "language": frozenset({"internal", "c", "sql", "plpgsql"}),
    },
    privileges={
        "attribute": frozenset(
            {"SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS", "LOGIN", "NOINHERIT"}
        ),
        "database": frozenset({"CREATE", "CONNECT", "TEMPORARY"}) | _OWNER,
        "tablespace": frozenset({"CREATE"}) | _OWNER,
        "parameter": frozenset({"SET", "ALTER SYSTEM"}),
        "schema": frozenset({"CREATE", "USAGE"}) | _OWNER,
        "language": frozenset({"USAGE"}) | _OWNER,
        "large_object": frozenset({"SELECT", "UPDATE"}) | _OWNER,
        "table": _OF_TABLES | _OWNER,
        "sequence": frozenset({"USAGE", "SELECT", "UPDATE"}) | _OWNER,
        "routine": frozenset({"EXECUTE"}) | _OWNER,
        "type": frozenset({"USAGE"}) | _OWNER,
        "foreign": frozenset({"USAGE"}) | _OWNER,
        "column": frozenset({"SELECT", "INSERT", "UPDATE", "REFERENCES"}),
    },
)


#: https://www.postgresql.org/docs/release/15.0/ (parameters; schema public belongs to pg_database_owner, and PUBLIC may
#: not create in it), 16.0 (memberships have the option INHERIT, so roles have no NOINHERIT), 17.0 (MAINTAIN).
ONLY_IN = (
    OnlyIn(privilege="MAINTAIN", since=(17,)),
    OnlyIn(kind="parameter", since=(15,)),
    OnlyIn(kind="attribute", privilege="NOINHERIT", until=(16,)),
    OnlyIn(kind="schema", last="public", account="public", privilege="CREATE", until=(15,)),
    OnlyIn(kind="schema", last="public", privilege="OWNER", until=(15,)),
)
