"""What a MySQL or MariaDB server itself allows: every user logs in and tries. Imports nothing of the product."""

from __future__ import annotations

import pymysql

USERS = ("u0", "u1", "u'2")
ROLES = ("r0", "r 1", "r2")
DATABASES = ("shop", "shop_x", "shopYx")
TRIED = {"SELECT": "SELECT 1 FROM `{}`.t", "DELETE": "DELETE FROM `{}`.t"}
PASSWORD = "not a secret"
#: ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR
DENIED = (1044, 1142)

CREATE = [
    *(f"CREATE DATABASE `{name}`" for name in DATABASES),
    *(f"CREATE TABLE `{name}`.t (a int)" for name in DATABASES),
    *("CREATE USER '{}'@'%' IDENTIFIED BY '{}'".format(name.replace("'", "''"), PASSWORD) for name in USERS),
    *(f"CREATE ROLE `{name}`" for name in ROLES),
]


def allowed(port: int) -> set[tuple[str, str, str]]:
    """(user, privilege, database) of all that works when tried on the table t, right after login."""
    return {(user, *what) for user in USERS for what in _allowed(port, user)}


def _allowed(port: int, user: str) -> list[tuple[str, str]]:
    works = []
    connection = pymysql.connect(host="127.0.0.1", port=port, user=user, password=PASSWORD)
    with connection, connection.cursor() as cursor:
        for privilege, sql in TRIED.items():
            for database in DATABASES:
                try:
                    cursor.execute(sql.format(database))
                except pymysql.MySQLError as error:
                    if error.args[0] not in DENIED:
                        raise
                else:
                    works.append((privilege, database))
    return works
