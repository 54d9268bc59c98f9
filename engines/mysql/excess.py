"""What a collection account can do on a MySQL or MariaDB server beyond need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..facts import Excess
from ..reads import needed
from ..session import Rows, Session
from ..statements import offered
from .decode import quoted_account
from .reads import READS, SHOW_GRANTS

#: Of what an account may have SELECT without having more than it needs.
READABLE = frozenset({"mysql.*", "mysql.user", "mysql.global_priv"} | {str(read.place) for read in READS})

#: What it needs on *.*.
GLOBAL = frozenset({"PROCESS", "SHOW DATABASES", "SHOW VIEW"})

#: Where hashes are, and in which columns.
HASHES = {
    "mysql.*": frozenset[str](),
    "mysql.user": frozenset({"authentication_string", "Password"}),
    "mysql.global_priv": frozenset({"Priv"}),
}


def excess(session: Session, rows: Mapping[str, Rows], hash_blind: bool) -> Iterator[Excess]:
    """What SHOW GRANTS says of the account beyond need."""
    return _Rights(session, hash_blind).excess()


_NAME = r"(?:`(?:[^`]|``)*`|'(?:[^']|'')*'|\w+)"
_ACCOUNT = rf"{_NAME}(?:@{_NAME})?"
_GRANT = re.compile(
    rf"GRANT (?P<privileges>.+?) ON (?P<scope>(?:[A-Z ]+ )?(?:\*|{_NAME})(?:\.(?:\*|{_NAME})|@{_NAME})?)"
    rf" TO (?P<grantee>{_ACCOUNT})(?P<rest>.*)",
    re.DOTALL,
)
_ROLES = re.compile(
    rf"GRANT (?P<roles>{_ACCOUNT}(?:, ?{_ACCOUNT})*) TO (?P<grantee>{_ACCOUNT})(?P<admin> WITH ADMIN OPTION)?",
    re.DOTALL,
)
#: MariaDB up to 10.11.18 writes accounts of PROXY so, without escapes.
_PROXY = re.compile(r"GRANT PROXY ON '(.*)'@'(.*)' TO '(.*)'@'(.*)'( WITH GRANT OPTION)?", re.DOTALL)
_PRIVILEGE = re.compile(r"([A-Z_][A-Z_ ]*[A-Z])(?: ?\(((?:`(?:[^`]|``)*`|[^`)])*)\))?")


def _in_backticks(text: str) -> str:
    """A line of SHOW GRANTS with its accounts in backticks."""
    if not (found := _PROXY.fullmatch(text)):
        return text
    name, host, grantee, grantee_host, option = found.groups(default="")
    return f"GRANT PROXY ON {quoted_account(name, host)} TO {quoted_account(grantee, grantee_host)}{option}"


@dataclass(frozen=True)
class _Line:
    """One GRANT of privileges in SHOW GRANTS, without what it says of passwords: privilege → its text with columns."""

    privileges: Mapping[str, str]
    scope: str
    grantee: str
    grantable: bool

    def beyond(self, hash_blind: bool) -> list[str]:
        """Privileges that nothing here needs, as REVOKE takes them."""
        names = set(self.privileges) - {"USAGE"}
        if self.place == "*.*":
            names -= GLOBAL
        elif self.place in READABLE and not (hash_blind and self._shows_hashes()):
            names -= {"SELECT"}
        return [self.privileges[name] for name in sorted(names)]

    @property
    def place(self) -> str:
        return self.scope.replace("`", "")

    def _shows_hashes(self) -> bool:
        if self.place not in HASHES:
            return False
        columns = set(re.findall(r"\w+", self.privileges.get("SELECT", "").partition("(")[2]))
        return not columns or bool(columns & HASHES[self.place])


class _Rights:
    """The account's own rights and roles, as SHOW GRANTS has them. Raises AdapterError."""

    def __init__(self, session: Session, hash_blind: bool) -> None:
        self.session, self.hash_blind, self.grantee = session, hash_blind, session.account
        self.mariadb = session.features.is_mariadb
        own = f"FOR {self.grantee}"
        self.own = [line for line in self._lines(own) if not self.mariadb or line.grantee == self.grantee]
        #: Role as GRANT takes it → whether it may be passed on.
        self.roles = {
            role: bool(found["admin"])
            for (text,) in session.query(f"{SHOW_GRANTS} {own}")
            if (found := _ROLES.match(text)) and (not self.mariadb or found["grantee"] == self.grantee)
            for role in re.findall(_ACCOUNT, found["roles"])
        }

    def excess(self) -> Iterator[Excess]:
        for line in self.own:
            if privileges := line.beyond(self.hash_blind):
                text = ", ".join(privileges)
                statements = [f"REVOKE {text} ON {line.scope} FROM {self.grantee};"]
                taken = {words.partition(" (")[0] for words in privileges} & {"SELECT", "ALL PRIVILEGES"}
                if taken and line.place in READABLE | {"*.*"}:
                    statements += needed(self.session, READS, self.hash_blind)
                yield Excess(f"{text} on {line.scope}", self._message(line), offered(*statements))
        # Last: MySQL 9.7 keeps a dynamic privilege in memory when REVOKE takes it after the grant option.
        grantable = (line.scope for line in self.own if line.grantable and "PROXY" not in line.privileges)
        for scope in dict.fromkeys(grantable):
            remedy = offered(f"REVOKE GRANT OPTION ON {scope} FROM {self.grantee};")
            yield Excess(f"GRANT OPTION on {scope}", "It could give its rights to others.", remedy)
        for role, admin in self.roles.items():
            if told := self._given_by(role):
                remedy = offered(*needed(self.session, READS, self.hash_blind), f"REVOKE {role} FROM {self.grantee};")
                yield Excess(f"role {role}", f"It gives what Taifish never uses: {'; '.join(told)}.", remedy)
            elif admin:
                statements = [f"REVOKE ADMIN OPTION FOR {role} FROM {self.grantee};"]
                if not self.mariadb:
                    statements = [f"REVOKE {role} FROM {self.grantee};", f"GRANT {role} TO {self.grantee};"]
                remedy = offered(*statements)
                yield Excess(f"ADMIN OPTION on role {role}", "It could give this role to others.", remedy)

    def _given_by(self, role: str) -> list[str]:
        """What a role and those in it give beyond need. MySQL adds them up with the account's own rights."""
        lines = self._lines(f"FOR {role}" if self.mariadb else f"FOR {self.grantee} USING {role}")
        own = {(line.scope, text) for line in self.own for text in line.beyond(self.hash_blind)}
        return [
            f"{text} on {line.scope}"
            for line in lines
            for text in line.beyond(self.hash_blind)
            if self.mariadb or (line.scope, text) not in own
        ]

    def _message(self, line: _Line) -> str:
        if line.beyond(self.hash_blind) == line.beyond(False):
            return "Taifish reads the grant tables and nothing else."
        return "It lets the account see password hashes, of which Taifish reads none."

    def _lines(self, whose: str) -> list[_Line]:
        return [
            _Line(
                {name: f"{name} ({columns})" if columns else name for name, columns in found},
                match["scope"],
                match["grantee"],
                "GRANT OPTION" in match["rest"],
            )
            for (text,) in self.session.query(f"{SHOW_GRANTS} {whose}")
            if (match := _GRANT.match(_in_backticks(text)))
            for found in [_PRIVILEGE.findall(match["privileges"])]
        ]
