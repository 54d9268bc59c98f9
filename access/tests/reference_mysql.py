"""What a MySQL or MariaDB server itself allows: every user logs in from several addresses and tries.

Imports nothing of the product. The server needs skip_name_resolve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, NamedTuple

import pymysql

Execute = Callable[[str], Any]

USERS = ("u0", "u'1")
ROLES = ("r0", "r 1", "r2")
#: The last one is no account: it can log in only as an anonymous one. A user may have the name of a role.
LOGINS = (*USERS, "r0", "nobody")
#: Clients on the local machine choose their own address among these.
CLIENTS = ("127.0.0.1", "127.0.0.2", "127.0.0.77", "127.0.1.1", "127.1.1.1")
HOSTS = ("%", "127.0.0.1", "127.0.0.2", "127.0.0.%", "127.0.0.0/255.255.255.0", "127.0.%", "127.0.0.0/24")
DATABASES = ("shop", "shop_x", "shopYx", "größe_x")
PATTERNS = ("shop", "shopYx", "shop%", "sho_", "shop_x", r"shop\_x", "%", "shop%x", "%x", "gr%", "größe_x", "größe_%")

#: Those whose first wildcard stands where that of another stands.
ALIKE = ("shop%", "shop_x", "shop%x", "größe_x", "größe_%")

#: Privilege, kind and object → a statement that needs this privilege only, and changes nothing.
TRIED: dict[tuple[str, str, str], str] = {
    ("PROCESS", "system", ""): "SHOW ENGINE InnoDB STATUS",
    ("FLUSH_USER_RESOURCES", "system", ""): "FLUSH USER_RESOURCES",
}
for _database in DATABASES:
    TRIED |= {
        ("SELECT", "table", f"{_database}.t"): f"SELECT b FROM `{_database}`.t LIMIT 0",
        ("INSERT", "table", f"{_database}.t"): f"INSERT INTO `{_database}`.t (b) SELECT 1 FROM dual WHERE false",
        ("DELETE", "table", f"{_database}.t"): f"DELETE FROM `{_database}`.t WHERE false",
        ("CREATE", "table", f"{_database}.t"): f"CREATE TABLE IF NOT EXISTS `{_database}`.t (a int)",
        ("SELECT", "column", f"{_database}.t.a"): f"SELECT a FROM `{_database}`.t LIMIT 0",
        ("UPDATE", "column", f"{_database}.t.a"): f"UPDATE `{_database}`.t SET a = 1 WHERE false",
        ("EXECUTE", "routine", f"{_database}.function.f"): f"SELECT `{_database}`.f()",
    }

#: Errors for databases, tables, columns, routines, and what is needed on *.*
DENIED = (1044, 1142, 1143, 1370, 1227)
#: Errors at login: access denied, no account for this host, locked account.
NO_LOGIN = (1045, 1130, 1698, 3118, 4151)
#: No such grant, account, role or default role; a role within itself. MariaDB's, then MySQL's.
REFUSED = (
    1141,
    1147,
    1269,
    1396,
    1403,
    1959,
    1960,
    1961,
    1962,
    1976,
    4027,
    3523,
    3524,
    3530,
    1133,
    3619,
    3876,
    3879,
    1410,
)


class Fact(NamedTuple):
    """Something that worked. `state` is "login" or the roles set, "NONE" or quoted as for SET ROLE."""

    account: str
    client: str
    state: str
    privilege: str
    kind: str
    object: str


def quoted(name: str, host: str | None = None) -> str:
    text = "`" + name.replace("`", "``") + "`"
    return text if host is None else f"{text}@`{host}`"


def prepare(execute: Execute) -> None:
    for database in DATABASES:
        execute(f"CREATE DATABASE `{database}`")
        execute(f"CREATE TABLE `{database}`.t (a int, b int)")
        execute(f"CREATE FUNCTION `{database}`.f() RETURNS int DETERMINISTIC NO SQL RETURN 1")


def run(execute: Execute, script: Iterable[str]) -> list[str]:
    """Execute what the server does not refuse, and return it."""
    done = []
    for statement in script:
        try:
            execute(statement)
        except pymysql.MySQLError as error:
            if error.args[0] not in REFUSED:
                raise type(error)(*error.args, statement) from error
        else:
            done.append(statement)
    return done


def trial(port: int) -> set[Fact]:
    """All that works, for every login from every address in every state of the session."""
    return {
        Fact(account, client, state, *what)
        for account, client, cursor in logins(port)
        for state in states(cursor)
        for what, sql in TRIED.items()
        if works(cursor, sql)
    }


def authenticated(port: int) -> set[str]:
    """The accounts as which somebody can log in."""
    return {account for account, _client, _cursor in logins(port)}


def logins(port: int, users: Iterable[str] = LOGINS) -> Iterator[tuple[str, str, Any]]:
    """Account, address and cursor of each login that the server allows."""
    for user in users:
        for client in CLIENTS:
            try:
                connection = pymysql.connect(
                    host="127.0.0.1",
                    port=port,
                    user=user,
                    bind_address=client,
                    charset="utf8mb4",
                    autocommit=True,
                    ssl_disabled=True,
                )
            except pymysql.MySQLError as error:
                if error.args[0] not in NO_LOGIN:
                    raise
                continue
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT CURRENT_USER()")
                ((account,),) = cursor.fetchall()
                yield account, client, cursor


def states(cursor: Any) -> Iterator[str]:
    """The session in each state that it can have; it is in this state while the caller uses it."""
    yield "login"
    if works(cursor, "SET ROLE NONE"):
        yield "NONE"
    cursor.execute("SELECT VERSION()")
    ((version,),) = cursor.fetchall()
    # Everybody may try every name, as a role. Users can be roles too, on MySQL.
    names = [quoted(name) for name in ROLES]
    if "MariaDB" not in version:
        names += [quoted(name, host) for name in (*USERS, "r0") for host in HOSTS]
    for name in names:
        if works(cursor, f"SET ROLE {name}", (1959, 3530, 1396, 1141, 4027)):
            yield name


def works(cursor: Any, sql: str, denied: tuple[int, ...] = DENIED) -> bool:
    try:
        cursor.execute(sql)
    except pymysql.MySQLError as error:
        if error.args[0] not in denied:
            raise type(error)(*error.args, sql) from error
        return False
    return True


def setup(random: Random, mariadb: bool, partial_revokes: bool = False) -> list[str]:
    """Statements of a random set-up; the server refuses some of them.

    Left out, because the grant tables do not record which of two rows counts: for one account on MySQL, patterns with
    the first wildcard at the same place; rows of a netmask besides those of another host that is no pattern, on tables
    and, on MariaDB, on databases.
    """
    # MariaDB knows no CIDR.
    hosts = [host for host in HOSTS if not (mariadb and host.endswith("/24"))]
    users = [(name, host) for name in USERS for host in random.sample(hosts, random.choice([1, 1, 2, 2, 3]))]
    if random.random() < 0.3:
        users += [("", host) for host in random.sample(hosts, random.choice([1, 1, 2]))]
    if random.random() < 0.2:
        users.append(("r0", "127.0.0.1"))
    accounts = [quoted(*user) for user in users]
    roles = [quoted(role) for role in ROLES]
    public = ["PUBLIC"] if mariadb else []
    alike = [random.choice(["shop%", "shop_x", "shop%x"]), random.choice(["größe_x", "größe_%"])]
    patterns = {
        who: PATTERNS if mariadb or who in roles else [one for one in PATTERNS if one not in ALIKE or one in alike]
        for who in [*accounts, *roles, *public]
    }

    def some(*privileges: str) -> str:
        return ", ".join(random.sample(privileges, random.choice([1, 1, 2])))

    def right(who: str) -> str:
        database = random.choice(DATABASES)
        kinds = ["system", *["database"] * 5, "table", "table", "column", "routine"]
        if "/" in who:
            kinds = kinds[: 1 if mariadb else 6]
        match random.choice(kinds):
            case "system":
                return some("SELECT", "DELETE", "PROCESS", "CREATE", "EXECUTE", "UPDATE") + " ON *.*"
            case "database":
                names = some("SELECT", "DELETE", "INSERT", "CREATE", "EXECUTE", "UPDATE")
                return f"{random.choice([names, names, names, 'ALL'])} ON `{random.choice(patterns[who])}`.*"
            case "table":
                return f"{some('SELECT', 'DELETE', 'INSERT', 'CREATE')} ON `{database}`.t"
            case "column":
                return f"{some('SELECT (a)', 'UPDATE (a)')} ON `{database}`.t"
        # The server loses grants on routines with other names at FLUSH PRIVILEGES.
        return f"EXECUTE ON FUNCTION `{random.choice([one for one in DATABASES if one.isascii()])}`.f"

    def grantee() -> str:
        return random.choice([random.choice(accounts), random.choice(accounts), random.choice(roles), *public])

    script = [f"CREATE USER {account}" for account in accounts] + [f"CREATE ROLE {role}" for role in roles]
    if mariadb:
        # After FLUSH PRIVILEGES, a role without any right takes the rights of roles that hold it away from PUBLIC (10.11).
        script += [f"GRANT TRIGGER ON `shop`.t TO {role}" for role in roles]
    for _ in range(random.randint(5, 22)):
        who = grantee()
        script.append(f"GRANT {right(who)} TO {who}{random.choice([' WITH GRANT OPTION', *[''] * 9])}")
        if random.random() < 0.1:
            script.append(f"REVOKE {right(who)} FROM {who}")
    if not mariadb and random.random() < 0.2:
        script.append(f"GRANT FLUSH_USER_RESOURCES ON *.* TO {grantee()}")
    for _ in range(random.randint(2, 6) if partial_revokes else 0):
        names, who = some("SELECT", "DELETE", "CREATE", "EXECUTE"), grantee()
        script.append(f"GRANT {names} ON *.* TO {who}")
        script.append(f"REVOKE {names} ON `{random.choice(DATABASES)}`.* FROM {who}")
    for _ in range(random.choice([0, 1, 3, 6])):
        member = random.choice([random.choice(accounts), random.choice(roles), *public])
        role = random.choice([*roles, random.choice(roles if mariadb else accounts)])
        script.append(f"GRANT {role} TO {member}")
        if random.random() < 0.5 and member in accounts:
            script.append(f"SET DEFAULT ROLE {role} {'FOR' if mariadb else 'TO'} {member}")
    if not mariadb and random.random() < 0.3:
        script.append(f"SET GLOBAL mandatory_roles = '{', '.join(random.sample(roles, random.choice([1, 1, 2])))}'")
    if not mariadb and random.random() < 0.15:
        script.append("SET GLOBAL activate_all_roles_on_login = ON")
    if random.random() < 0.2:
        script.append(f"ALTER USER {random.choice(accounts)} ACCOUNT LOCK")
    return [*script, "FLUSH PRIVILEGES"]


def reset_variables(mariadb: bool, partial_revokes: bool = False) -> list[str]:
    """To be set before the statements of a set-up, when the accounts of the last one are gone."""
    if mariadb:
        return []
    return [
        "SET GLOBAL mandatory_roles = ''",
        "SET GLOBAL activate_all_roles_on_login = OFF",
        f"SET GLOBAL partial_revokes = {'ON' if partial_revokes else 'OFF'}",
    ]
