"""SQL that takes an account's power away: to be read and run by people, never by Taifish.

Pure. The statements can be pasted as they stand into psql, mysql, mariadb or SQL*Plus, whatever names are in them:
names stand in quotes only, never in a comment, and one with control characters in no SQL at all. What has no statement
is said in sentences, which hold no names and do no harm when pasted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from .base import AccountKey, is_printable
from .mysql_grants import quoted_account
from .oracle_sql import exact_identifier
from .postgresql_driver import connect_to, literal, quoted
from .semantics import arguments_of, segments, split_path


class Subject(NamedTuple):
    """An account as `AccountFact` has it, and the product of its instance ("" where that is not known)."""

    engine: str
    name: str
    host: str = ""
    kind: str = "user"
    native_id: str = ""
    product: str = ""


class Held(NamedTuple):
    """A direct grant, as `GrantFact` has it."""

    kind: str
    privilege: str
    scope: str
    database: str
    denied: bool = False
    grantable: bool = False


class Remedy(NamedTuple):
    """Lines to paste, in this order, and sentences about what they leave."""

    statements: list[str]
    by_hand: list[str]


def lock(subject: Subject) -> Remedy:
    """What keeps an account from logging in; nothing for roles, which never do, and engines unknown."""
    write = _LOCKS.get(subject.engine)
    if not write or subject.kind != "user":
        return Remedy([], [])
    lines = write(subject)
    return Remedy(lines, []) if all(map(is_printable, lines)) else Remedy([], [_nameless(subject)])


def take_away(subject: Subject, grants: Iterable[Held], roles: Iterable[AccountKey]) -> Remedy:
    """What locks the account and takes these roles and direct grants away."""
    locking = lock(subject)
    if subject.engine not in _TAKE_AWAY or not is_printable(subject.name + subject.host):
        return locking if subject.engine not in _TAKE_AWAY else Remedy([], [_nameless(subject)])
    taken = _TAKE_AWAY[subject.engine](subject, list(grants), list(roles))
    statements = dict.fromkeys([*locking.statements, *taken.statements])
    return Remedy(list(statements), list(dict.fromkeys(taken.by_hand)))


def inside(sql: str, database: str) -> str:
    """The same to be pasted into psql wherever it is; no other engine has statements for one database."""
    return f"{connect_to(database)}\n{sql}" if sql and database else sql


#: Privileges stand in SQL without quotes.
_WORDS = re.compile(r"[A-Z][A-Z0-9_]*(?: [A-Z0-9_]+)*")

DEPENDENT = (
    "A REVOKE that fails because dependent privileges exist: the account has passed the right on. CASCADE at the end of"
    " the statement takes it from those accounts too."
)
OTHER_GRANTORS = (
    "REVOKE takes away what the owner of the object granted. What another role granted stays in the list that the last"
    " SELECT of each database prints: see its grantor with \\dp, SET ROLE to it, and run the REVOKE again."
)
OWNER = (
    "The account owns objects, and an owner can give its rights back to itself: see the list that the last SELECT of"
    " each database prints, and give each a new owner with ALTER … OWNER TO."
)

ROLE_LEFT = (
    "The account is left in a role, because the name of that role has control characters, and no SQL is offered. The"
    " page of the account shows it: rename the role first."
)


def _nameless(subject: Subject) -> str:
    begin = "No SQL is offered, because the name of the account has control characters. "
    if subject.engine == "postgresql":
        return f"{begin}Its oid in pg_roles is {int(subject.native_id or 0)}: rename it there."
    digest = hashlib.md5(f"{subject.name}@{subject.host}".encode(errors="replace"), usedforsecurity=False).hexdigest()
    if subject.engine == "mysql":
        return f"{begin}Find it in mysql.user by MD5(CONCAT(User, '@', Host)) = '{digest}', and rename it."
    return f"{begin}Its name and container, joined by @, have the MD5 {digest}: rename or lock it by hand."


def _unoffered(grant: Held) -> str:
    """The sentence for a grant without a statement."""
    name = split_path(grant.scope)[-1] if grant.scope else ""
    what = f"{grant.privilege} on {grant.kind}" if _WORDS.fullmatch(grant.privilege) else f"a right on {grant.kind}"
    if is_printable(grant.scope + grant.database):
        return f"{what}: no statement takes it away. The page of the account names the object."
    digest = hashlib.md5(name.encode(errors="replace"), usedforsecurity=False).hexdigest()
    return f"{what}: no SQL is offered, because a name has control characters. Its last part has the MD5 {digest}."


# PostgreSQL

#: Object of `ALTER DEFAULT PRIVILEGES`, by kind.
_DEFAULTS = {
    "table": "TABLES",
    "sequence": "SEQUENCES",
    "routine": "ROUTINES",
    "type": "TYPES",
    "schema": "SCHEMAS",
    "large_object": "LARGE OBJECTS",
}
_FOREIGN = {"wrapper": "FOREIGN DATA WRAPPER", "server": "FOREIGN SERVER"}
#: Argument types as format_type() writes them: words, quoted names, array brackets.
_ARGUMENTS = re.compile(r'\((?:[\w ,.\[\]]|"(?:[^"]|"")*")*\)')


def _postgresql(subject: Subject, grants: Sequence[Held], roles: Sequence[AccountKey]) -> Remedy:
    public = subject.kind == "public"
    role = "PUBLIC" if public else quoted(subject.name)
    statements: list[str] = []
    by_hand: list[str] = []
    for name, _ in roles:
        _add(statements, by_hand, f"REVOKE {quoted(name)} FROM {role};", ROLE_LEFT)
    if roles:
        statements.append(_OTHER_MEMBERSHIPS.format(role=literal(subject.name)))
    inside: dict[str, list[str]] = {}
    for grant in grants:
        if (grant.kind, grant.privilege) == ("attribute", "NOINHERIT"):
            continue
        lines = inside.setdefault("" if grant.kind in _SHARED else grant.database, [])
        if grant.privilege == "OWNER":
            by_hand.append(OWNER)
            continue
        _add(lines, by_hand, _of_postgresql(grant, role), _unoffered(grant))
        if grant.grantable:
            by_hand.append(DEPENDENT)
    for database, lines in sorted(inside.items()):
        if not is_printable(database):
            by_hand += [_unoffered(grant) for grant in grants if grant.database == database]
            continue
        if database:
            statements.append(connect_to(database))
        statements += lines
        if not public and (database or len(inside) == 1):
            statements.append(_LEFT.format(role=literal(subject.name)))
            by_hand.append(OTHER_GRANTORS)
    return Remedy(statements, by_hand)


_SHARED = frozenset({"attribute", "database", "tablespace", "parameter"})

#: From 16 on, a membership by each grantor is one of its own. The server quotes the names, and psql runs what it gives.
_OTHER_MEMBERSHIPS = (
    "SELECT format('REVOKE %I FROM %I GRANTED BY %I', r.rolname, m.rolname, g.rolname) FROM pg_auth_members a"
    " JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.grantor"
    " WHERE m.rolname = {role} \\gexec"
)

#: What an account still holds in the database, whoever granted it.
_LEFT = (
    "SELECT CASE d.deptype WHEN 'o' THEN 'owner of' ELSE 'rights on' END AS left,"
    " pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid"
    " WHERE d.refclassid = 'pg_authid'::regclass AND r.rolname = {role} AND d.deptype IN ('a', 'o')"
    " AND d.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()));"
)


def _add(statements: list[str], by_hand: list[str], statement: str, otherwise: str) -> None:
    """Offer a statement, or say that there is none."""
    if statement and is_printable(statement):
        statements.append(statement)
    else:
        by_hand.append(otherwise)


def _of_postgresql(grant: Held, role: str) -> str:
    """ "" where there is none."""
    if grant.kind == "attribute" and _WORDS.fullmatch(grant.privilege):
        return f"ALTER ROLE {role} NO{grant.privilege};"
    revoked = _revoked(grant)
    return revoked and f"{revoked} FROM {role};"


def _revoked(grant: Held) -> str:
    """The REVOKE up to its FROM."""
    if not _WORDS.fullmatch(grant.privilege):
        return ""
    revoke = f"REVOKE {grant.privilege}"
    if grant.kind == "parameter":
        # Its name is as the server has it, with dots and without quotes.
        return f"{revoke} ON PARAMETER {'.'.join(map(quoted, '.'.join(split_path(grant.scope)).split('.')))}"
    names = split_path(grant.scope)
    if grant.kind in ("database", "tablespace"):
        return f"{revoke} ON {grant.kind.upper()} {quoted(names[0])}"
    path = [quoted(name) for name in names[1:]]
    if grant.kind == "column":
        *table, column = path
        return f"REVOKE {grant.privilege} ({column}) ON TABLE {'.'.join(table)}"
    if grant.kind == "routine":
        arguments = arguments_of(segments(grant.scope)[-1])
        return f"{revoke} ON ROUTINE {'.'.join(path)}{arguments}" if _ARGUMENTS.fullmatch(arguments) else ""
    if grant.kind == "default":
        creator, schema, kind = names[1:]
        within = f" IN SCHEMA {quoted(schema)}" if schema else ""
        objects = _DEFAULTS.get(kind, "")
        return objects and f"ALTER DEFAULT PRIVILEGES FOR ROLE {quoted(creator)}{within} {revoke} ON {objects}"
    if grant.kind == "large_object":
        return f"{revoke} ON LARGE OBJECT {int(names[1])}"
    if grant.kind == "foreign":
        return f"{revoke} ON {_FOREIGN[names[1]]} {path[1]}"
    return f"{revoke} ON {grant.kind.upper()} {'.'.join(path)}"


# MySQL and MariaDB


def _mysql(subject: Subject, grants: Sequence[Held], roles: Sequence[AccountKey]) -> Remedy:
    """REVOKE ALL PRIVILEGES, GRANT OPTION without ON takes what is held on every level, grant options too, and needs no
    names of databases, which it would have to write as the server stored them (patterns, partial_revokes). On MariaDB
    it takes roles away too."""
    grantee = _account(subject.product, (subject.name, subject.host))
    if subject.kind == "public" and not subject.name:
        return Remedy([], [NO_ACCOUNT])
    statements: list[str] = []
    by_hand: list[str] = []
    if any(not grant.denied and grant.kind != "proxy" for grant in grants) or (roles and subject.product == "MariaDB"):
        statements.append(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {grantee};")
    for role in roles if subject.product != "MariaDB" else ():
        revoke = f"REVOKE {_account(subject.product, role)} FROM {grantee};"
        _add(statements, by_hand, revoke, ROLE_LEFT)
    for grant in grants:
        if grant.kind == "proxy":
            name, host = split_path(grant.scope)
            revoke = f"REVOKE PROXY ON {quoted_account(name, host)} FROM {grantee};"
            _add(statements, by_hand, revoke, _unoffered(grant))
    return Remedy(statements, by_hand)


NO_ACCOUNT = (
    "These rights are rows of mysql.db with an empty User, and hold for everybody who connects from that host. No"
    " account stands behind them, so REVOKE cannot take them away: delete the rows, and run FLUSH PRIVILEGES."
)


def _account(product: str, key: AccountKey) -> str:
    """The account as REVOKE takes it. MariaDB's roles, PUBLIC among them, have no host."""
    return quoted_account(*key) if key[1] or product == "MySQL" else quoted_account(key[0], "").partition("@`")[0]


# Oracle


def _oracle(subject: Subject, grants: Sequence[Held], roles: Sequence[AccountKey]) -> Remedy:
    grantee = exact_identifier(subject.name)
    statements: list[str] = _oracle_start(subject)
    by_hand: list[str] = []
    for name, _ in roles:
        revoke = f"REVOKE {exact_identifier(name)} FROM {grantee};"
        _add(statements, by_hand, revoke, ROLE_LEFT)
    for grant in grants:
        _add(statements, by_hand, _of_oracle(grant, grantee), _unoffered(grant))
    return Remedy(statements, by_hand)


def _oracle_start(subject: Subject) -> list[str]:
    """SQL*Plus would take & in a name for a variable, and the next line for its value."""
    container = [f"ALTER SESSION SET CONTAINER = {exact_identifier(subject.host)};"] if subject.host else []
    return ["SET DEFINE OFF", *container]


def _of_oracle(grant: Held, grantee: str) -> str:
    if not _WORDS.fullmatch(grant.privilege):
        return ""
    if grant.kind == "system":
        return f"REVOKE {grant.privilege} FROM {grantee};"
    if grant.kind in ("table", "sequence", "routine", "type"):
        owner, name = split_path(grant.scope)[1:3]
        return f"REVOKE {grant.privilege} ON {exact_identifier(owner)}.{exact_identifier(name)} FROM {grantee};"
    return ""


_LOCKS: dict[str, Callable[[Subject], list[str]]] = {
    "postgresql": lambda subject: [f"ALTER ROLE {quoted(subject.name)} NOLOGIN;"],
    "mysql": lambda subject: [f"ALTER USER {quoted_account(subject.name, subject.host)} ACCOUNT LOCK;"],
    "oracle": lambda subject: [
        *_oracle_start(subject),
        f"ALTER USER {exact_identifier(subject.name)} ACCOUNT LOCK;",
    ],
}
_TAKE_AWAY: dict[str, Callable[[Subject, Sequence[Held], Sequence[AccountKey]], Remedy]] = {
    "postgresql": _postgresql,
    "mysql": _mysql,
    "oracle": _oracle,
}
