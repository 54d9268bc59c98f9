"""Rights of a collection account on MySQL or MariaDB beyond need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..errors import AdapterError
from ..facts import AccountKey, Capability, Excess
from ..reads import needed
from ..session import Rows, Session
from ..statements import offered
from .borrowed import Privileges, borrowed, quoted
from .decode import quoted_account
from .reads import READS, SHOW_GRANTS

#: Objects on which SELECT is not beyond need.
READABLE = frozenset({"mysql.*", "mysql.user", "mysql.global_priv"} | {str(read.place) for read in READS})

#: Privileges on *.* that are not beyond need.
GLOBAL = frozenset({"PROCESS", "SHOW DATABASES", "SHOW VIEW"})

#: Object with password hashes → the columns that contain them.
HASHES = {
    "mysql.*": frozenset[str](),
    "mysql.user": frozenset({"authentication_string", "Password"}),
    "mysql.global_priv": frozenset({"Priv"}),
}


def excess(session: Session, rows: Mapping[str, Rows], hash_blind: bool) -> Iterator[Excess | Capability]:
    """See `check.ExcessRights`. Reads SHOW GRANTS, and what grants to other accounts the server applies to this one."""
    rights = _Rights(session, hash_blind)
    yield from rights.excess()
    yield from rights.through_others()
    yield from rights.through_public()


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
#: MariaDB up to 10.11.18 writes accounts of PROXY in this form, without escapes.
_PROXY = re.compile(r"GRANT PROXY ON '(.*)'@'(.*)' TO '(.*)'@'(.*)'( WITH GRANT OPTION)?", re.DOTALL)
_PRIVILEGE = re.compile(r"([A-Z_][A-Z_ ]*[A-Z])(?: ?\(((?:`(?:[^`]|``)*`|[^`)])*)\))?")


def _in_backticks(text: str) -> str:
    """A row of SHOW GRANTS with its accounts in backticks."""
    if not (found := _PROXY.fullmatch(text)):
        return text
    name, host, grantee, grantee_host, option = found.groups(default="")
    return f"GRANT PROXY ON {quoted_account(name, host)} TO {quoted_account(grantee, grantee_host)}{option}"


@dataclass(frozen=True)
class _Line:
    """One GRANT of privileges in SHOW GRANTS. `privileges` maps each privilege to its text with columns."""

    privileges: Mapping[str, str]
    scope: str
    grantee: str
    grantable: bool

    def beyond(self, hash_blind: bool) -> list[str]:
        """The privileges beyond need, in the syntax of REVOKE."""
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
    """The account's rights and roles in SHOW GRANTS. Raises AdapterError."""

    def __init__(self, session: Session, hash_blind: bool) -> None:
        self.session, self.hash_blind, self.grantee = session, hash_blind, session.account
        self.mariadb = session.features.is_mariadb
        own = f"FOR {self.grantee}"
        self.own = [line for line in self._lines(own) if not self.mariadb or line.grantee == self.grantee]
        #: Role in the syntax of GRANT → whether the account has ADMIN OPTION on it.
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
        # Last: MySQL 9.7 keeps a dynamic privilege in memory if its REVOKE follows that of the grant option.
        grantable = (line.scope for line in self.own if line.grantable and "PROXY" not in line.privileges)
        for scope in dict.fromkeys(grantable):
            remedy = offered(f"REVOKE GRANT OPTION ON {scope} FROM {self.grantee};")
            yield Excess(f"GRANT OPTION on {scope}", "The account could grant its rights to others.", remedy)
        for role, admin in self.roles.items():
            if beyond := self._given_by(role):
                remedy = offered(*needed(self.session, READS, self.hash_blind), f"REVOKE {role} FROM {self.grantee};")
                yield Excess(f"role {role}", f"It has rights that Taifish never uses: {'; '.join(beyond)}.", remedy)
            elif admin:
                statements = [f"REVOKE ADMIN OPTION FOR {role} FROM {self.grantee};"]
                if not self.mariadb:
                    statements = [f"REVOKE {role} FROM {self.grantee};", f"GRANT {role} TO {self.grantee};"]
                remedy = offered(*statements)
                yield Excess(f"ADMIN OPTION on role {role}", "The account could grant this role.", remedy)

    def through_others(self) -> Iterator[Excess | Capability]:
        """The rights by grants to accounts of the same name and to anonymous accounts."""
        found = borrowed(self.session)
        for account, objects in found.grants.items():
            for line in _lines_of(account, objects):
                if privileges := line.beyond(self.hash_blind):
                    yield self._through(account, line, ", ".join(privileges), account in found.present)
        for account, roles in found.roles.items():
            for role in roles:
                try:
                    beyond = self._given_by(role)
                except AdapterError as error:
                    if error.code != "denied":
                        raise
                    found.failures.append(error)
                    continue
                if beyond:
                    other = quoted_account(*account)
                    message = (
                        f"Sessions of this account can set it, because {other} has the same name and is in the role. It"
                        f" has rights that Taifish never uses: {'; '.join(beyond)}. The statement takes it from"
                        f" {other}: see first who uses that account."
                    )
                    yield Excess(f"role {role} through {other}", message, offered(f"REVOKE {role} FROM {other};"))
        # Without other accounts of the name, no grants to them exist.
        if found.failures and any(name and quoted_account(name, host) != self.grantee for name, host in found.present):
            yield Capability(
                "rights through accounts of the same name",
                None,
                f"not checked: {'; '.join(map(str, found.failures))}",
                "\n".join(error.missing for error in found.failures if error.missing),
                "Rights that the account has because the server applies grants to accounts of the same name to it.",
            )

    def _through(self, account: AccountKey, line: _Line, text: str, is_present: bool) -> Excess:
        other, remedy = quoted_account(*account), ""
        if not account[0]:
            message = (
                f"It is granted to the anonymous account {other}, and applies to all accounts that connect from there."
                " No statement is offered, because all of them would lose it."
            )
        elif not is_present:
            message = (
                f"The grant tables have rows of {other}, which is no account, and the server applies them to this one."
                " No statement revokes it: delete the rows, and run FLUSH PRIVILEGES."
            )
        else:
            message = (
                f"It is granted to {other}. The server applies it to this account too, which has the same name. The"
                f" statement takes it from {other}: see first who uses that account."
            )
            statements = [f"REVOKE {text} ON {line.scope} FROM {other};"]
            if "SELECT" in line.privileges and line.place in READABLE:
                statements += needed(self.session, READS, self.hash_blind)
            remedy = offered(*statements)
        return Excess(f"{text} on {line.scope} through {other}", message, remedy)

    def through_public(self) -> Iterator[Excess]:
        """The rights of PUBLIC and of the roles granted to it, which MariaDB applies to every session at once."""
        if not self.mariadb:
            return
        rows = [text for (text,) in self.session.query(SHOW_GRANTS)]
        members: dict[str, list[str]] = {}
        for found in filter(None, map(_ROLES.match, rows)):
            members.setdefault(found["grantee"], []).append(found["roles"])
        lines = self._parsed(rows)

        def given_by(grantee: str) -> list[str]:
            names = [grantee]
            for name in names:
                names += [role for role in members.get(name, []) if role not in names]
            own = (line for line in lines if line.grantee in names)
            return [f"{text} on {line.scope}" for line in own for text in line.beyond(self.hash_blind)]

        left = "No statement is offered, because all accounts would lose it."
        for line in lines:
            if line.grantee == "PUBLIC" and (privileges := line.beyond(self.hash_blind)):
                right = f"{', '.join(privileges)} on {line.scope} through PUBLIC"
                yield Excess(right, f"It is granted to PUBLIC, and applies to every account. {left}", "")
        for role in members.get("PUBLIC", []):
            if beyond := given_by(role):
                message = (
                    "The role is granted to PUBLIC, and is active in every session. It has rights that Taifish never"
                    f" uses: {'; '.join(beyond)}. {left}"
                )
                yield Excess(f"role {role} through PUBLIC", message, "")

    def _given_by(self, role: str) -> list[str]:
        """The rights beyond need of a role and the roles in it. MySQL lists them together with the account's own."""
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
            return "Taifish reads only the grant tables."
        return "It includes password hashes, which Taifish does not read."

    def _lines(self, account: str) -> list[_Line]:
        return self._parsed(text for (text,) in self.session.query(f"{SHOW_GRANTS} {account}"))

    def _parsed(self, rows: Iterable[str]) -> list[_Line]:
        return [
            _Line(
                {name: f"{name} ({columns})" if columns else name for name, columns in found},
                match["scope"],
                match["grantee"],
                "GRANT OPTION" in match["rest"],
            )
            for text in rows
            if (match := _GRANT.match(_in_backticks(text)))
            for found in [_PRIVILEGE.findall(match["privileges"])]
        ]


def _lines_of(account: AccountKey, objects: Privileges) -> Iterator[_Line]:
    for (scope, _on_columns), privileges in objects.items():
        texts = {
            # The option holds for the table as a whole.
            name: f"{name} ({', '.join(map(quoted, columns))})" if columns else name
            for name, columns in privileges.items()
        }
        yield _Line(texts, scope, quoted_account(*account), "GRANT OPTION" in privileges)
