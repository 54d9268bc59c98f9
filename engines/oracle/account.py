"""SQL that creates, locks and revokes accounts on Oracle. People run it; Taifish never does."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from ..facts import AccountKey
from ..paths import split_path
from ..statements import ROLE_LEFT, WORDS, Held, Remedy, Statement, Subject, add_statement, digest, no_statement

PASSWORD = '"…"'  # noqa: S105 -- a placeholder


#: Default of the parameter COMMON_USER_PREFIX: the prefix of names of common users.
COMMON_PREFIX = "C##"


def identifier(name: str) -> str:
    """`name`, as a person typed it, as an SQL identifier: plain names become upper case, others are quoted."""
    plain = name.strip('"')
    if name.startswith('"') and not re.fullmatch(r"[A-Z][A-Z0-9_$#]*", plain):
        return _quoted(plain)
    return plain.upper() if re.fullmatch(r"[A-Za-z][A-Za-z0-9_$#]*", plain) else _quoted(plain)


def exact_identifier(name: str) -> str:
    """The SQL identifier of a name in the dictionary, where case matters."""
    return name if re.fullmatch(r"[A-Z][A-Z0-9_$#]*", name) else _quoted(name)


def _quoted(name: str) -> str:
    """Oracle's names cannot contain a double quote."""
    return '"' + name.replace('"', "") + '"'


def select_grant(view: str, grantee: str, in_root: bool) -> str:
    return f"GRANT SELECT ON {view} TO {grantee}{' CONTAINER=ALL' if in_root else ''};"


def session_grants(grantee: str, in_root: bool) -> list[Statement]:
    """The statements that permit an account to connect; in the root, to all containers."""
    if not in_root:
        return [Statement(f"GRANT CREATE SESSION TO {grantee};", "to connect")]
    return [
        Statement(f"GRANT CREATE SESSION, SET CONTAINER TO {grantee} CONTAINER=ALL;", "to connect, and read in PDBs"),
        Statement(container_data(grantee), "to see the rows of all PDBs"),
    ]


def container_data(grantee: str) -> str:
    return f"ALTER USER {grantee} SET CONTAINER_DATA=ALL CONTAINER=CURRENT;"


def is_common(account: AccountKey) -> bool:
    """Whether it is an account of the root, by its name."""
    return account[0].strip('"').upper().startswith(COMMON_PREFIX)


def grantee(account: AccountKey) -> str:
    return identifier(account[0])


def create(account: AccountKey, features: object = None) -> list[Statement]:
    user, in_root = identifier(account[0]), is_common(account)
    everywhere = " CONTAINER=ALL" if in_root else ""
    return [
        Statement(f"CREATE USER {user} IDENTIFIED BY {PASSWORD}{everywhere};", "the account; enter a password"),
        *session_grants(user, in_root),
    ]


def remarks(level: str, product: str = "", hash_blind: bool = False) -> list[str]:
    """Sentences for the person who runs the script, about its limits."""
    sentences = [
        "Run it in the database or PDB of the instance's service. An account named C##… is for the root: run its script"
        " there, and the instance then covers all open PDBs.",
        "On Amazon RDS, GRANT SELECT ON SYS.… is rdsadmin.rdsadmin_util.grant_sys_object('…', 'NAME', 'SELECT').",
    ]
    if hash_blind:
        sentences.append("None of these views contains password hashes, so nothing else needs to be denied.")
    return sentences


def nameless(subject: Subject) -> str:
    """How to find an account with a name that cannot be used in SQL."""
    return f"The MD5 of its name and container, joined by @, is {digest(subject)}: rename or lock it by hand."


def lock(subject: Subject) -> list[str]:
    return [*_start(subject), f"ALTER USER {exact_identifier(subject.name)} ACCOUNT LOCK;"]


def revoke(subject: Subject, grants: Sequence[Held], roles: Sequence[AccountKey]) -> Remedy:
    grantee = exact_identifier(subject.name)
    statements: list[str] = _start(subject)
    by_hand: list[str] = []
    for name, _ in roles:
        revoke = f"REVOKE {exact_identifier(name)} FROM {grantee};"
        add_statement(statements, by_hand, revoke, ROLE_LEFT)
    for grant in grants:
        add_statement(statements, by_hand, _statement(grant, grantee), no_statement(grant))
        if grant.grantors:
            by_hand.append(OTHER_GRANTORS)
    return Remedy(statements, by_hand)


NEW_USERS = ""


def exists(subject: Subject, give: bool) -> str:
    """Not offered: a new user needs a profile, a quota and a container."""
    return ""


def member(subject: Subject, role: AccountKey, options: Collection[str], give: bool, grantor: str = "") -> str:
    if subject.host or {*options} - {"admin"}:
        return ""
    role_name, account = exact_identifier(role[0]), exact_identifier(subject.name)
    if not give:
        return f"REVOKE {role_name} FROM {account};"
    return f"GRANT {role_name} TO {account}{' WITH ADMIN OPTION' if options else ''};"


def as_grantor(statement: str, grantor: str) -> list[str]:
    """Needs a session as the grantor."""
    return []


def change(subject: Subject, grant: Held, give: bool, only_option: bool = False) -> str:
    """The statement that grants or revokes one right; "" in a container, which needs a session there."""
    account = exact_identifier(subject.name)
    if subject.host or grant.grantable or only_option or not (revoke := _statement(grant, account)):
        return ""
    ending = f" FROM {account};"
    return f"GRANT{revoke.removeprefix('REVOKE').removesuffix(ending)} TO {account};" if give else revoke


#: https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf/REVOKE.html, "Revoking Object Privileges"
OTHER_GRANTORS = (
    "Users other than the owner granted rights on objects. Only the user that granted such a right can revoke it:"
    " connect as the grantors that the page of the account names, and run the REVOKE again."
)


def _start(subject: Subject) -> list[str]:
    """The first lines of a script. Without SET DEFINE OFF, SQL*Plus would substitute a variable for & in a name."""
    container = [f"ALTER SESSION SET CONTAINER = {exact_identifier(subject.host)};"] if subject.host else []
    return ["SET DEFINE OFF", *container]


def _statement(grant: Held, grantee: str) -> str:
    if not WORDS.fullmatch(grant.privilege):
        return ""
    if grant.kind == "system":
        return f"REVOKE {grant.privilege} FROM {grantee};"
    if grant.kind in ("table", "sequence", "routine", "type"):
        owner, name = split_path(grant.scope)[1:3]
        return f"REVOKE {grant.privilege} ON {exact_identifier(owner)}.{exact_identifier(name)} FROM {grantee};"
    return ""
