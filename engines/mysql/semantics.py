"""How MySQL and MariaDB combine grants."""

from __future__ import annotations

from ..semantics import Semantics

#: SQL of how specific a text with wildcards is, on MySQL and, for hosts, on MariaDB: 128 without a wildcard, else the
#: place of the first one plus 1, 1 for `%` alone, 0 for nothing.
HOST_WEIGHT = r"""(CASE WHEN {text} IN ('', '%%') THEN length({text})
 WHEN substring({text} FROM '^(?:\\.|[^%%_\\])*') = {text} THEN 128
 ELSE least(octet_length(substring({text} FROM '^(?:\\.|[^%%_\\])*')) + 2, 127) END)"""

#: SQL of an array that is larger for the more specific of two patterns of database names; one without wildcards is most
#: specific. MariaDB (10.4 and later) uses the number of matching names: `_` is one character, `%` as many as the
#: maximum length of a name, 64, leaves; among equals the pattern with the earlier wildcard wins.
PATTERN_WEIGHT = r"""(
SELECT CASE WHEN NOT {mariadb} THEN ARRAY[HOST_WEIGHT]
            WHEN ones + many = 0 THEN ARRAY[1]
            WHEN room > ones THEN ARRAY[0, -room, 0, -many, -ones, -prefix]
            ELSE ARRAY[0, -ones, 1, -room, -many, -prefix] END
  FROM (SELECT *, CASE WHEN many > 0 THEN 64 - (size - many) ELSE 0 END AS room
          FROM (SELECT length(text) AS size, length(text) - length(replace(text, '_', '')) AS ones,
                       length(text) - length(replace(text, '%%', '')) AS many,
                       length(substring(text FROM '^[^%%_]*')) AS prefix
                  FROM (SELECT regexp_replace(regexp_replace({pattern}, '\\.', 'x', 'g'), '%%+', '%%', 'g') AS text) one
               ) counted) sized)""".replace("HOST_WEIGHT", HOST_WEIGHT.replace("{text}", "{pattern}"))

_BYTE = r"(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
_IP = rf"{_BYTE}\.{_BYTE}\.{_BYTE}\.{_BYTE}"
_IS_IP, _IS_NETMASK, _IS_CIDR = (f"'^{one}$'" for one in (_IP, f"{_IP}/{_IP}", f"{_IP}/(3[0-2]|[12]?[0-9])"))
_NET, _MASK = "split_part({host}, '/', 1)::inet", "split_part({host}, '/', 2)::inet"

#: SQL of an array that is smaller for the host that MySQL or MariaDB tries first.
HOST_ORDER = (
    f"(CASE WHEN {{mariadb}} THEN ARRAY[-{HOST_WEIGHT}]::bigint[] WHEN {{host}} ~ {_IS_IP} THEN ARRAY[0, 0]::bigint[]\n"
    f" WHEN {{host}} ~ {_IS_CIDR} THEN ARRAY[1, -split_part({{host}}, '/', 2)::int]::bigint[]\n"
    f" WHEN {{host}} ~ {_IS_NETMASK} THEN ARRAY[2, '0.0.0.0'::inet - {_MASK}]::bigint[]\n"
    f" ELSE ARRAY[3, -{HOST_WEIGHT}]::bigint[] END)"
).replace("{text}", "{host}")

_LIKE_HOST = r"LIKE lower(replace({host}, '\', '\\'))"
#: SQL: a client with this address and host name fits the host of an account.
FITS = (
    f"(CASE WHEN {{host}} ~ {_IS_NETMASK} THEN {{ip}} ~ {_IS_IP} AND ({{ip}}::inet & {_MASK}) = {_NET}\n"
    f" WHEN {{host}} ~ {_IS_CIDR} THEN NOT {{mariadb}} AND {{ip}} ~ {_IS_IP} AND {{ip}}::inet <<= {{host}}::inet\n"
    f" ELSE {{host}} = '' OR lower({{ip}}) {_LIKE_HOST} OR lower({{name}}) {_LIKE_HOST} END)"
)

#: Query of `address`es of clients that fit a host, and hardly any other one, and whether each `is_name`. Of a pattern
#: there are three, because an account may have one of them as its host.
WITNESSES = (
    f"SELECT CASE WHEN {{host}} ~ '/255[.]255[.]255[.]255$|/32$' THEN split_part({{host}}, '/', 1)\n"
    f" WHEN {{host}} ~ {_IS_NETMASK} THEN host(({_NET} | ~ {_MASK}) - back)\n"
    f" WHEN {{host}} ~ {_IS_CIDR} THEN host(set_masklen(broadcast({{host}}::inet), 32) - back)\n"
    " WHEN {host} IN ('', '%%') THEN '203.0.113.' || byte\n"
    " WHEN {host} ~ '^[0-9.%%_]+$' THEN replace(replace(regexp_replace({host}, '%%', byte || repeat('.' || byte,\n"
    "  3 - length(regexp_replace({host}, '[^.]', '', 'g')))), '%%', byte), '_', right(byte, 1))\n"
    " ELSE replace(replace({host}, '%%', 'w' || byte), '_', right(byte, 1)) END AS address,\n"
    " {host} !~ '^[0-9.%%_/]*$|:' AS is_name FROM (VALUES ('254', 1), ('77', 2), ('139', 5)) f(byte, back)"
)


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
    patterns=True,
    powerful=frozenset({("system", "SUPER")}),
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
