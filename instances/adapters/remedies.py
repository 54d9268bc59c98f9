"""SQL that takes an account's power away: to be read and run by people, never by Taifish.

Pure. What cannot be said in one statement is told as a comment that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from .base import AccountKey
from .mysql_grants import quoted_account
from .oracle_sql import exact_identifier
from .postgresql_driver import quoted
from .semantics import split_path


class Held(NamedTuple):
    """A direct grant, as `GrantFact` has it."""

    kind: str
    privilege: str
    scope: str
    database: str
    denied: bool = False


def lock(engine: str, account: AccountKey, is_role: bool) -> str:
    """The statement that keeps an account from logging in; "" for roles, which never do, and engines unknown."""
    write = _LOCKS.get(engine)
    return write(account) if write and not is_role else ""


def revoke(engine: str, account: AccountKey, grants: Iterable[Held], roles: Iterable[AccountKey]) -> list[str]:
    """The statements that take these roles and direct grants away; a line of comment for what has no such statement."""
    write, from_role = _REVOKES.get(engine), _FROM_ROLES.get(engine)
    if not (write and from_role):
        return []
    return [*(from_role(account, role) for role in roles), *(write(account, grant) for grant in grants)]


def _names(path: str) -> list[str]:
    """The parts of a scope as they are, without the quotes of `dotted()`."""
    return [part[1:-1].replace('""', '"') if part.startswith('"') else part for part in split_path(path)]


def _by_hand(grant: Held) -> str:
    return f"-- by hand: {grant.privilege} on {grant.kind} {grant.scope}".rstrip()


def _inside(grant: Held, statement: str) -> str:
    return f"{statement} -- in database {grant.database}"


def _postgresql(account: AccountKey, grant: Held) -> str:
    role = "PUBLIC" if account == ("public", "") else quoted(account[0])
    path = [quoted(part) for part in _names(grant.scope)[1:]] if grant.database else []
    if grant.privilege == "OWNER" or grant.kind in ("default", "large_object", "foreign", "language"):
        return _by_hand(grant)
    if grant.kind == "attribute":
        return f"ALTER ROLE {role} NO{grant.privilege};" if grant.privilege != "NOINHERIT" else _by_hand(grant)
    if grant.kind in ("database", "tablespace", "parameter"):
        name = grant.scope if grant.kind == "parameter" else quoted(_names(grant.scope)[0])
        return f"REVOKE {grant.privilege} ON {grant.kind.upper()} {name} FROM {role};"
    if grant.kind == "column":
        *table, column = path
        return _inside(grant, f"REVOKE {grant.privilege} ({column}) ON TABLE {'.'.join(table)} FROM {role};")
    if grant.kind == "routine":
        # Its argument types stand behind the path, as REVOKE wants them.
        head, _, arguments = grant.scope.partition("(")
        names = ".".join(quoted(part) for part in _names(head)[1:])
        return _inside(grant, f"REVOKE {grant.privilege} ON ROUTINE {names}({arguments} FROM {role};")
    return _inside(grant, f"REVOKE {grant.privilege} ON {grant.kind.upper()} {'.'.join(path)} FROM {role};")


def _mysql(account: AccountKey, grant: Held) -> str:
    grantee = quoted_account(*account)
    if grant.denied or grant.kind not in ("system", "database", "table", "column", "routine"):
        return _by_hand(grant)
    if grant.kind == "system":
        return f"REVOKE {grant.privilege} ON *.* FROM {grantee};"
    if grant.kind == "database":
        return f"REVOKE {grant.privilege} ON {_backticks(grant.scope)}.* FROM {grantee};"
    parts = _names(grant.scope)
    if grant.kind == "table":
        return f"REVOKE {grant.privilege} ON {'.'.join(map(_backticks, parts))} FROM {grantee};"
    if grant.kind == "column":
        *table, column = parts
        return f"REVOKE {grant.privilege} ({_backticks(column)}) ON {'.'.join(map(_backticks, table))} FROM {grantee};"
    database, kind, name = parts
    return f"REVOKE {grant.privilege} ON {kind.upper()} {_backticks(database)}.{_backticks(name)} FROM {grantee};"


def _backticks(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _oracle(account: AccountKey, grant: Held) -> str:
    grantee = exact_identifier(account[0])
    if grant.kind == "system":
        return f"REVOKE {grant.privilege} FROM {grantee};"
    if grant.kind in ("table", "sequence", "routine", "type"):
        owner, name = _names(grant.scope)[1:3]
        return f"REVOKE {grant.privilege} ON {exact_identifier(owner)}.{exact_identifier(name)} FROM {grantee};"
    return _by_hand(grant)


_LOCKS: dict[str, Callable[[AccountKey], str]] = {
    "postgresql": lambda account: f"ALTER ROLE {quoted(account[0])} NOLOGIN;",
    "mysql": lambda account: f"ALTER USER {quoted_account(*account)} ACCOUNT LOCK;",
    "oracle": lambda account: f"ALTER USER {exact_identifier(account[0])} ACCOUNT LOCK; -- in container {account[1]}",
}
_REVOKES: Mapping[str, Callable[[AccountKey, Held], str]] = {
    "postgresql": _postgresql,
    "mysql": _mysql,
    "oracle": _oracle,
}
_FROM_ROLES: Mapping[str, Callable[[AccountKey, AccountKey], str]] = {
    "postgresql": lambda account, role: f"REVOKE {quoted(role[0])} FROM {quoted(account[0])};",
    "mysql": lambda account, role: (
        f"REVOKE {quoted_account(*role) if role[1] else _backticks(role[0])} FROM {quoted_account(*account)};"
    ),
    "oracle": lambda account, role: f"REVOKE {exact_identifier(role[0])} FROM {exact_identifier(account[0])};",
}
