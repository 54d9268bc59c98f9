"""How far grants reach beyond what they say, engine by engine, as data for questions over stored facts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .base import dotted


@dataclass(frozen=True)
class Semantics:
    """`paths`: kind of object → how many parts its path has. `containers`: kind of object → the kinds whose grants on
    what it lies in hold for it too. `patterns`: a grant on a database names a LIKE pattern, and of those that fit only
    the most specific one counts for an account: that for which this function of product and pattern is largest.
    `personal`: kinds that members of a role have only after switching to it. `everything`: who holds this (kind,
    privilege) may do all. `predefined`: role → kind of object → privileges it has on every one of them.
    `anywhere`: kind of object → privilege → those that give it on every such object, of the instance (kind "system") or
    of one schema (kind "schema"), but not in the schemas `protected`. `owners`: an account may do everything with what
    is in the schema of its name, the second part of a path. `host_is_database`: an account's host is the database that
    it lives in, where its rights end, and those of PUBLIC too; elsewhere PUBLIC has no host. `database_role`: stands
    for the owner of the database in which its grants lie, who has them only after switching to it when it holds the
    grant `no_inherit`. `privileges`: kind of object → what grants on one may say; the others may say anything.
    """

    paths: Mapping[str, int]
    containers: Mapping[str, tuple[str, ...]]
    patterns: Callable[[str, str], tuple[int, ...]] | None = None
    personal: frozenset[str] = frozenset()
    everything: tuple[str, str] | None = None
    predefined: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    anywhere: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    protected: frozenset[str] = frozenset()
    owners: bool = False
    host_is_database: bool = False
    database_role: str = ""
    no_inherit: tuple[str, str] | None = None
    privileges: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def carries(self, kind: str, fits: Callable[[str], bool]) -> bool:
        """Whether a grant of that kind may say a privilege that fits."""
        return kind not in self.privileges or any(map(fits, self.privileges[kind]))

    def scopes(self, path: list[str], kind: str = "") -> set[tuple[str, str]]:
        """(kind, scope) of every grant that would hold on the object at `path`, of that kind or of any that fits.

        `path` is what `segments` returns.
        """
        kinds = [kind] if kind in self.paths else [] if kind else self.paths
        return {
            (holder, ".".join(path[: self.paths[holder]]))
            for kind in kinds
            if self.paths[kind] == len(path)
            for holder in (kind, *self.containers.get(kind, ()))
        }


_READ_ALL = {"table": frozenset({"SELECT"}), "sequence": frozenset({"SELECT"}), "schema": frozenset({"USAGE"})}
_WRITE = frozenset({"INSERT", "UPDATE", "DELETE"})
_WRITE_ALL = {"table": _WRITE, "sequence": frozenset({"UPDATE"}), "schema": frozenset({"USAGE"})}

_OWNER = frozenset({"OWNER"})
_OF_TABLES = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"})

#: https://www.postgresql.org/docs/current/ddl-priv.html and predefined-roles.html; which of them a server has, its
#: own list of roles says.
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


def _specificity(product: str, pattern: str) -> tuple[int, ...]:
    """How specific a pattern of database names is to the server; one without wildcards is most so.

    MySQL goes by where the first wildcard stands. MariaDB (10.4 and later) goes by how many names would fit: `_` stands
    for one character, `%` for all that a name has room for; of patterns that are alike in this, that with the earlier
    wildcard wins. Compared with the server's own choice in accounts/tests/test_access_mysql.py.
    """
    parts = _PATTERN.findall(pattern)
    wildcards = [place for place, part in enumerate(parts) if part[0] in "%_"]
    if not wildcards:
        return (1,)
    prefix = wildcards[0]
    if product != "MariaDB":
        return (0, len("".join(parts[:prefix])))
    ones = parts.count("_")
    many = len(wildcards) - ones
    room = _LONGEST_NAME - (len(parts) - many) if many else 0
    return (0, -room, 0, -many, -ones, -prefix) if room > ones else (0, -ones, 1, -room, -many, -prefix)


_PATTERN = re.compile(r"%+|\\.|.", re.DOTALL)
_LONGEST_NAME = 64

_OF_MYSQL_TABLES = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "GRANT OPTION", "REFERENCES", "INDEX", "ALTER"}
    | {"CREATE VIEW", "SHOW VIEW", "TRIGGER", "DELETE HISTORY"}
)

#: https://dev.mysql.com/doc/refman/8.4/en/request-access.html, and grant-tables.html for what a grant may say
MYSQL = Semantics(
    paths={"system": 0, "database": 1, "table": 2, "proxy": 2, "routine": 3, "column": 3},
    containers={
        "database": ("system",),
        "table": ("database", "system"),
        "routine": ("database", "system"),
        "column": ("table", "database", "system"),
    },
    patterns=_specificity,
    privileges={
        "database": _OF_MYSQL_TABLES
        | {"EVENT", "CREATE ROUTINE", "ALTER ROUTINE", "EXECUTE", "LOCK TABLES", "CREATE TEMPORARY TABLES"}
        | {"SHOW CREATE ROUTINE"},
        "table": _OF_MYSQL_TABLES,
        "routine": frozenset({"EXECUTE", "ALTER ROUTINE", "GRANT OPTION", "SHOW CREATE ROUTINE"}),
        "column": frozenset({"SELECT", "INSERT", "UPDATE", "REFERENCES"}),
        "proxy": frozenset({"PROXY"}),
    },
)

#: https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf/GRANT.html
ORACLE = Semantics(
    paths={
        "system": 0,
        "attribute": 0,
        "tablespace": 2,
        "schema": 2,
        "proxy": 2,
        "table": 3,
        "sequence": 3,
        "routine": 3,
        "type": 3,
        "object": 4,
        "column": 4,
    },
    containers={"column": ("table",)},
    everything=("system", "SYSDBA"),
    anywhere={
        "table": {
            "SELECT": ("SELECT ANY TABLE",),
            "READ": ("READ ANY TABLE", "SELECT ANY TABLE"),
            **{name: (f"{name} ANY TABLE",) for name in ("INSERT", "UPDATE", "DELETE", "ALTER", "FLASHBACK")},
        },
        "sequence": {name: (f"{name} ANY SEQUENCE",) for name in ("SELECT", "ALTER")},
        "routine": {name: (f"{name} ANY PROCEDURE",) for name in ("EXECUTE", "DEBUG")},
        "type": {name: (f"{name} ANY TYPE",) for name in ("EXECUTE", "UNDER")},
    },
    protected=frozenset({"SYS"}),
    owners=True,
    host_is_database=True,
)


def split_path(text: str) -> list[str]:
    """The names in a path, without quotes: split_path(dotted(*names)) == names.

    The argument types of a routine are not among them. Raises ValueError, saying where the path breaks off.
    """
    return [name_of(part) for part in segments(text)]


def segments(text: str) -> list[str]:
    """The parts of a path, each as `dotted()` writes it: 'shop.public."a.b"' → ['shop', 'public', '"a.b"'].

    A routine's argument types belong to its last part. Raises ValueError, saying where the path breaks off.
    """
    parts, position = [], 0
    while position < len(text):
        found = _PART.match(text, position)
        if not found:
            raise ValueError(
                f"The path {text!r} cannot be read from character {position + 1} on: write its parts with dots between "
                "them, and in double quotes what holds a dot, a quote, a parenthesis or a blank: "
                'shop.public."odd name".'
            )
        parts.append(dotted(_unquoted(found["name"])) + (found["arguments"] or ""))
        position = found.end()
    return parts


def name_of(part: str) -> str:
    """The name behind one part of a path: '"a.b"' → 'a.b', 'f(integer)' → 'f'."""
    found = _PART.fullmatch(part)
    return _unquoted(found["name"]) if found else part


def arguments_of(part: str) -> str:
    """The argument types behind the last part of a routine's path: 'f(integer)' → '(integer)'; "" for others."""
    found = _PART.fullmatch(part)
    return (found["arguments"] or "") if found else ""


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


_PART = re.compile(r'(?P<name>"(?:[^"]|"")*"|[^\s."()]+)(?P<arguments>\(.*\)$)?(?:\.(?=.)|$)', re.DOTALL)
