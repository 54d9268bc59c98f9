"""SQL that locks an account and revokes its grants, for people to read and run. Taifish never runs it.

The statements are safe to paste into psql, mysql, mariadb or SQL*Plus with any names in them: names are always quoted
and never in a comment, and a name with control characters is never part of SQL. Where no statement exists, a sentence
explains what to do. Sentences contain no names and are harmless when pasted.
"""

from __future__ import annotations

from collections.abc import Iterable

from .facts import AccountKey
from .registry import ENGINES
from .statements import ROLE_LEFT, Held, Remedy, Subject, add_statement, is_printable


def lock(subject: Subject) -> Remedy:
    """The SQL that disables login; empty for roles, which cannot log in, and for unknown engines."""
    engine = ENGINES.get(subject.engine)
    if not engine or subject.kind != "user":
        return Remedy([], [])
    lines = engine.account.lock(subject)
    return Remedy(lines, []) if all(map(is_printable, lines)) else Remedy([], [_nameless(subject)])


def take_away(subject: Subject, grants: Iterable[Held], roles: Iterable[AccountKey]) -> Remedy:
    """The SQL that locks the account and revokes these roles and direct grants."""
    engine = ENGINES.get(subject.engine)
    if not engine:
        return Remedy([], [])
    if not is_printable(subject.name + subject.host):
        return Remedy([], [_nameless(subject)])
    taken = engine.account.revoke(subject, list(grants), list(roles))
    # Both may begin in the same way. Later statements may recur, as another role.
    locking = lock(subject).statements
    statements = [*locking, *(line for line in taken.statements if line not in locking)]
    return Remedy(statements, list(dict.fromkeys(taken.by_hand)))


def take_one(subject: Subject, held: Held | None = None, role: AccountKey | None = None) -> Remedy:
    """The SQL that revokes this right, or ends this membership, and nothing else."""
    engine = ENGINES.get(subject.engine)
    if not engine:
        return Remedy([], [])
    if not is_printable(subject.name + subject.host):
        return Remedy([], [_nameless(subject)])
    statements: list[str] = []
    by_hand: list[str] = []
    if role:
        add_statement(statements, by_hand, engine.account.member(subject, role, [], False), ROLE_LEFT)
    if held:
        database = "" if held.kind == "database" else held.database
        sql = engine.account.change(subject, held, False)
        add_statement(statements, by_hand, sql if is_printable(database) else "", ALONE)
        statements = [inside(subject.engine, line, database) for line in statements]
        if held.grantors:
            by_hand.append(GRANTED_BY_OTHERS)
    return Remedy(statements, by_hand)


ALONE = "No SQL is offered that revokes this right alone. “Where is” has SQL that revokes all rights of the account."
GRANTED_BY_OTHERS = "Other roles than the owner granted this right. “Where is” has SQL that revokes it as these roles."


def inside(engine: str, sql: str, database: str) -> str:
    """`sql` for the engine's client, preceded by a switch to the database if the engine needs one."""
    return ENGINES[engine].inside(sql, database) if sql and database and engine in ENGINES else sql


def _nameless(subject: Subject) -> str:
    how = ENGINES[subject.engine].account.nameless(subject)
    return f"No SQL is offered, because the account name contains control characters. {how}"
