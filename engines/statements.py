"""What can stand in SQL that is shown to people, and the parts of a script."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

from .paths import split_path


def is_printable(text: str) -> bool:
    """Whether it can stand in SQL that people paste. A line break in a name would let it go on as a statement of its
    own, and what a terminal or a reader does not show, nobody can check."""
    return not any(unicodedata.category(character) in _HIDDEN for character in text)


#: Control, format and surrogate characters, separators of lines and paragraphs.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str) -> str:
    """`text` with hidden characters as escapes, for people to read."""
    return "".join(c if is_printable(c) else repr(c)[1:-1] for c in text)


def offered(*statements: str) -> str:
    """Statements for people to paste, one a line; none of them if a name in one has hidden characters."""
    return "\n".join(statements) if all(map(is_printable, statements)) else ""


#: Stands where the password goes. Oracle's is a name in double quotes.
PASSWORD = "'…'"  # noqa: S105 -- nobody's


@dataclass(frozen=True)
class Statement:
    """One statement, ready to run but for the password, and what it is for."""

    sql: str
    purpose: str


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


#: Privileges stand in SQL without quotes.
WORDS = re.compile(r"[A-Z][A-Z0-9_]*(?: [A-Z0-9_]+)*")


ROLE_LEFT = (
    "The account is left in a role, because the name of that role has control characters, and no SQL is offered. The"
    " page of the account shows it: rename the role first."
)


def digest(subject: Subject) -> str:
    """MD5 of name@host, by which SQL finds an account whose name cannot stand in a statement."""
    return _md5(f"{subject.name}@{subject.host}")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(errors="replace"), usedforsecurity=False).hexdigest()


def add_statement(statements: list[str], by_hand: list[str], statement: str, otherwise: str) -> None:
    """Offer a statement, or say that there is none."""
    if statement and is_printable(statement):
        statements.append(statement)
    else:
        by_hand.append(otherwise)


def no_statement(grant: Held) -> str:
    """The sentence for a grant without a statement."""
    name = split_path(grant.scope)[-1] if grant.scope else ""
    what = f"{grant.privilege} on {grant.kind}" if WORDS.fullmatch(grant.privilege) else f"a right on {grant.kind}"
    if is_printable(grant.scope + grant.database):
        return f"{what}: no statement takes it away. The page of the account names the object."
    return f"{what}: no SQL is offered, because a name has control characters. Its last part has the MD5 {_md5(name)}."
