"""SQL that is shown to people: which characters it may contain, and the parts of a script."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

from .paths import split_path


def is_printable(text: str) -> bool:
    """Whether SQL for pasting may contain the text. A line break in a name could start another statement, and a
    character that the screen does not show cannot be checked."""
    # What Python calls printable contains no hidden character, and is quicker to ask.
    return text.isprintable() or not any(unicodedata.category(character) in _HIDDEN for character in text)


#: Control, format and surrogate characters, separators of lines and paragraphs.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str) -> str:
    """`text` with hidden characters escaped."""
    return text if is_printable(text) else "".join(c if is_printable(c) else repr(c)[1:-1] for c in text)


def offered(*statements: str) -> str:
    """Statements for pasting, one per line; "" if any contains a hidden character."""
    return "\n".join(statements) if all(map(is_printable, statements)) else ""


#: Placeholder of the password. That of Oracle has double quotes.
PASSWORD = "'…'"  # noqa: S105 -- a placeholder


@dataclass(frozen=True)
class Statement:
    """One statement, complete except for the password, and its purpose."""

    sql: str
    purpose: str


class Subject(NamedTuple):
    """An account with the fields of `AccountFact`, and product and version of its instance (empty if unknown)."""

    engine: str
    name: str
    host: str = ""
    kind: str = "user"
    native_id: str = ""
    product: str = ""
    version: tuple[int, ...] = ()


class Held(NamedTuple):
    """A direct grant with the fields of `GrantFact`. `grantors` are those other than the owner of the object."""

    kind: str
    privilege: str
    scope: str
    database: str
    denied: bool = False
    grantable: bool = False
    grantors: tuple[str, ...] = ()


class Remedy(NamedTuple):
    """Lines to paste in this order, and sentences about what remains to be done by hand."""

    statements: list[str]
    by_hand: list[str]


#: Privileges are not quoted in SQL.
WORDS = re.compile(r"[A-Z][A-Z0-9_]*(?: [A-Z0-9_]+)*")


ROLE_LEFT = (
    "The account stays in a role, because no SQL is offered for a role name with control characters. Rename the role"
    " first; the page of the account shows it."
)


def digest(subject: Subject) -> str:
    """MD5 of name@host, to find an account with a name that cannot be used in SQL."""
    return _md5(f"{subject.name}@{subject.host}")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(errors="replace"), usedforsecurity=False).hexdigest()


def add_statement(statements: list[str], by_hand: list[str], statement: str, otherwise: str) -> None:
    """Append the statement, or the sentence `otherwise` if it is empty or not printable."""
    if statement and is_printable(statement):
        statements.append(statement)
    else:
        by_hand.append(otherwise)


def no_statement(grant: Held) -> str:
    """The sentence for a grant that no statement revokes."""
    name = split_path(grant.scope)[-1] if grant.scope else ""
    what = f"{grant.privilege} on {grant.kind}" if WORDS.fullmatch(grant.privilege) else f"a right on {grant.kind}"
    if is_printable(grant.scope + grant.database):
        return f"{what}: no statement revokes it. The page of the account names the object."
    return f"{what}: no SQL is offered, because a name has control characters. MD5 of its last part: {_md5(name)}."
