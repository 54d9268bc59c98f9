"""Grants and memberships from SHOW GRANTS of MySQL and MariaDB. Imports nothing from the product."""

from __future__ import annotations

import re
from typing import Any

NAME = r"`(?:[^`]|``)*`"
#: Roles of MySQL have a host, those of MariaDB have none.
ROLE = rf"{NAME}(?:@`%`)?"


def unquoted(name: str) -> str:
    return name[1:-1].replace("``", "`")


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def path_of(*parts: str) -> str:
    """Parts separated by dots; a part with a dot, a quote, a parenthesis or a blank is in double quotes."""
    return ".".join('"' + part.replace('"', '""') + '"' if re.search(r'[\s."()]', part) else part for part in parts)


def shown(cursor: Any, product: str, name: str, is_role: bool) -> tuple[set[Any], set[Any]]:
    """Grants (kind, path, privilege, grantable) and memberships (role, admin option, default) of a user@% or a role.

    A role that a role holds is active with it, so it counts as default.
    """
    grantee = quoted(name) if is_role and product == "MariaDB" else f"{quoted(name)}@`%`"
    grants: set[Any] = set()
    roles: dict[str, bool] = {}
    default: set[str] = set()
    if product == "MySQL":
        cursor.execute("SELECT DEFAULT_ROLE_USER FROM mysql.default_roles WHERE HOST = '%%' AND USER = %s", [name])
        default = {role for (role,) in cursor.fetchall()}
    cursor.execute("SHOW GRANTS FOR " + grantee)
    for (line,) in cursor.fetchall():
        # MariaDB before 10.11.19 quotes these names differently, and escapes nothing.
        if found := re.fullmatch(r"GRANT PROXY ON '(.*)'@'(.*)' TO '.*'@'.*?'( WITH GRANT OPTION)?", line):
            grants.add(("proxy", path_of(found[1], found[2]), "PROXY", bool(found[3])))
            continue
        if found := re.fullmatch(rf"SET DEFAULT ROLE ({NAME}) FOR {re.escape(grantee)}", line):
            default.add(unquoted(found[1]))
            continue
        found = re.fullmatch(
            rf"GRANT (.+) TO {re.escape(grantee)}(?: IDENTIFIED .*?)?( WITH (?:GRANT|ADMIN) OPTION)?"
            r"(?:(?: WITH)? MAX_USER_CONNECTIONS \d+)?",
            line,
        )
        if not found:  # of a role that this one holds
            continue
        what, passed_on = found[1], bool(found[2])
        if re.fullmatch(rf"{ROLE}(?:,{ROLE})*", what):
            roles |= dict.fromkeys((unquoted(role) for role in re.findall(rf"({NAME})(?:@`%`)?", what)), passed_on)
        elif found := re.fullmatch(rf"PROXY ON ({NAME})@({NAME})", what):
            grants.add(("proxy", path_of(unquoted(found[1]), unquoted(found[2])), "PROXY", passed_on))
        else:
            grants |= shown_on(what, passed_on)
    return grants, {(role, admin, role in default or is_role) for role, admin in roles.items()}


def shown_on(what: str, passed_on: bool) -> set[Any]:
    found = re.fullmatch(rf"(.+) ON (?:(\*\.\*)|(PROCEDURE |FUNCTION )?({NAME})\.(\*|{NAME}))", what)
    assert found, what
    words, everything, routine, database, thing = found.groups()
    if everything:
        kind, path = "system", ""
    elif thing == "*":
        kind, path = "database", path_of(unquoted(database))
    elif routine:
        kind, path = "routine", path_of(unquoted(database), routine.strip().lower(), unquoted(thing))
    else:
        kind, path = "table", path_of(unquoted(database), unquoted(thing))
    grants: set[Any] = set()
    own = set()
    for word, columns in re.findall(rf"([A-Z][A-Z_ ]*[A-Z])(?: \(({NAME}(?:, {NAME})*)\))?", words):
        if columns:
            for column in re.findall(NAME, columns):
                grants.add(("column", f"{path}.{path_of(unquoted(column))}", word, passed_on))
        elif word != "USAGE":
            own.add((kind, path, word, passed_on))
    if passed_on and not own:
        own.add((kind, path, "GRANT OPTION", True))
    return grants | own
