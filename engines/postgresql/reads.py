"""The reads of a visit to PostgreSQL. Any role that can log in may run them.

They read catalogues, not information_schema, which hides privileges that do not involve the reader. Grantees are oids
(0 = PUBLIC), because the name of a role may be decoded differently in another database. A null ACL means the defaults
of acldefault(), including those of PUBLIC. https://www.postgresql.org/docs/current/ddl-priv.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..facts import Capability
from ..reads import Read, read_only
from ..session import Rows, Session
from ..statements import Statement
from .account import STATS_ROLE, quoted, stats_grant
from .errors import function


@dataclass(frozen=True)
class Features:
    """Differences between versions: memberships have options (16), parameters have grants (15)."""

    has_options: bool
    has_parameters: bool


#: A datetime covers the years 1 to 9999. Other times, including infinity, are null; `expired` covers those in the past.
ACCOUNTS = """
SELECT oid, rolname, rolcanlogin, rolsuper, nullif(rolconnlimit, -1),
       CASE WHEN rolvaliduntil >= '0001-01-02 UTC' AND rolvaliduntil < '9999-12-31 UTC'
            THEN rolvaliduntil END,
       coalesce(rolvaliduntil < now(), false) AS expired,
       oid < 16384 AND starts_with(rolname::text, 'pg_') AS system
  FROM pg_roles
"""

#: From 16 on, each grantor's membership is a row, and the grantor is one who can still take it back.
MEMBERSHIPS = """
SELECT member, roleid, bool_or(admin_option), bool_or(inherit_option), bool_or(set_option), array_agg(grantor)
  FROM pg_auth_members GROUP BY member, roleid
"""

#: Up to 15 the member's INHERIT attribute decides, and every member may SET ROLE.
MEMBERSHIPS_WITHOUT_OPTIONS = """
SELECT m.member, m.roleid, m.admin_option, r.rolinherit, true, '{}'::oid[]
  FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
"""

#: kind, name (empty for attributes), grantee, privilege, grantable, object id and grantor (null for none).
INSTANCE_GRANTS = """
SELECT 'attribute', ''::text, r.oid, a.privilege, false, NULL::oid, NULL::oid
  FROM pg_roles r CROSS JOIN LATERAL (VALUES
       ('SUPERUSER', r.rolsuper), ('CREATEROLE', r.rolcreaterole), ('CREATEDB', r.rolcreatedb),
       ('REPLICATION', r.rolreplication), ('BYPASSRLS', r.rolbypassrls), ('LOGIN', r.rolcanlogin)
       ) a(privilege, held)
 WHERE a.held
UNION ALL
SELECT 'database', d.datname::text, a.grantee, a.privilege_type, a.is_grantable, d.oid, a.grantor
  FROM pg_database d CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
UNION ALL
SELECT 'database', datname::text, datdba, 'OWNER', false, oid, NULL FROM pg_database
UNION ALL
SELECT 'tablespace', t.spcname::text, a.grantee, a.privilege_type, a.is_grantable, t.oid, a.grantor
  FROM pg_tablespace t CROSS JOIN LATERAL aclexplode(coalesce(t.spcacl, acldefault('t', t.spcowner))) a
UNION ALL
SELECT 'tablespace', spcname::text, spcowner, 'OWNER', false, oid, NULL FROM pg_tablespace
"""

#: Up to 15: a role that inherits nothing, not even as owner of a database. From 16 on, each membership has the option.
NOINHERIT = """
UNION ALL
SELECT 'attribute', ''::text, oid, 'NOINHERIT', false, NULL, NULL FROM pg_roles WHERE NOT rolinherit
"""

PARAMETER_GRANTS = """
UNION ALL
SELECT 'parameter', p.parname, a.grantee, a.privilege_type, a.is_grantable, NULL, a.grantor
  FROM pg_parameter_acl p CROSS JOIN LATERAL aclexplode(p.paracl) a
"""

#: By oid, because a database may be dropped meanwhile. Rows: oid, size, whether the database exists; if it does and the
#: size is null, access is denied.
#: https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-DBSIZE
SIZES = """
SELECT oid, CASE WHEN has_database_privilege(oid, 'CONNECT') IS NULL THEN NULL
                 WHEN has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE')
                 THEN pg_database_size(oid) END,
       has_database_privilege(oid, 'CONNECT') IS NOT NULL
  FROM unnest(%(oids)s::oid[]) AS d(oid)
"""

#: Whether the role may read the size of tablespace t. Its own database's default tablespace is open to all.
_MAY_MEASURE = f"""(pg_has_role('{STATS_ROLE}', 'USAGE') OR has_tablespace_privilege(t.oid, 'CREATE')
        OR t.oid = (SELECT dattablespace FROM pg_database WHERE datname = current_database()))"""  # noqa: S608 -- a constant

TABLESPACES = "SELECT spcname FROM pg_tablespace ORDER BY spcname"

#: Of all or of one: size, and whether it may be read. One that may, and shows no size, has no folder that the server
#: can open.
#: https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-DBSIZE
TABLESPACE_SIZES = f"""
SELECT t.spcname, CASE WHEN {_MAY_MEASURE} THEN pg_tablespace_size(t.oid) END, {_MAY_MEASURE}
  FROM pg_tablespace t WHERE %(name)s::text IS NULL OR t.spcname = %(name)s ORDER BY t.spcname
"""  # noqa: S608 -- a constant

#: Kind → columns: path inside the database (a role in it as oid), owner, type for acldefault(), ACL, catalogue
#: and row (oid, column number) for pg_init_privs, whether the object is the system's own, and its id.
OBJECTS = {
    "schema": """
        SELECT ARRAY[nspname]::text[], nspowner, 'n'::"char", nspacl, 'pg_namespace'::regclass, oid, 0, system,
               oid::text
          FROM namespaces
        """,
    "table": """
        SELECT ARRAY[n.nspname, c.relname]::text[], c.relowner, 'r'::"char", c.relacl,
               'pg_class'::regclass, c.oid, 0, n.system, c.oid::text
          FROM pg_class c JOIN namespaces n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
        """,
    "sequence": """
        SELECT ARRAY[n.nspname, c.relname]::text[], c.relowner, 's'::"char", c.relacl,
               'pg_class'::regclass, c.oid, 0, n.system, c.oid::text
          FROM pg_class c JOIN namespaces n ON n.oid = c.relnamespace
         WHERE c.relkind = 'S'
        """,
    "routine": """
        SELECT ARRAY[n.nspname, p.proname, oidvectortypes(p.proargtypes)]::text[], p.proowner, 'f'::"char",
               p.proacl, 'pg_proc'::regclass, p.oid, 0, n.system, p.oid::text
          FROM pg_proc p JOIN namespaces n ON n.oid = p.pronamespace
        """,
    # Array, row and multirange types have no privileges of their own.
    "type": """
        SELECT ARRAY[n.nspname, t.typname]::text[], t.typowner, 'T'::"char", t.typacl,
               'pg_type'::regclass, t.oid, 0, n.system, t.oid::text
          FROM pg_type t JOIN namespaces n ON n.oid = t.typnamespace
          LEFT JOIN pg_class c ON c.oid = t.typrelid
         WHERE (t.typtype IN ('b', 'd', 'e', 'r') OR c.relkind = 'c')
           AND t.oid NOT IN (SELECT typarray FROM pg_type)
        """,
    "language": """
        SELECT ARRAY[lanname]::text[], lanowner, 'l'::"char", lanacl,
               'pg_language'::regclass, oid, 0, oid < 16384, oid::text
          FROM pg_language
        """,
    "foreign": """
        SELECT ARRAY['wrapper', fdwname]::text[], fdwowner, 'F'::"char", fdwacl,
               'pg_foreign_data_wrapper'::regclass, oid, 0, false, oid::text
          FROM pg_foreign_data_wrapper
        UNION ALL
        SELECT ARRAY['server', srvname]::text[], srvowner, 'S'::"char", srvacl,
               'pg_foreign_server'::regclass, oid, 0, false, oid::text
          FROM pg_foreign_server
        """,
    "default": """
        SELECT ARRAY[d.defaclrole::text, coalesce(n.nspname, ''),
                     CASE d.defaclobjtype WHEN 'r' THEN 'table' WHEN 'S' THEN 'sequence'
                          WHEN 'f' THEN 'routine' WHEN 'T' THEN 'type' WHEN 'n' THEN 'schema'
                          WHEN 'L' THEN 'large_object' ELSE d.defaclobjtype::text END]::text[],
               NULL::oid, NULL::"char", d.defaclacl, 'pg_default_acl'::regclass, d.oid, 0, false,
               concat_ws('/', d.defaclrole, d.defaclnamespace, d.defaclobjtype)
          FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
        """,
    "large_object": """
        SELECT ARRAY[oid::text], lomowner, 'L'::"char", lomacl, 'pg_largeobject'::regclass, oid, 0, false, oid::text
          FROM pg_largeobject_metadata
        """,
    "column": """
        SELECT ARRAY[n.nspname, c.relname, a.attname]::text[], NULL::oid, NULL::"char", a.attacl,
               'pg_class'::regclass, c.oid, a.attnum::int, n.system,
               concat_ws('/', c.oid, a.attnum)
          FROM pg_attribute a
          JOIN pg_class c ON c.oid = a.attrelid JOIN namespaces n ON n.oid = c.relnamespace
         WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
        """,
}


def object_grants(kinds: Sequence[str]) -> str:
    """One statement for all grants of these `OBJECTS` kinds in the connected database.

    Rows: index into `kinds`, path, grantee, privilege, grantable, id of the object with that of the database before it,
    grantor (null for OWNER), whether the right is taken away; in the order of `kinds`, so that a limit cuts off the
    last kinds only.

    Of a system object (pg_catalog, information_schema, built-in languages) only what differs from its baseline appears,
    never its owner: a right that was added, or one that it was shipped with and that was taken away. The baseline is
    its row in pg_init_privs, else acldefault(). The schemas of temporary and TOAST tables are left out.
    """
    objects = " UNION ALL ".join(
        f"SELECT {number}, o.* FROM ({OBJECTS[kind]}) o"  # noqa: S608 -- constants of this module
        for number, kind in enumerate(kinds)
    )
    return f"""
        WITH namespaces AS (
            SELECT oid, nspname, nspowner, nspacl, nspname IN ('pg_catalog', 'information_schema') AS system
              FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp)'
        ), objects(kind, path, owner, acltype, acl, classid, objid, subid, system, id) AS ({objects})
        SELECT o.kind, o.path, a.grantee, a.privilege, a.grantable,
               (SELECT oid FROM pg_database WHERE datname = current_database()) || '/' || o.id, a.grantor, a.denied
          FROM objects o
          LEFT JOIN pg_init_privs i
                 ON o.system AND i.classoid = o.classid AND i.objoid = o.objid AND i.objsubid = o.subid
         CROSS JOIN LATERAL (
               SELECT coalesce(o.acl, acldefault(o.acltype, o.owner)) AS acl,
                      CASE WHEN NOT o.system THEN NULL WHEN i.initprivs IS NOT NULL THEN i.initprivs
                           -- Not in pg_init_privs: initdb grants these to PUBLIC, except its helpers, named _pg_*
                           WHEN o.path[1] = 'information_schema' AND o.acltype IN ('n', 'r')
                                AND coalesce(o.path[2], '') !~ '^_'
                           THEN acldefault(o.acltype, o.owner) || makeaclitem(
                                0, o.owner, CASE o.acltype WHEN 'n' THEN 'USAGE' ELSE 'SELECT' END, false)
                           ELSE acldefault(o.acltype, o.owner) END AS baseline
               ) b
         CROSS JOIN LATERAL (
               SELECT n.grantee, n.privilege_type, n.is_grantable, n.grantor, false
                 FROM aclexplode(b.acl) n
                WHERE NOT o.system OR NOT EXISTS (
                      SELECT FROM aclexplode(b.baseline) s
                       WHERE s.grantee = n.grantee AND s.privilege_type = n.privilege_type
                         AND s.is_grantable >= n.is_grantable)
                UNION ALL
               SELECT s.grantee, s.privilege_type, false, s.grantor, true
                 FROM aclexplode(b.baseline) s
                WHERE NOT EXISTS (
                      SELECT FROM aclexplode(b.acl) n
                       WHERE n.grantee = s.grantee AND n.privilege_type = s.privilege_type)
                UNION ALL
               SELECT o.owner, 'OWNER', false, NULL, false WHERE o.owner IS NOT NULL AND NOT o.system
               ) a(grantee, privilege, grantable, grantor, denied)
         WHERE NOT o.system OR o.acl IS DISTINCT FROM i.initprivs
         ORDER BY o.kind
        """  # noqa: S608 -- constants of this module


def instance_grants(features: Features) -> str:
    parameters = PARAMETER_GRANTS if features.has_parameters else ""
    return INSTANCE_GRANTS + parameters + ("" if features.has_options else NOINHERIT)


#: Functions that measure; PUBLIC may execute them by default.
MEASURING = ("pg_database_size", "pg_tablespace_size")

#: The functions of MEASURING that the account may not execute, whether the role that permits reading sizes is usable,
#: whether the account is a member and inherits, and the databases and tablespaces that need it.
STATS = f"""
SELECT ARRAY(SELECT p.proname::text FROM pg_proc p
              WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY('{{{", ".join(MEASURING)}}}')
                AND p.proargtypes[0] = 'oid'::regtype
                AND NOT has_function_privilege(session_user, p.oid, 'EXECUTE') ORDER BY 1),
       pg_has_role(session_user, '{STATS_ROLE}', 'USAGE'), pg_has_role(session_user, '{STATS_ROLE}', 'MEMBER'),
       (SELECT rolinherit FROM pg_roles WHERE rolname = session_user),
       ARRAY(SELECT datname::text FROM pg_database
              WHERE NOT has_database_privilege(session_user, oid, 'CONNECT') ORDER BY datname),
       ARRAY(SELECT t.spcname::text FROM pg_tablespace t WHERE NOT {_MAY_MEASURE} ORDER BY t.spcname)
"""  # noqa: S608 -- a constant


def _sizes(session: Session, capability: Capability, rows: Rows | None) -> Iterable[Capability]:
    """Judge a row of `STATS`."""
    ((refused, works, is_member, inherits, databases, tablespaces),) = rows or [([], True, True, True, [], [])]
    if refused:
        functions = ", ".join(map(function, refused))
        missing = f"GRANT EXECUTE ON FUNCTION {functions} TO {quoted(session.account)};"
        yield replace(capability, works=False, message=f"may not execute {functions}", missing=missing)
    if works:
        if not refused:
            yield capability
        return
    closed = [*databases, *(f"tablespace {name}" for name in tablespaces)]
    message = (
        f"cannot read the size of {', '.join(closed)}" if closed else "works only because of CONNECT on each database"
    )
    grant = stats_grant(session.account)
    if session.features.has_options and (is_member or not inherits):
        missing = f"{grant.removesuffix(';')} WITH INHERIT TRUE;"
    else:
        missing = "" if is_member else grant
        if not inherits:
            missing = f"{missing} ALTER ROLE {quoted(session.account)} INHERIT;".strip()
    yield replace(capability, works=False, message=message, missing=missing)


def _stats_role(features: object, account: str, hash_blind: bool) -> list[Statement]:
    return [Statement(stats_grant(account), "sizes of databases on which it has no CONNECT, and of tablespaces")]


_OBJECTS_AT_B = tuple(kind for kind in OBJECTS if kind != "column")
_OBJECTS_AT_B_AND_C = {"B": _OBJECTS_AT_B, "C": (*_OBJECTS_AT_B, "column")}

#: One statement per instance each, except grants on objects: one statement per database, with or without columns.
READS = (
    read_only("SELECT current_setting('transaction_read_only')", "on"),
    Read("accounts", "users and roles", ACCOUNTS, ("accounts", "account fields"), required=True, sample=None),
    Read(
        "memberships",
        "memberships",
        lambda features: MEMBERSHIPS if features.has_options else MEMBERSHIPS_WITHOUT_OPTIONS,
        ("memberships",),
        required=True,
        sample=None,
    ),
    Read(
        "grants",
        "attributes, and grants on databases, tablespaces and parameters",
        instance_grants,
        ("attribute", "database", "tablespace", "parameter"),
        required=True,
        sample=None,
    ),
    *(
        Read(
            f"objects at {level}",
            "objects",
            object_grants(kinds),
            kinds,
            levels=level,
            limited=True,
            ordered=True,
            per_database=True,
        )
        for level, kinds in _OBJECTS_AT_B_AND_C.items()
    ),
    Read(
        "sizes",
        "sizes of all databases",
        SIZES,
        ("sizes", "shared", "tablespaces"),
        grants=_stats_role,
        probe=STATS,
        judge=_sizes,
        cost="Sizes of databases on which the account has no CONNECT, and of tablespaces on which it has no CREATE.",
    ),
)
