"""What the collection account can and cannot do on a MySQL or MariaDB server, and what it could do beyond need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import AdapterError
from ..facts import Capability, Examination, Excess, failed
from ..statements import offered
from .account import GLOBAL, global_grant, select_grants
from .decode import quoted_account
from .reads import READS, reads
from .sizes import SHOW_DATABASES, SHOW_TABLES, tablespaces
from .user_table import Source, select_on_user

if TYPE_CHECKING:
    from .adapter import MySQLAdapter

#: MySQL has the one, MariaDB up to 11.0 the other.
READ_ONLY = "SHOW SESSION VARIABLES WHERE Variable_name IN ('transaction_read_only', 'tx_read_only')"

#: Needs PROCESS. With LIMIT 0 the server would not look.
FILES = "SELECT NAME FROM information_schema.{} LIMIT 1"

#: What works by a privilege on *.* alone, without which the server shows less and says nothing: capability → that
#: privilege, all that do as well, and the cost.
GRANTED = {
    "names of all databases (SHOW DATABASES)": (
        "SHOW DATABASES",
        SHOW_DATABASES,
        "Databases on which the account has no grant.",
    ),
    "sizes of tables of all engines (SHOW VIEW)": (
        "SHOW VIEW",
        SHOW_TABLES,
        "Tables of other engines than InnoDB in the sizes of databases.",
    ),
}

VISIT_FAILS = "Everything: a visit fails, and what is known of this instance grows old."

#: Of what an account may have SELECT without having more than it needs.
READABLE = frozenset({"mysql.*", "mysql.user", "mysql.global_priv", *(f"mysql.{table}" for table in READS)})

#: Where hashes are, and in which columns.
HASHES = {
    "mysql.*": frozenset[str](),
    "mysql.user": frozenset({"authentication_string", "Password"}),
    "mysql.global_priv": frozenset({"Priv"}),
}

RESTRICTIONS = "User_attributes"

#: `Source.lacks` in words.
LACKED = {"system": "privileges on *.*", "default_role": "memberships"}


def examine(adapter: MySQLAdapter, hash_blind: bool) -> Examination:
    """The statements of a visit without the rows of all tables but that of the accounts, and SHOW GRANTS for the
    account itself."""
    target, server, features = adapter.target, adapter.server, adapter.features
    found = [Capability("connection", True, f"{server.product} {server.version}, as {adapter.grantee}")]

    def ask(name: str, statement: str, cost: str = VISIT_FAILS, level: str = "A") -> list[tuple[Any, ...]] | None:
        capability, rows = adapter.probe(name, statement, cost=cost, level=level)
        found.append(capability)
        return rows

    read_only = ask("read-only session", READ_ONLY)
    if read_only is not None and {value for _, value in read_only} != {"ON"}:
        found[-1] = replace(found[-1], works=False, message="the server lets this session write")
    source = Source(features)
    found += _fields(adapter, source, ask("accounts", source.sql) is not None)
    for table, read in reads(target.level, features.is_mariadb, features.has_roles).items():
        statement = read.sql.format(columns=", ".join(adapter.database_columns()))
        ask(f"{read.tells} (mysql.{table})", f"{statement} LIMIT 0", f"{read.tells}: the last known stay.", read.level)
    ask("sizes of databases (PROCESS)", FILES.format(tablespaces(adapter)), "Sizes of all databases.")
    excess: list[Excess] = []
    own = {"name": "the account's own rights", "cost": "Whether the account holds more than it needs."}
    try:
        lines = _Rights(adapter, hash_blind)
        for name, (privilege, enough, cost) in GRANTED.items():
            held = lines.on_everything & enough
            missing = "" if held else global_grant(adapter.grantee, privilege)
            found.append(Capability(name, bool(held), "works" if held else "not granted", missing, cost))
        excess = list(lines.excess())
        message = f"{len(excess)} beyond need" if excess else "nothing beyond need"
        found.append(Capability(works=True, message=message, **own))
    except AdapterError as error:
        for name, (*_, cost) in GRANTED.items():
            found.append(Capability(name, None, "not looked at, because SHOW GRANTS failed", cost=cost))
        found.append(failed(error=error, **own))
    return Examination(server, found, excess)


def _fields(adapter: MySQLAdapter, source: Source, can_list: bool) -> Iterator[Capability]:
    """What is told of each account, by the columns of mysql.user; MariaDB's document has everything in one."""
    name, cost = "fields of accounts", "Lock, password, limits and privileges on *.* of each account."
    if not can_list:
        yield Capability(name, None, "not looked at, because accounts could not be listed", cost=cost)
        return
    missing = source.missing - {RESTRICTIONS}
    unread = ", ".join(sorted(source.unread | {LACKED[name] for name in source.lacks & LACKED.keys()}))
    grant = f"GRANT SELECT {select_on_user(missing)} TO {adapter.grantee};" if missing else ""
    message = f"may not be read: {', '.join(sorted(missing))}" if missing else "works"
    yield Capability(name, not missing, message, grant, f"Of each account: {unread}." if missing else cost)
    if source.server.is_mariadb and source.unread:
        yield Capability(
            "lock, age and method of passwords, newer privileges",
            False,
            "may not be read: mysql.global_priv",
            f"GRANT SELECT ON mysql.global_priv TO {adapter.grantee};",
            "Who is locked, how old passwords are and how they are checked; each visit ends as partial. That grant lets"
            " the account see password hashes.",
        )
    if RESTRICTIONS in source.missing:
        yield Capability(
            "partial revokes",
            False,
            f"may not be read: {RESTRICTIONS}",
            f"GRANT SELECT {select_on_user([RESTRICTIONS])} TO {adapter.grantee};",
            "Which grants are taken back for a database. That column also holds the hashes of second passwords.",
        )


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
            names -= GLOBAL.keys()
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

    def __init__(self, adapter: MySQLAdapter, hash_blind: bool) -> None:
        self.adapter, self.hash_blind, self.grantee = adapter, hash_blind, adapter.grantee
        self.mariadb = adapter.features.is_mariadb
        # Without a name, those of roles that are active and of PUBLIC are there too: what the session can do.
        self.on_everything = {name for line in self._lines() if line.scope == "*.*" for name in line.privileges}
        own = f"FOR {self.grantee}"
        self.own = [line for line in self._lines(own) if not self.mariadb or line.grantee == self.grantee]
        #: Role as GRANT takes it → whether it may be passed on.
        self.roles = {
            role: bool(found["admin"])
            for (text,) in adapter.query(f"SHOW GRANTS {own}")
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
                    statements += self._needs()
                yield Excess(f"{text} on {line.scope}", self._message(line), offered(*statements))
        # Last: MySQL 9.7 keeps a dynamic privilege in memory when REVOKE takes it after the grant option.
        grantable = (line.scope for line in self.own if line.grantable and "PROXY" not in line.privileges)
        for scope in dict.fromkeys(grantable):
            remedy = offered(f"REVOKE GRANT OPTION ON {scope} FROM {self.grantee};")
            yield Excess(f"GRANT OPTION on {scope}", "It could give its rights to others.", remedy)
        for role, admin in self.roles.items():
            if told := self._given_by(role):
                remedy = offered(*self._needs(), f"REVOKE {role} FROM {self.grantee};")
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

    def _needs(self) -> list[str]:
        features, level = self.adapter.features, self.adapter.target.level
        reading = select_grants(level, self.grantee, self.mariadb, features.has_roles, self.hash_blind)
        return [*(statement.sql for statement in reading), global_grant(self.grantee, *GLOBAL)]

    def _lines(self, whose: str = "") -> list[_Line]:
        return [
            _Line(
                {name: f"{name} ({columns})" if columns else name for name, columns in found},
                match["scope"],
                match["grantee"],
                "GRANT OPTION" in match["rest"],
            )
            for (text,) in self.adapter.query(f"SHOW GRANTS {whose}".rstrip())
            if (match := _GRANT.match(_in_backticks(text)))
            for found in [_PRIVILEGE.findall(match["privileges"])]
        ]
