"""Random scripts for MySQL and MariaDB, and what SHOW GRANTS and the grant tables say. Imports nothing of the product.

These servers give no ids. An account is its name, unless one that is gone and one that is new are alike in all that
RENAME USER keeps, and nothing else is like them: then it was renamed, probably.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pymysql

from accounts.tests.reference_history import Held, Key, Truth, dotted
from engines.tests.reference_show_grants import quoted, shown

USERS = ("ada", "it's", "back`tick", "a@b", "ü 表", "e.e")
ROLES = ("r0", "r 1", "rôle", 'r"2')
#: Another grantor than the superuser.
MAKER, PASSWORD = "maker", "not a secret"
PRIVILEGES = {
    "system": ("SELECT", "SUPER", "REPLICATION SLAVE", "SHOW DATABASES"),
    "database": ("SELECT", "SHOW VIEW", "LOCK TABLES", "SELECT, REFERENCES"),
    "table": ("SELECT", "INSERT", "SELECT, TRIGGER"),
    "column": ("SELECT (a)", "UPDATE (`b b`)", "INSERT (a, `b b`)"),
    "routine": ("EXECUTE", "ALTER ROUTINE"),
}
PLACES = {
    "system": ("*.*",),
    "database": ("`shop`.*", r"`shop\_a`.*", "`shop_a`.*", "`le mans`.*", "`no.where`.*"),
    "table": ("`shop`.`t`", "`shop`.`t.2`", "`le mans`.`t``3`"),
    "column": ("`shop`.`t`", "`shop`.`t.2`"),
    "routine": ("PROCEDURE `shop`.`f`", "FUNCTION `shop`.`f`"),
}
SET_UP = """
CREATE DATABASE shop; CREATE DATABASE `le mans`;
CREATE TABLE shop.t (a int, `b b` int); CREATE TABLE shop.`t.2` (a int, `b b` int);
CREATE TABLE `le mans`.`t``3` (a int, `b b` int);
CREATE PROCEDURE shop.f() SELECT 1; CREATE FUNCTION shop.f() RETURNS int DETERMINISTIC RETURN 1;
"""
ACTIONS = (
    *("user_create", "user_create", "user_drop", "user_recreate", "user_rename", "user_rename", "user_swap"),
    *("role_create", "role_drop", "role_recreate", "attribute", "attribute"),
    *("grant",) * 10,
    *("grant_again",) * 3,
    *("revoke", "revoke", "revoke_option", "revoke_all", "join", "join", "join", "leave", "default_role"),
    *("table_rename", "table_recreate"),
)
#: No such grant or account, circles of roles, default roles that are not held, roles that cannot be renamed.
REFUSED = {1050, 1133, 1141, 1146, 1147, 1269, 1396, 1403, 1410, 1959, 1961, 1962, 3162, 3523, 3530, 4027}
ATTRIBUTES = (
    *("ACCOUNT LOCK", "ACCOUNT UNLOCK", "PASSWORD EXPIRE", "PASSWORD EXPIRE NEVER", "PASSWORD EXPIRE INTERVAL 90 DAY"),
    *("IDENTIFIED BY 'another'", "WITH MAX_USER_CONNECTIONS 3", "WITH MAX_USER_CONNECTIONS 0"),
)


class Script:
    """Runs actions on a server. `log` is what was run, as SQL."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.is_mariadb = server.product == "MariaDB"
        self.log: list[str] = []
        #: Grants that were made: privileges, place and grantee; role and member.
        self.granted: list[tuple[str, str, str]] = []
        self.joined: list[tuple[str, str]] = []

    def set_up(self) -> None:
        self.server.execute(SET_UP)
        self.server.execute(
            f"CREATE USER {MAKER} IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO {MAKER} WITH GRANT OPTION"
        )
        for name in USERS[:3]:
            self.run(f"CREATE USER {self.user(name)} IDENTIFIED BY '{PASSWORD}'")
        for name in ROLES[:2]:
            self.run(f"CREATE ROLE {self.role(name)}")

    def user(self, name: str) -> str:
        return f"{quoted(name)}@'%'"

    def role(self, name: str) -> str:
        return quoted(name)

    def run(self, sql: str, by_maker: bool = False) -> bool:
        """Run it, unless the server refuses, as it would for a person."""
        try:
            if by_maker:
                connection = pymysql.connect(
                    host="127.0.0.1", port=self.server.port, user=MAKER, password=PASSWORD, ssl_disabled=True
                )
                with connection, connection.cursor() as cursor:
                    cursor.execute(sql)
            else:
                self.server.execute(sql)
        except pymysql.MySQLError as error:
            if error.args[0] not in REFUSED:
                raise
            return False
        self.log.append(f"{sql}  -- by {MAKER}" if by_maker else sql)
        return True

    def there(self, names: Sequence[str]) -> list[str]:
        found = {name for name, *_ in self.server.execute("SELECT User FROM mysql.user")}
        return [name for name in names if name in found]

    def act(self, action: str, numbers: Sequence[int]) -> None:
        getattr(self, f"_{action}")(*numbers)

    def _user(self, number: int) -> str:
        users = self.there(USERS) or USERS
        return users[number % len(users)]

    def _role(self, number: int) -> str:
        roles = self.there(ROLES) or ROLES
        return roles[number % len(roles)]

    def _grantee(self, number: int) -> str:
        """A user, or every third time a role."""
        return self.role(self._role(number)) if number % 3 == 0 else self.user(self._user(number))

    def _free(self, pool: Sequence[str], number: int) -> str | None:
        there = set(self.there(pool))
        free = [name for name in pool if name not in there]
        return free[number % len(free)] if free else None

    def _user_create(self, a: int, *_: int) -> None:
        if name := self._free(USERS, a):
            self.run(f"CREATE USER {self.user(name)} IDENTIFIED BY '{PASSWORD}'")

    def _user_drop(self, a: int, *_: int) -> None:
        self.run(f"DROP USER {self.user(self._user(a))}")

    def _user_recreate(self, a: int, b: int, *_: int) -> None:
        user = self.user(self._user(a))
        if self.run(f"DROP USER {user}"):
            self.run(f"CREATE USER {user} IDENTIFIED BY '{PASSWORD}'")

    def _user_rename(self, a: int, b: int, *_: int) -> None:
        if name := self._free(USERS, b):
            self.run(f"RENAME USER {self.user(self._user(a))} TO {self.user(name)}")

    def _user_swap(self, a: int, b: int, *_: int) -> None:
        one, other = self.user(self._user(a)), self.user(self._user(b))
        if one != other:
            self.run(f"RENAME USER {one} TO 'swapped'@'%', {other} TO {one}, 'swapped'@'%' TO {other}")

    def _role_create(self, a: int, *_: int) -> None:
        if name := self._free(ROLES, a):
            self.run(f"CREATE ROLE {self.role(name)}")

    def _role_drop(self, a: int, *_: int) -> None:
        self.run(f"DROP ROLE {self.role(self._role(a))}")

    def _role_recreate(self, a: int, *_: int) -> None:
        role = self.role(self._role(a))
        if self.run(f"DROP ROLE {role}"):
            self.run(f"CREATE ROLE {role}")

    def _attribute(self, a: int, b: int, *_: int) -> None:
        self.run(f"ALTER USER {self.user(self._user(a))} {ATTRIBUTES[b % len(ATTRIBUTES)]}")

    def _thing(self, a: int, b: int, grantee: str) -> tuple[str, str]:
        # The servers misread rows about routines where a name is not ASCII.
        kinds = [kind for kind in PRIVILEGES if kind != "routine" or grantee.isascii()]
        kind = kinds[a % len(kinds)]
        return PRIVILEGES[kind][b % len(PRIVILEGES[kind])], PLACES[kind][a // 7 % len(PLACES[kind])]

    def _grant(self, a: int, b: int, c: int, d: int) -> None:
        grantee = self._grantee(c)
        what, where = self._thing(a, b, grantee)
        option = " WITH GRANT OPTION" if d % 3 == 0 else ""
        if self.run(f"GRANT {what} ON {where} TO {grantee}{option}", by_maker=d % 2 == 1):
            self.granted.append((what, where, grantee))

    def _grant_again(self, a: int, b: int, *_: int) -> None:
        if self.granted:
            what, where, grantee = self.granted[a % len(self.granted)]
            option = " WITH GRANT OPTION" if b % 3 else ""
            self.run(f"GRANT {what} ON {where} TO {grantee}{option}", by_maker=b % 2 == 1)

    def _revoke(self, a: int, b: int, *_: int) -> None:
        if self.granted:
            what, where, grantee = self.granted[a % len(self.granted)]
            self.run(f"REVOKE {what} ON {where} FROM {grantee}", by_maker=b % 2 == 1)

    def _revoke_option(self, a: int, *_: int) -> None:
        if self.granted:
            _, where, grantee = self.granted[a % len(self.granted)]
            self.run(f"REVOKE GRANT OPTION ON {where} FROM {grantee}")

    def _revoke_all(self, a: int, *_: int) -> None:
        self.run(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {self._grantee(a)}")

    def _join(self, a: int, b: int, c: int, *_: int) -> None:
        role, grantee = self.role(self._role(a)), self._grantee(b)
        option = " WITH ADMIN OPTION" if c % 3 == 0 else ""
        if self.run(f"GRANT {role} TO {grantee}{option}"):
            self.joined.append((role, grantee))

    def _leave(self, a: int, b: int, *_: int) -> None:
        if self.joined:
            role, grantee = self.joined[a % len(self.joined)]
            option = "ADMIN OPTION FOR " if self.is_mariadb and b % 3 == 0 else ""
            self.run(f"REVOKE {option}{role} FROM {grantee}")

    def _default_role(self, a: int, b: int, c: int, *_: int) -> None:
        role = "NONE" if c % 4 == 0 else self.role(self._role(a))
        word = "FOR" if self.is_mariadb else "TO"
        self.run(f"SET DEFAULT ROLE {role} {word} {self.user(self._user(b))}")

    def _table_rename(self, a: int, *_: int) -> None:
        """The grants stay with the name."""
        if self.run("RENAME TABLE shop.t TO shop.moved"):
            self.run("CREATE TABLE shop.t (a int, `b b` int)")
        else:
            self.run("DROP TABLE shop.moved")

    def _table_recreate(self, a: int, *_: int) -> None:
        self.run("DROP TABLE shop.`t.2`")
        self.run("CREATE TABLE shop.`t.2` (a int, `b b` int)")


def label_of(name: str, is_role: bool, product: str) -> str:
    return name if is_role and product == "MariaDB" else f"{name}@%"


MARIADB_ACCOUNTS = """
SELECT User, IFNULL(JSON_VALUE(Priv, '$.is_role'), 0) IN ('1', 'true'), IFNULL(JSON_VALUE(Priv, '$.account_locked'), 0) IN ('1', 'true'),
       JSON_VALUE(Priv, '$.password_last_changed') = 0, JSON_VALUE(Priv, '$.password_last_changed'),
       JSON_VALUE(Priv, '$.password_lifetime'), JSON_VALUE(Priv, '$.plugin'), JSON_VALUE(Priv, '$.max_user_connections')
  FROM mysql.global_priv WHERE Host IN ('%', '')
"""
MYSQL_ACCOUNTS = """
SELECT User, account_locked = 'Y' AND password_expired = 'Y' AND authentication_string = '', account_locked = 'Y',
       password_expired = 'Y', UNIX_TIMESTAMP(password_last_changed), password_lifetime, plugin, max_user_connections
  FROM mysql.user WHERE Host = '%'
"""


class Reader:
    """Reads what the server has, and remembers which account is which: `ids` maps the label of each to its number."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.ids: dict[str, int] = {}
        self.count = 0
        #: What was there at the last visit: label → all that RENAME USER keeps.
        self.before: dict[str, Any] = {}
        #: Label → the accounts that had it when they went, the last one last.
        self.former: dict[str, list[int]] = {}

    def read(self) -> Truth:
        product = self.server.product
        people: dict[str, dict[str, Any]] = {}
        grants: dict[str, dict[Key, Held]] = {}
        memberships: dict[tuple[str, str], Held] = {}
        with self.server.superuser_cursor() as cursor:
            # After RENAME USER, what MariaDB shows from memory may differ from its tables.
            cursor.execute("FLUSH PRIVILEGES")
            cursor.execute(MARIADB_ACCOUNTS if product == "MariaDB" else MYSQL_ACCOUNTS)
            rows = [row for row in cursor.fetchall() if row[0] in USERS or row[0] in ROLES]
            grantors = _grantors(cursor)
            for name, is_role, locked, expired, changed, lifetime, plugin, limit in rows:
                label = label_of(name, is_role, product)
                held, roles = shown(cursor, product, name, bool(is_role))
                grants[label] = {
                    (kind, "", path, privilege): Held(
                        {"grantable": grantable}, grantors.get((name, kind, path), frozenset()),
                        ((kind, path, path),) if path else (), _database(kind, path),
                    )
                    for kind, path, privilege, grantable in held
                }  # fmt: skip
                for role, admin, default in roles:
                    options = {"admin_option": admin, "inherit": default, "set_option": True}
                    memberships[label, label_of(role, True, product)] = Held(options)
                is_superuser = any(kind == "system" and privilege == "SUPER" for kind, _, privilege, _ in held)
                people[label] = _attributes(
                    label, bool(is_role), is_superuser, bool(locked), bool(expired), changed, lifetime, plugin, limit
                )
        self._identify(people, grants, memberships)
        number = self.ids.__getitem__
        return Truth(
            {number(label): attributes for label, attributes in people.items()},
            {
                (number(label), kind, path, privilege, False): held
                for label, of in grants.items()
                for (kind, _, path, privilege), held in of.items()
            },
            {(number(member), number(role)): held for (member, role), held in memberships.items()},
            expired=frozenset(number(label) for label, of in people.items() if of["password_expired"]),
        )

    def _identify(
        self,
        people: dict[str, dict[str, Any]],
        grants: dict[str, dict[Key, Held]],
        memberships: dict[tuple[str, str], Held],
    ) -> None:
        """Give each account its number, and set `renamed_as` on those that were probably renamed."""
        now = {}
        for label, of in people.items():
            links = {
                ("role", role, *held.options.values())
                for (member, role), held in memberships.items()
                if member == label
            }
            links |= {
                ("member", member, *held.options.values())
                for (member, role), held in memberships.items()
                if role == label
            }
            rights = {(*key, held.options["grantable"]) for key, held in grants[label].items()}
            changed = of["password_changed_at"]
            now[label] = changed and (changed, of["auth_method"], of["kind"], frozenset(rights), frozenset(links))
        gone, new = self.before.keys() - now.keys(), now.keys() - self.before.keys()
        # An account that comes back is itself; it is not looked for among those that are gone.
        back = {label for label in new if self.former.get(label)}
        alike = [Counter(map(of.get, labels)) for of, labels in ((self.before, gone), (now, new - back))]
        renamed = {}
        for label in new - back:
            evidence = now[label]
            if evidence and alike[0][evidence] == alike[1][evidence] == 1:
                (renamed[label],) = (old for old in gone if self.before[old] == evidence)
        numbers = dict(self.ids)
        for old in gone - set(renamed.values()):
            self.former.setdefault(old, []).append(numbers[old])
        for old in gone:
            del self.ids[old]
        for label in new:
            if label in renamed:
                self.ids[label] = numbers[renamed[label]]
                people[label]["renamed_as"] = "probably_renamed"
            elif label in back:
                self.ids[label] = self.former[label].pop()
            else:
                self.count += 1
                self.ids[label] = self.count
        self.before = now


def _attributes(
    label: str, is_role: bool, is_superuser: bool, locked: bool, expired: bool, changed: Any, lifetime: Any, plugin: Any,
    limit: Any,
) -> dict[str, Any]:  # fmt: skip
    found: dict[str, Any] = {
        "label": label, "kind": "role" if is_role else "user", "can_login": not is_role, "is_superuser": is_superuser,
        "is_locked": False, "password_expired": None, "password_changed_at": None, "valid_until": None,
        "auth_method": "", "connection_limit": None,
    }  # fmt: skip
    if is_role:
        return found
    at = datetime.fromtimestamp(int(changed), UTC) if changed and int(changed) else None
    days = int(lifetime) if lifetime is not None and int(lifetime) > 0 else 0
    return found | {
        "is_locked": locked,
        "password_expired": expired,
        "password_changed_at": at and at.isoformat(),
        "valid_until": (at + timedelta(days=days)).isoformat() if at and days else None,
        "auth_method": plugin,
        "connection_limit": int(limit) if limit and int(limit) > 0 else None,
    }


def _grantors(cursor: Any) -> dict[tuple[str, str, str], frozenset[str]]:
    """(user, kind, path) → who granted."""
    found = {}
    cursor.execute("SELECT User, Db, Table_name, Grantor FROM mysql.tables_priv WHERE Table_priv <> ''")
    for user, database, table, grantor in cursor.fetchall():
        found[user, "table", dotted(database, table)] = frozenset({grantor})
    cursor.execute("SELECT User, Db, Routine_type, Routine_name, Grantor FROM mysql.procs_priv")
    for user, database, kind, routine, grantor in cursor.fetchall():
        found[user, "routine", dotted(database, kind.lower(), routine)] = frozenset({grantor})
    return found


def _database(kind: str, path: str) -> str:
    if kind in ("system", "proxy"):
        return ""
    first = path if kind == "database" else path.split(".")[0]
    name = path[1:-1] if first.startswith('"') and kind == "database" else first.strip('"')
    if path.startswith('"'):
        name = path[1 : path.index('"', 1)]
    return name.replace("\\_", "_")
