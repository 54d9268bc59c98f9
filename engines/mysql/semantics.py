"""How MySQL and MariaDB combine grants."""

from __future__ import annotations

from ..semantics import Semantics

#: SQL of an array that is larger for the more specific of two patterns of database names; one without wildcards is most
#: specific. MySQL uses the position of the first wildcard. MariaDB (10.4 and later) uses the number of matching names:
#: `_` is one character, `%` as many as the maximum length of a name, 64, leaves; among equals the pattern with the
#: earlier wildcard wins.
_SPECIFICITY = r"""(
SELECT CASE WHEN ones + many = 0 THEN ARRAY[1]
            WHEN {product} <> 'MariaDB' THEN ARRAY[0, length(substring({pattern} FROM '^(?:\\.|[^%%_\\])*'))]
            WHEN room > ones THEN ARRAY[0, -room, 0, -many, -ones, -prefix]
            ELSE ARRAY[0, -ones, 1, -room, -many, -prefix] END
  FROM (SELECT *, CASE WHEN many > 0 THEN 64 - (size - many) ELSE 0 END AS room
          FROM (SELECT length(text) AS size, length(text) - length(replace(text, '_', '')) AS ones,
                       length(text) - length(replace(text, '%%', '')) AS many,
                       length(substring(text FROM '^[^%%_]*')) AS prefix
                  FROM (SELECT regexp_replace(regexp_replace({pattern}, '\\.', 'x', 'g'), '%%+', '%%', 'g') AS text) one
               ) counted) sized)"""


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
    patterns=_SPECIFICITY,
    powerful=frozenset({("system", "SUPER")}),
    columns={"table": "column"},
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
