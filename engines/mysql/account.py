"""The SQL that creates, locks and revokes accounts on MySQL and MariaDB. People run it, Taifish never does."""

from __future__ import annotations

from collections.abc import Sequence

from ..facts import AccountKey
from ..paths import split_path
from ..statements import PASSWORD, ROLE_LEFT, Held, Remedy, Statement, Subject, add_statement, digest, no_statement
from .decode import quoted_account


def global_grant(grantee: str, *privileges: str) -> str:
    return f"GRANT {', '.join(privileges)} ON *.* TO {grantee};"


def grantee(account: AccountKey) -> str:
    return quoted_account(*account)


def create(account: AccountKey, features: object = None) -> list[Statement]:
    return [
        Statement(f"CREATE USER {quoted_account(*account)} IDENTIFIED BY {PASSWORD};", "the account; put in a password")
    ]


def remarks(level: str, product: str = "", hash_blind: bool = False) -> list[str]:
    """What the script leaves open: sentences for the person who runs it."""
    if not hash_blind:
        return ["SELECT ON mysql.* lets the account see password hashes, which Taifish does not read: --hash-blind."]
    if product == "MariaDB":
        return [
            "MariaDB keeps lock, age and method of a password, and newer privileges, in one document with its hash"
            " (mysql.global_priv): without that these stay unknown, and each visit ends as partial and says so."
        ]
    return [
        "Where partial_revokes is ON, these also need SELECT (User_attributes) ON mysql.user; that column holds"
        " the hashes of second passwords too. Without it grants on databases are reported as partly unread."
    ]


def nameless(subject: Subject) -> str:
    """How to find an account whose name cannot stand in SQL."""
    return f"Find it in mysql.user by MD5(CONCAT(User, '@', Host)) = '{digest(subject)}', and rename it."


def lock(subject: Subject) -> list[str]:
    return [f"ALTER USER {quoted_account(subject.name, subject.host)} ACCOUNT LOCK;"]


def revoke(subject: Subject, grants: Sequence[Held], roles: Sequence[AccountKey]) -> Remedy:
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
        add_statement(statements, by_hand, revoke, ROLE_LEFT)
    for grant in grants:
        if grant.kind == "proxy":
            name, host = split_path(grant.scope)
            revoke = f"REVOKE PROXY ON {quoted_account(name, host)} FROM {grantee};"
            add_statement(statements, by_hand, revoke, no_statement(grant))
    return Remedy(statements, by_hand)


NO_ACCOUNT = (
    "These rights are rows of mysql.db with an empty User, and hold for everybody who connects from that host. No"
    " account stands behind them, so REVOKE cannot take them away: delete the rows, and run FLUSH PRIVILEGES."
)


def _account(product: str, key: AccountKey) -> str:
    """The account as REVOKE takes it. MariaDB's roles, PUBLIC among them, have no host."""
    return quoted_account(*key) if key[1] or product == "MySQL" else quoted_account(key[0], "").partition("@`")[0]
