"""SQL that takes an account's power away, for people to read and run. Taifish never runs it.

The statements can be pasted as they stand into psql, mysql, mariadb or SQL*Plus, whatever names are in them: names
stand in quotes only, never in a comment, and a name with control characters in no SQL at all. What has no statement is
described in sentences, which hold no names and do no harm when pasted.
"""

from __future__ import annotations

from collections.abc import Iterable

from .facts import AccountKey
from .registry import ENGINES
from .statements import Held, Remedy, Subject, is_printable


def lock(subject: Subject) -> Remedy:
    """What keeps an account from logging in; nothing for roles, which never log in, and for unknown engines."""
    engine = ENGINES.get(subject.engine)
    if not engine or subject.kind != "user":
        return Remedy([], [])
    lines = engine.account.lock(subject)
    return Remedy(lines, []) if all(map(is_printable, lines)) else Remedy([], [_nameless(subject)])


def take_away(subject: Subject, grants: Iterable[Held], roles: Iterable[AccountKey]) -> Remedy:
    """What locks the account and takes these roles and direct grants away."""
    engine = ENGINES.get(subject.engine)
    if not engine:
        return Remedy([], [])
    if not is_printable(subject.name + subject.host):
        return Remedy([], [_nameless(subject)])
    taken = engine.account.revoke(subject, list(grants), list(roles))
    statements = dict.fromkeys([*lock(subject).statements, *taken.statements])
    return Remedy(list(statements), list(dict.fromkeys(taken.by_hand)))


def inside(engine: str, sql: str, database: str) -> str:
    """`sql` to be pasted into the engine's own client, connected to any database."""
    return ENGINES[engine].inside(sql, database) if sql and database and engine in ENGINES else sql


def _nameless(subject: Subject) -> str:
    how = ENGINES[subject.engine].account.nameless(subject)
    return f"No SQL is offered, because the name of the account has control characters. {how}"
