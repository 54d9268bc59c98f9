"""Decoding the grant tables of MySQL and MariaDB: pure functions, no connection.

https://dev.mysql.com/doc/refman/8.4/en/grant-tables.html
https://mariadb.com/kb/en/mysqlglobal_priv-table/
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from ..fact_set import GRANT_OPTION
from ..facts import AccountKey

#: MariaDB's privilege for each bit of `$.access` in mysql.global_priv. Bits 0 to 38 were found by granting each on a
#: 10.11 server; 11.3 added 39.
MARIADB_BITS = (
    "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "RELOAD", "SHUTDOWN", "PROCESS", "FILE",
    GRANT_OPTION, "REFERENCES", "INDEX", "ALTER", "SHOW DATABASES", "SUPER", "CREATE TEMPORARY TABLES",
    "LOCK TABLES", "EXECUTE", "REPLICATION SLAVE", "BINLOG MONITOR", "CREATE VIEW", "SHOW VIEW",
    "CREATE ROUTINE", "ALTER ROUTINE", "CREATE USER", "EVENT", "TRIGGER", "CREATE TABLESPACE",
    "DELETE HISTORY", "SET USER", "FEDERATED ADMIN", "CONNECTION ADMIN", "READ_ONLY ADMIN",
    "REPLICATION SLAVE ADMIN", "REPLICATION MASTER ADMIN", "BINLOG ADMIN", "BINLOG REPLAY", "SLAVE MONITOR",
    "SHOW CREATE ROUTINE",
)  # fmt: skip
_ALL_BITS = 2**64 - 1
_BIT = {name: 1 << number for number, name in enumerate(MARIADB_BITS)}


def _mask(*names: str) -> int:
    return sum(_BIT[name] for name in names)


_SPLIT_FROM_SUPER = _mask(
    "SET USER", "FEDERATED ADMIN", "CONNECTION ADMIN", "READ_ONLY ADMIN", "REPLICATION SLAVE ADMIN",
    "BINLOG ADMIN", "BINLOG REPLAY",
)  # fmt: skip
_SUPER_BEFORE_11 = _SPLIT_FROM_SUPER | _mask("BINLOG MONITOR", "REPLICATION MASTER ADMIN", "SLAVE MONITOR")

#: Names in *_priv columns and SETs that differ from those in GRANT.
_WORDS = {
    "GRANT": GRANT_OPTION,
    "SHOW DB": "SHOW DATABASES",
    "CREATE TMP TABLE": "CREATE TEMPORARY TABLES",
    "REPL SLAVE": "REPLICATION SLAVE",
    "REPL CLIENT": "REPLICATION CLIENT",
    "DELETE VERSIONING ROWS": "DELETE HISTORY",
}

#: Maximum length of the name of a database or routine, in characters.
NAME_LENGTH = 64
#: Lengths of mysql.procs_priv.Grantor (user@host): MySQL up to 8.0.16 and MariaDB up to 10.5, later MySQL and MariaDB.
GRANTOR_LENGTHS = frozenset({93, 141, 288, 384})

#: *_priv columns of mysql.db in all supported versions.
DB_COLUMNS = frozenset({
    "Select_priv", "Insert_priv", "Update_priv", "Delete_priv", "Create_priv", "Drop_priv", "Grant_priv",
    "References_priv", "Index_priv", "Alter_priv", "Create_tmp_table_priv", "Lock_tables_priv", "Create_view_priv",
    "Show_view_priv", "Create_routine_priv", "Alter_routine_priv", "Execute_priv", "Event_priv", "Trigger_priv",
})  # fmt: skip
#: The same for mysql.user.
USER_COLUMNS = DB_COLUMNS | {
    "Reload_priv", "Shutdown_priv", "Process_priv", "File_priv", "Show_db_priv", "Super_priv", "Repl_slave_priv",
    "Repl_client_priv", "Create_user_priv", "Create_tablespace_priv",
}  # fmt: skip


def quoted_account(name: str, host: str) -> str:
    """The account in the syntax of GRANT."""
    return "@".join("`" + part.replace("`", "``") + "`" for part in (name, host))


def privilege_name(stored: str, mariadb: bool) -> str:
    """The name in GRANT for a *_priv column ("Create_tmp_table_priv") or a SET member ("Show view")."""
    words = stored.removesuffix("_priv").replace("_", " ").upper()
    name = _WORDS.get(words, words)
    return "BINLOG MONITOR" if mariadb and name == "REPLICATION CLIENT" else name


@lru_cache(maxsize=1000)
def mariadb_access(access: int, row_version: int, server_version: int, known: int) -> frozenset[str]:
    """Privileges of `$.access` in a row written by version `row_version` (`$.version_id`) on a server of version
    `server_version` (100_500 = 10.5.0) that has the first `known` bits.

    Later versions split privileges off from SUPER and the REPLICATION privileges. For rows of older versions the server
    adds them in memory; the rows change only at the next GRANT.
    """
    if access == _ALL_BITS:
        return frozenset(MARIADB_BITS[:known])
    has_super = access & _BIT["SUPER"]
    replica = access & _BIT["REPLICATION SLAVE"]
    if row_version < 100_502:
        if has_super:
            access |= _SPLIT_FROM_SUPER | (_BIT["REPLICATION MASTER ADMIN"] if replica else 0)
        if replica or access & _BIT["BINLOG MONITOR"]:
            access |= _BIT["SLAVE MONITOR"]
    elif row_version < 100_509 and access & _BIT["REPLICATION SLAVE ADMIN"]:
        access |= _BIT["SLAVE MONITOR"]
    if has_super and row_version < 101_100 <= server_version:
        access |= _BIT["READ_ONLY ADMIN"]
    if has_super and row_version < 110_000 <= server_version:
        access |= _SUPER_BEFORE_11
    return frozenset(
        MARIADB_BITS[bit] if bit < len(MARIADB_BITS) else f"UNKNOWN BIT {bit}"
        for bit in range(access.bit_length())
        if access >> bit & 1
    )


def database_scope(stored: str, literal: bool) -> tuple[str, str]:
    r"""(database, pattern) of a name in mysql.db: `pattern` is a LIKE pattern in canonical form, `database` the plain
    name if the pattern matches one name only, else the pattern.

    The server matches these names as patterns (`_`, `%`, escape backslash): `shop_a` also matches shopXa, `shop\_a`
    does not. `literal` is True if all characters stand for themselves, because partial_revokes is ON.
    """
    if literal:
        return stored, "".join("\\" + character if character in "_%\\" else character for character in stored)
    pattern, plain, live = "", "", False
    characters = iter(stored)
    for character in characters:
        escaped = character == "\\"
        if escaped:
            character = next(characters, "\\")
        if character in "_%":
            live = live or not escaped
            pattern += "\\" + character if escaped else character
        else:
            pattern += "\\\\" if character == "\\" else character
        plain += character
    return (pattern if live else plain), pattern


def undoubled(stored: str, is_full: bool = False) -> tuple[str, bool]:
    """The decoded name of mysql.procs_priv, and whether it was encoded twice: the server encodes each byte of its UTF-8
    as a latin1 character again, "grÃ¶ÃŸe" for "größe". Any other name is returned unchanged. If the name fills its
    column (`is_full`), its last character may be truncated."""
    try:
        encoded = b"".join(map(_latin1, stored))
    except UnicodeError:
        return stored, False
    text = encoded.decode(errors="replace")
    if is_full:
        text = text.removesuffix("\ufffd")
    return (stored, False) if "\ufffd" in text or stored.isascii() else (text, True)


def _latin1(character: str) -> bytes:
    """The byte in MySQL's latin1: cp1252, with control characters for undefined bytes."""
    try:
        return character.encode("cp1252")
    except UnicodeEncodeError:
        return character.encode("latin1")


def routine_rows(rows: Iterable[Sequence[Any]], user_length: int) -> tuple[list[tuple[Any, ...]], int, set[str]]:
    """Rows of mysql.procs_priv with decoded names (User, Db, Routine_name, Grantor), the number of rows with a user,
    database or routine that was encoded twice, and the databases of omitted rows.

    The server truncates a name that, encoded twice, exceeds its column. Such rows are omitted; their database is "" if
    its own name is truncated. A truncated grantor is "".
    """
    decoded, n_doubled, cut = [], 0, set()
    for user, host, database, routine, kind, words, grantor in rows:
        if not grantor.isascii():
            is_full = len(grantor) in GRANTOR_LENGTHS
            grantor, is_doubled = undoubled(grantor, is_full)
            grantor = "" if is_full and is_doubled else grantor
        names = (user, database, routine)
        if not all(map(str.isascii, names)):
            lengths = (user_length, NAME_LENGTH, NAME_LENGTH)
            full = [len(name) >= length for name, length in zip(names, lengths, strict=True)]
            (user, *a), (database, *b), (routine, *c) = map(undoubled, names, full)
            doubled = (*a, *b, *c)
            n_doubled += any(doubled)
            short = [is_full and twice for is_full, twice in zip(full, doubled, strict=True)]
            if any(short):
                cut.add("" if short[1] else database)
                continue
        decoded.append((user, host, database, routine, kind, words, grantor))
    return decoded, n_doubled, cut


def restrictions(text: str | None) -> Iterable[tuple[str, str]]:
    """(database, privilege) of each partial revoke in `$.Restrictions` of mysql.user.User_attributes."""
    for entry in json.loads(text) if text else []:
        for privilege in entry["Privileges"]:
            yield entry["Database"], privilege.upper()


def role_names(text: str) -> list[AccountKey]:
    """The accounts in @@mandatory_roles: "r1,`r 2`@`%`,r3@localhost"; the host defaults to "%"."""
    return [
        (_unquote(found["name"]), _unquote(found["host"]) if found["host"] else "%") for found in _ROLE.finditer(text)
    ]


_NAME = r"`(?:[^`]|``)*`|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[^\s,@`'\"]+"
_ROLE = re.compile(rf"(?P<name>{_NAME})(?:\s*@\s*(?P<host>{_NAME}))?")


def _unquote(name: str) -> str:
    quote = name[0]
    return name[1:-1].replace(quote * 2, quote) if quote in "`'\"" else name


def yes_no(columns: Sequence[str], flags: str, mariadb: bool) -> set[str]:
    """The privileges of `columns` with a Y in `flags` ("YNNY…", one letter per column)."""
    return {privilege_name(column, mariadb) for column, flag in zip(columns, flags, strict=True) if flag == "Y"}


@lru_cache(maxsize=1000)
def set_members(text: str, mariadb: bool) -> frozenset[str]:
    """The privileges in a SET column: "Select,Show view,Grant"."""
    return frozenset(privilege_name(member, mariadb) for member in text.split(",") if member)


def held_globally(show_grants: Iterable[Sequence[str]]) -> set[str]:
    """The privileges on *.* in the rows of SHOW GRANTS, including those of active roles and of PUBLIC."""
    lines = [_GLOBAL_GRANT.match(text) for (text,) in show_grants]
    return {name.strip() for line in lines if line for name in line[1].split(",")}


_GLOBAL_GRANT = re.compile(r"GRANT (.+?) ON \*\.\* TO ", re.DOTALL)
