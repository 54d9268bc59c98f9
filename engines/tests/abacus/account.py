"""The statements that create, lock and revoke accounts of an abacus."""

from __future__ import annotations

from collections.abc import Sequence

from engines.facts import AccountKey
from engines.statements import Held, Remedy, Statement, Subject


def grantee(account: AccountKey) -> str:
    return account[0]


def create(account: AccountKey, features: object = None) -> list[Statement]:
    return [Statement(f"CREATE USER {account[0]};", "the account")]


def remarks(level: str, product: str = "", hash_blind: bool = False) -> list[str]:
    return ["An abacus keeps no passwords."]


def lock(subject: Subject) -> list[str]:
    return [f"LOCK {subject.name};"]


def revoke(subject: Subject, grants: Sequence[Held], roles: Sequence[AccountKey]) -> Remedy:
    return Remedy([f"REVOKE {role} FROM {subject.name};" for role, _ in roles], [])


def nameless(subject: Subject) -> str:
    return "Count the beads."
