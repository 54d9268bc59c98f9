"""Who may do what on Oracle, by its documentation, computed slowly from the rows of a dictionary.

Imports nothing of the product. Rows are dictionaries by column, each with the CON_ID of its container. Sources, of 19c
(23ai for privileges on schemas):

- Security Guide, "Configuring Privilege and Role Authorization": a user has the privileges granted to it, to its
  enabled roles, and to PUBLIC. Roles granted to an enabled role are enabled with it. At login the default roles are
  enabled, but for those that need a password; SET ROLE enables the others. ANY privileges do not apply to SYS's objects.
- SQL Language Reference, GRANT: logging in takes CREATE SESSION, which only an enabled role can give. SET ROLE.
- Administrator's Guide: SYSDBA permits everything, logging in too.
- Multitenant Administrator's Guide: what is granted in a container holds in that container. A common grant has a row in
  each. PUBLIC is that of the container.
- An owner may do everything with its objects. A grant on a table applies to its columns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

Row = dict[str, Any]
Rows = Mapping[str, list[Row]]
#: (name, container)
Account = tuple[str, str]
#: (privilege, kind, path)
Asked = tuple[str, str, str]

ANY = {
    "TABLE": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "SEQUENCE": ("SELECT",),
    "PROCEDURE": ("EXECUTE",),
}
KINDS = {"TABLE": "table", "SEQUENCE": "sequence", "PROCEDURE": "routine"}
#: Owner, name and type of the objects in each container.
OBJECTS = (
    ("OWNER1", "T", "TABLE"),
    ("OWNER1", "S", "SEQUENCE"),
    ("OWNER1", "P", "PROCEDURE"),
    ("SYS", "SECRET", "TABLE"),
)
SYSTEM = ("CREATE SESSION", "ALTER USER")

USERS = ("OWNER1", "ADA", "Bob b", "C##OPS")
ROLES = ("R1", "R2", "R3", "C##R4")


def questions(container: str) -> list[Asked]:
    found = [
        (privilege, KINDS[type_], f"{container}.{owner}.{name}")
        for owner, name, type_ in OBJECTS
        for privilege in ANY[type_]
    ]
    return [*found, ("UPDATE", "column", f"{container}.OWNER1.T.A")]


def setup(
    random: Random, containers: Mapping[int, str], *, with_schemas: bool, public_roles: bool
) -> dict[str, list[Row]]:
    """Rows of a random set-up, view → rows, to be added to a dictionary that has SYS and DBA. With `public_roles`,
    roles are granted to PUBLIC too."""
    rows: dict[str, list[Row]] = defaultdict(list)
    common_admin = random.random() < 0.3
    if common_admin:
        rows["PWFILE"].append({"CON_ID": min(containers), "USERNAME": "C##OPS", "SYSDBA": "TRUE", "COMMON": "YES"})
    for number in containers:
        for name in USERS:
            authentication = random.choice(["PASSWORD", "PASSWORD", "PASSWORD", "NONE"])
            status = random.choice(["OPEN", "OPEN", "OPEN", "LOCKED", "LOCKED(TIMED)", "EXPIRED & LOCKED"])
            rows["USERS"].append(
                {"CON_ID": number, "USERNAME": name, "ACCOUNT_STATUS": status, "AUTHENTICATION_TYPE": authentication}
            )
        for role in ROLES:
            secured = random.choice(["NONE", "NONE", "NONE", "PASSWORD"])
            rows["ROLES"].append({"CON_ID": number, "ROLE": role, "AUTHENTICATION_TYPE": secured})
        grantees = [*USERS, *USERS, *ROLES, "PUBLIC"]
        if not common_admin and random.random() < 0.2 and number > 1:
            rows["PWFILE"].append({"CON_ID": number, "USERNAME": "ADA", "SYSDBA": "TRUE", "COMMON": "NO"})
        for _ in range(random.randint(2, 9)):
            member, role = random.choice(grantees), random.choice([*ROLES, "DBA"] if random.random() < 0.1 else ROLES)
            # The server refuses a role within itself.
            if member in ROLES and role in ROLES and ROLES.index(member) >= ROLES.index(role):
                continue
            if member == "PUBLIC" and not public_roles:
                continue
            default = random.choice(["YES", "YES", "NO"]) if member in USERS else "YES"
            pair = {"CON_ID": number, "GRANTEE": member, "GRANTED_ROLE": role}.items()
            default = next((row["DEFAULT_ROLE"] for row in rows["ROLE_PRIVS"] if row.items() >= pair), default)
            # A role can be granted commonly and locally, which is two rows.
            for common in random.choice([["NO"], ["NO"], ["YES"], ["YES", "NO"]]):
                row = {**dict(pair), "DEFAULT_ROLE": default, "COMMON": common}
                if row not in rows["ROLE_PRIVS"]:
                    rows["ROLE_PRIVS"].append(row)
        every = [f"{one} ANY {type_}" for type_, names in ANY.items() for one in names]
        for _ in range(random.randint(3, 12)):
            grantee = random.choice(grantees)
            match random.choice(
                ["session", "session", "system", "any", "object", "object", "object", "column", "schema"]
            ):
                case "session":
                    rows["SYS_PRIVS"].append(_system(number, grantee, "CREATE SESSION"))
                case "system":
                    rows["SYS_PRIVS"].append(_system(number, grantee, "ALTER USER"))
                case "any":
                    rows["SYS_PRIVS"].append(_system(number, grantee, random.choice(every)))
                case "schema" if with_schemas and grantee != "PUBLIC":
                    schema = {"GRANTEE": grantee, "SCHEMA": "OWNER1", "PRIVILEGE": random.choice(every)}
                    rows["SCHEMA_PRIVS"].append({"CON_ID": number, **schema})
                case "column":
                    column = {"GRANTEE": grantee, "OWNER": "OWNER1", "TABLE_NAME": "T", "COLUMN_NAME": "A"}
                    rows["COL_PRIVS"].append({"CON_ID": number, **column, "PRIVILEGE": "UPDATE"})
                case _:
                    owner, name, type_ = random.choice(OBJECTS)
                    # Visits leave out what PUBLIC may do with Oracle's own objects.
                    if owner != "SYS" or grantee != "PUBLIC":
                        privilege = random.choice(ANY[type_])
                        what = {"GRANTEE": grantee, "OWNER": owner, "TABLE_NAME": name, "TYPE": type_}
                        rows["TAB_PRIVS"].append({"CON_ID": number, **what, "PRIVILEGE": privilege})
    return rows


def any_privilege(privilege: str, kind: str) -> str:
    """The privilege on all objects that includes this one on an object of a kind."""
    type_ = {"table": "TABLE", "column": "TABLE", "sequence": "SEQUENCE", "routine": "PROCEDURE"}[kind]
    return f"{privilege} ANY {type_}"


def _system(number: int, grantee: str, privilege: str) -> Row:
    return {"CON_ID": number, "GRANTEE": grantee, "PRIVILEGE": privilege}


class Container:
    """One container of a dictionary."""

    def __init__(self, rows: Rows, number: int, name: str) -> None:
        self.rows = {view: [row for row in some if row["CON_ID"] == number] for view, some in rows.items()}
        self.name = name
        #: Common entries of the password file apply in every container.
        self.administrative = {
            privilege: {
                row["USERNAME"]
                for row in rows.get("PWFILE", ())
                if row.get(privilege) == "TRUE" and (row["COMMON"] == "YES" or row["CON_ID"] == number)
            }
            for privilege in ("SYSDBA", "SYSOPER")
        }
        self.users = {row["USERNAME"]: row for row in self.rows["USERS"]}
        self.roles = {row["ROLE"]: row for row in self.rows["ROLES"]}

    def granted(self, name: str, *, at_login: bool) -> set[str]:
        """The roles granted directly; with `at_login`, those that login enables."""
        found = set()
        for row in self.rows["ROLE_PRIVS"]:
            if row["GRANTEE"] == name:
                secured = self.roles[row["GRANTED_ROLE"]]["AUTHENTICATION_TYPE"] != "NONE"
                if not at_login or name not in self.users or (row["DEFAULT_ROLE"] == "YES" and not secured):
                    found.add(row["GRANTED_ROLE"])
        return found

    def enabled(self, name: str, *, at_login: bool) -> set[str]:
        """The roles in the session of an account: those granted, and all within them."""
        found, todo = set(), self.granted(name, at_login=at_login)
        while todo:
            role = todo.pop()
            if role not in found:
                found.add(role)
                todo |= self.granted(role, at_login=False)
        return found

    def holds(self, name: str, asked: Asked) -> bool:
        """Whether it is granted to just this account or role, or it needs no grant."""
        privilege, kind, path = asked
        if name in self.administrative["SYSDBA"]:
            return True
        system = {row["PRIVILEGE"] for row in self.rows["SYS_PRIVS"] if row["GRANTEE"] == name}
        if kind == "system":
            return privilege in system
        _container, owner, thing, *column = path.split(".")
        if name == owner and name in self.users:
            return True
        any_ = any_privilege(privilege, kind)
        of_schema = {
            row["PRIVILEGE"]
            for row in self.rows.get("SCHEMA_PRIVS", ())
            if row["GRANTEE"] == name and row["SCHEMA"] == owner
        }
        if owner != "SYS" and any_ in system | of_schema:
            return True
        on_object = any(
            (row["GRANTEE"], row["OWNER"], row["TABLE_NAME"], row["PRIVILEGE"]) == (name, owner, thing, privilege)
            for row in self.rows.get("TAB_PRIVS", ())
        )
        on_column = any(
            (row["GRANTEE"], row["OWNER"], row["TABLE_NAME"], row["COLUMN_NAME"], row["PRIVILEGE"])
            == (name, owner, thing, *column, privilege)
            for row in self.rows.get("COL_PRIVS", ())
            if column
        )
        return on_object or on_column

    def has(self, name: str, asked: Asked, *, at_login: bool) -> bool:
        """Whether it holds it itself or by roles."""
        return any(self.holds(one, asked) for one in {name} | self.enabled(name, at_login=at_login))

    def can_log_in(self, name: str) -> bool:
        user = self.users.get(name)
        if user is None or "LOCKED" in user["ACCOUNT_STATUS"] or user["AUTHENTICATION_TYPE"] == "NONE":
            return False
        session = ("CREATE SESSION", "system", "")
        return any(self.has(one, session, at_login=True) for one in (name, "PUBLIC"))

    def use(self, name: str, asked: Asked) -> str:
        """ "login", "switch" (after SET ROLE), "blocked", or "" for not at all. What PUBLIC has, only PUBLIC has."""
        if not self.has(name, asked, at_login=False):
            return ""
        if name == "PUBLIC":
            return "login"
        if not self.can_log_in(name):
            return "blocked"
        return "login" if self.has(name, asked, at_login=True) else "switch"

    def accounts(self) -> list[str]:
        return [*self.users, *self.roles, "PUBLIC"]

    def sources(self, name: str) -> dict[tuple[str, str, str, str], str]:
        """(holder, kind, privilege, path) of each grant that applies to the account → "login" or "switch"."""
        found = {}
        for at_login, use in ((False, "switch"), (True, "login")):
            holders = {name} | self.enabled(name, at_login=at_login)
            if at_login:
                holders |= {"PUBLIC"} | self.enabled("PUBLIC", at_login=True)
            found |= {(holder, *grant): use for holder in holders for grant in self.grants(holder)}
        return found

    def grants(self, name: str) -> Iterator[tuple[str, str, str]]:
        for privilege, holders in self.administrative.items():
            if name in holders:
                yield "system", privilege, ""
        for view, rows in self.rows.items():
            for row in (row for row in rows if row.get("GRANTEE") == name):
                match view:
                    case "SYS_PRIVS":
                        yield "system", row["PRIVILEGE"], ""
                    case "SCHEMA_PRIVS":
                        yield "schema", row["PRIVILEGE"], f"{self.name}.{row['SCHEMA']}"
                    case "TAB_PRIVS":
                        yield KINDS[row["TYPE"]], row["PRIVILEGE"], f"{self.name}.{row['OWNER']}.{row['TABLE_NAME']}"
                    case "COL_PRIVS":
                        path = f"{self.name}.{row['OWNER']}.{row['TABLE_NAME']}.{row['COLUMN_NAME']}"
                        yield "column", row["PRIVILEGE"], path
