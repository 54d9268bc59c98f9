"""How MySQL and MariaDB combine grants."""

from __future__ import annotations

import re

from ..semantics import Semantics


def _specificity(product: str, pattern: str) -> tuple[int, ...]:
    """Specificity of a pattern of database names on the server; a pattern without wildcards is most specific.

    MySQL uses the position of the first wildcard. MariaDB (10.4 and later) uses the number of matching names: `_` is
    one character, `%` as many as the maximum length of a name leaves; among equals the pattern with the earlier
    wildcard wins. accounts/tests/test_access_mysql.py compares this with the choice of servers.
    """
    parts = _PATTERN.findall(pattern)
    wildcards = [place for place, part in enumerate(parts) if part[0] in "%_"]
    if not wildcards:
        return (1,)
    prefix = wildcards[0]
    if product != "MariaDB":
        return (0, len("".join(parts[:prefix])))
    ones = parts.count("_")
    many = len(wildcards) - ones
    room = _LONGEST_NAME - (len(parts) - many) if many else 0
    return (0, -room, 0, -many, -ones, -prefix) if room > ones else (0, -ones, 1, -room, -many, -prefix)


_PATTERN = re.compile(r"%+|\\.|.", re.DOTALL)


_LONGEST_NAME = 64


_OF_MYSQL_TABLES = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "GRANT OPTION", "REFERENCES", "INDEX", "ALTER"}
    | {"CREATE VIEW", "SHOW VIEW", "TRIGGER", "DELETE HISTORY"}
)


#: https://dev.mysql.com/doc/refman/8.4/en/request-access.html, and grant-tables.html for the possible privileges
MYSQL = Semantics(
    paths={"system": 0, "database": 1, "table": 2, "proxy": 2, "routine": 3, "column": 3},
    containers={
        "database": ("system",),
        "table": ("database", "system"),
        "routine": ("database", "system"),
        "column": ("table", "database", "system"),
    },
    patterns=_specificity,
    privileges={
        "database": _OF_MYSQL_TABLES
        | {"EVENT", "CREATE ROUTINE", "ALTER ROUTINE", "EXECUTE", "LOCK TABLES", "CREATE TEMPORARY TABLES"}
        | {"SHOW CREATE ROUTINE"},
        "table": _OF_MYSQL_TABLES,
        "routine": frozenset({"EXECUTE", "ALTER ROUTINE", "GRANT OPTION", "SHOW CREATE ROUTINE"}),
        "column": frozenset({"SELECT", "INSERT", "UPDATE", "REFERENCES"}),
        "proxy": frozenset({"PROXY"}),
    },
)
