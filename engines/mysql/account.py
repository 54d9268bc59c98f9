"""SQL that creates, locks and revokes accounts on MySQL and MariaDB. People run it; Taifish never does."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..facts import AccountKey
from ..paths import split_path
from ..statements import (
    PASSWORD,
    ROLE_LEFT,
    WORDS,
    Held,
    Remedy,
    Statement,
    Subject,
    add_statement,
    digest,
    no_statement,
)
from .decode import quoted_account


def global_grant(grantee: str, *privileges: str) -> str:
    return f"GRANT {', '.join(privileges)} ON *.* TO {grantee};"


def grantee(account: AccountKey) -> str:
    return quoted_account(*account)


def create(account: AccountKey, features: object = None) -> list[Statement]:
    return [
        Statement(f"CREATE USER {quoted_account(*account)} IDENTIFIED BY {PASSWORD};", "the account; enter a password")
    ]


def remarks(level: str, product: str = "", hash_blind: bool = False) -> list[str]:
    """Sentences for the person who runs the script, about its limits."""
    if not hash_blind:
        return ["SELECT ON mysql.* includes password hashes, which Taifish does not read. To deny them: --hash-blind."]
    if product == "MariaDB":
        return [
            "MariaDB stores lock, age and method of a password, and newer privileges, in one document with the hash"
            " (mysql.global_priv). Without it these stay unknown, and each visit ends as partial."
        ]
    return [
        "MySQL does not mark roles: they are locked accounts with an expired password and without a hash. Without"
        " access to the hashes, it stays unknown whether such accounts are roles or users, and visits end as partial.",
        "If partial_revokes is ON, also grant SELECT (User_attributes) ON mysql.user. That column contains the hashes"
        " of second passwords too. Without it, grants on databases are reported as partly unread.",
    ]


def nameless(subject: Subject) -> str:
    """How to find an account with a name that cannot be used in SQL."""
    return f"Find it in mysql.user by MD5(CONCAT(User, '@', Host)) = '{digest(subject)}', and rename it."


def lock(subject: Subject) -> list[str]:
    return [f"ALTER USER {quoted_account(subject.name, subject.host)} ACCOUNT LOCK;"]


def revoke(subject: Subject, grants: Sequence[Held], roles: Sequence[AccountKey]) -> Remedy:
    """REVOKE ALL PRIVILEGES, GRANT OPTION without ON revokes privileges and grant options on all levels, on MariaDB
    also roles. It needs no names of databases, which would have to be spelled as the server stored them (patterns,
    partial_revokes)."""
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


NEW_USERS = "New users have no password and are locked. Set one with ALTER USER, then ACCOUNT UNLOCK."


def exists(subject: Subject, give: bool) -> str:
    """The statement that creates an account; one that is extra is locked, not dropped. "" where it is not known whether
    it is a role or a user."""
    account = _account(subject.product, (subject.name, subject.host))
    if subject.kind == "role":
        return f"CREATE ROLE {account};" if give else ""
    if subject.kind != "user":
        return ""
    return f"CREATE USER {account} ACCOUNT LOCK;" if give else "".join(lock(subject))


def member(subject: Subject, role: AccountKey, options: Collection[str], give: bool, grantor: str = "") -> str:
    """The statement that makes the account a member of a role, or ends that. "" for a user who is to have the role at
    login: default roles are set together, by another statement. Roles always have their roles."""
    names = _account(subject.product, role), _account(subject.product, (subject.name, subject.host))
    if not give:
        return f"REVOKE {names[0]} FROM {names[1]};"
    if subject.kind != "role" and "noinherit" not in options:
        return ""
    return f"GRANT {names[0]} TO {names[1]}{' WITH ADMIN OPTION' if 'admin' in options else ''};"


def as_grantor(statement: str, grantor: str) -> list[str]:
    """The server does not say who granted what, and it does not matter."""
    return []


def change(subject: Subject, grant: Held, give: bool, only_option: bool = False) -> str:
    """The statement that grants or revokes one right; "" if there is none: grant options apply to all rights of a
    level, and patterns of databases and partial revokes would have to be spelled as the server stored them."""
    if grant.denied or grant.grantable or only_option or not WORDS.fullmatch(grant.privilege):
        return ""
    path = split_path(grant.scope) if grant.scope else []
    if any({*"%_\\`"} & {*name} for name in path):
        return ""
    names = [f"`{name}`" for name in path]
    match grant.kind, names:
        case "system", []:
            what = f"{grant.privilege} ON *.*"
        case "database", [database]:
            what = f"{grant.privilege} ON {database}.*"
        case "table", [database, table]:
            what = f"{grant.privilege} ON {database}.{table}"
        case "column", [database, table, column]:
            what = f"{grant.privilege} ({column}) ON {database}.{table}"
        case _:
            return ""
    account = _account(subject.product, (subject.name, subject.host))
    return f"GRANT {what} TO {account};" if give else f"REVOKE {what} FROM {account};"


NO_ACCOUNT = (
    "These rights are rows of mysql.db with an empty User. They apply to all accounts that connect from that host."
    " REVOKE cannot remove them, because they belong to no account: delete the rows, and run FLUSH PRIVILEGES."
)


def _account(product: str, key: AccountKey) -> str:
    """The account in the syntax of REVOKE. MariaDB's roles, including PUBLIC, have no host."""
    return quoted_account(*key) if key[1] or product == "MySQL" else quoted_account(key[0], "").partition("@`")[0]
