"""What PostgreSQL itself answers: may this role do that? Imports nothing of the product."""

from __future__ import annotations

from typing import Any

ROLES = ("ada", 'b"o', "c.d", "Étienne", "e e")
SCHEMA = "s p"
#: Kind → the path of an object, how SQL names it, its privileges, and the question that the server answers.
OBJECTS: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "database": ("shop", "DATABASE shop", ("CONNECT", "CREATE", "TEMPORARY"), "has_database_privilege({}.oid, 'shop', p)"),
    "schema": ('shop."s p"', 'SCHEMA "s p"', ("USAGE", "CREATE"), "has_schema_privilege({}.oid, 's p', p)"),
    "public": ("shop.public", "SCHEMA public", ("USAGE", "CREATE"), "has_schema_privilege({}.oid, 'public', p)"),
    "table": (
        'shop."s p"."T.1"',
        '"s p"."T.1"',
        ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"),
        "has_table_privilege({}.oid, '\"s p\".\"T.1\"', p)",
    ),
    "column": (
        'shop."s p"."T.1".a',
        '"s p"."T.1"',
        ("SELECT", "INSERT", "UPDATE", "REFERENCES"),
        "has_column_privilege({}.oid, '\"s p\".\"T.1\"', 'a', p)",
    ),
    "sequence": ('shop."s p".q', 'SEQUENCE "s p".q', ("USAGE", "SELECT", "UPDATE"), "has_sequence_privilege({}.oid, '\"s p\".q', p)"),
    "routine": ('shop."s p".f(integer, text)', 'FUNCTION "s p".f(int, text)', ("EXECUTE",), "has_function_privilege({}.oid, '\"s p\".f(int, text)', p)"),
}  # fmt: skip
OWNED = ("DATABASE shop", 'SCHEMA "s p"', 'TABLE "s p"."T.1"', 'SEQUENCE "s p".q', 'FUNCTION "s p".f(int, text)')
CREATE = """
CREATE SCHEMA "s p"; CREATE TABLE "s p"."T.1" (a int, b int); CREATE SEQUENCE "s p".q;
CREATE FUNCTION "s p".f(int, text) RETURNS int LANGUAGE sql AS 'SELECT 1';
"""


#: What a session needs besides, to use a privilege on a kind of object.
CONNECT = "has_database_privilege(r.oid, 'shop', 'CONNECT')"
USAGE = "has_schema_privilege({}.oid, 's p', 'USAGE')"
IN_SCHEMA = ("table", "column", "sequence", "routine")


def allowed(cursor: Any) -> dict[tuple[str, str, str], tuple[bool, ...]]:
    """(role, kind of object or other role, privilege) → the server's own answer.

    `cursor` is a superuser's in the database shop. Of an object: whether the role has the privilege at login, whether
    it or a role that it may switch to has it, and whether it can use it. Of other roles: USAGE, to have their
    privileges at once, and SET, to switch to them (before version 16 every member may).
    """
    mine = ", ".join(f"'{role}'" for role in ROLES)
    switch = "SET" if cursor.connection.server_version >= 160000 else "MEMBER"
    answers: dict[tuple[str, str, str], tuple[bool, ...]] = {}
    for kind, (_, _, privileges, question) in OBJECTS.items():
        as_role, as_other = question.format("r"), question.format("o")
        usage = USAGE.format("o") if kind in IN_SCHEMA else "true"
        cursor.execute(
            f"SELECT r.rolname, p, {as_role}, {as_role} OR bool_or({as_other}),"
            # To connect, too: a session needs it to begin.
            f" r.rolcanlogin AND coalesce(r.rolvaliduntil > now(), true) AND {CONNECT}"
            f" AND bool_or({as_other} AND {usage})\n"
            f"  FROM pg_roles r CROSS JOIN unnest(%s) p JOIN pg_roles o ON o.oid = r.oid OR pg_has_role(r.oid, o.oid, '{switch}')"
            f" WHERE r.rolname IN ({mine}) GROUP BY r.oid, r.rolname, r.rolcanlogin, r.rolvaliduntil, p",
            [list(privileges)],
        )
        answers |= {(role, kind, privilege): tuple(may) for role, privilege, *may in cursor.fetchall()}
    # To the server, a superuser is a member of every role.
    cursor.execute(
        f"SELECT r.rolname, o.rolname, pg_has_role(r.oid, o.oid, 'USAGE'), pg_has_role(r.oid, o.oid, '{switch}')"
        f"  FROM pg_roles r, pg_roles o"
        f" WHERE r.rolname IN ({mine}) AND o.rolname IN ({mine}) AND r.oid <> o.oid AND NOT r.rolsuper"
    )
    for role, other, usage, may_switch in cursor.fetchall():
        answers |= {(role, other, "USAGE"): (usage,), (role, other, "SET"): (may_switch,)}
    return answers
