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

#: The last column lists the oids of the grantors, as in `INSTANCE_GRANTS`.
MEMBERSHIPS = """
SELECT member, roleid, bool_or(admin_option), bool_or(inherit_option), bool_or(set_option),
       string_agg(grantor::text, ',' ORDER BY grantor)
  FROM pg_auth_members GROUP BY member, roleid
"""

#: Up to 15 the member's INHERIT attribute decides, and every member may SET ROLE. The stored grantor may be a role that
#: was dropped.
MEMBERSHIPS_WITHOUT_OPTIONS = """
SELECT m.member, m.roleid, m.admin_option, r.rolinherit, true, ''
  FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
"""

#: Here and below, `|| '{}'` decompresses a long ACL once; aclexplode() would decompress it again for each of its rows.
#: kind, name (empty for attributes), grantee, privilege, grantable, id of the object, oids of the grantors.
INSTANCE_GRANTS = """
SELECT 'attribute', ''::text, r.oid, a.privilege, false, '', ''
  FROM pg_roles r CROSS JOIN LATERAL (VALUES
       ('SUPERUSER', r.rolsuper), ('CREATEROLE', r.rolcreaterole), ('CREATEDB', r.rolcreatedb),
       ('REPLICATION', r.rolreplication), ('BYPASSRLS', r.rolbypassrls), ('LOGIN', r.rolcanlogin)
       ) a(privilege, held)
 WHERE a.held
UNION ALL
SELECT 'database', d.datname::text, a.grantee, a.privilege_type, bool_or(a.is_grantable), d.oid::text,
       string_agg(a.grantor::text, ',')
  FROM pg_database d CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba)) || '{}') a
 GROUP BY d.oid, d.datname, a.grantee, a.privilege_type
UNION ALL
SELECT 'database', datname::text, datdba, 'OWNER', false, oid::text, '' FROM pg_database
UNION ALL
SELECT 'tablespace', t.spcname::text, a.grantee, a.privilege_type, bool_or(a.is_grantable), t.oid::text,
       string_agg(a.grantor::text, ',')
  FROM pg_tablespace t CROSS JOIN LATERAL aclexplode(coalesce(t.spcacl, acldefault('t', t.spcowner)) || '{}') a
 GROUP BY t.oid, t.spcname, a.grantee, a.privilege_type
UNION ALL
SELECT 'tablespace', spcname::text, spcowner, 'OWNER', false, oid::text, '' FROM pg_tablespace
"""

#: Up to 15: a role that inherits nothing, not even as owner of a database. From 16 on, each membership has the option.
NOINHERIT = """
UNION ALL
SELECT 'attribute', ''::text, oid, 'NOINHERIT', false, '', '' FROM pg_roles WHERE NOT rolinherit
"""

PARAMETER_GRANTS = """
UNION ALL
SELECT 'parameter', p.parname, a.grantee, a.privilege_type, bool_or(a.is_grantable), '',
       string_agg(a.grantor::text, ',')
  FROM pg_parameter_acl p CROSS JOIN LATERAL aclexplode(p.paracl || '{}') a
 GROUP BY p.parname, a.grantee, a.privilege_type
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

#: Kind → columns: up to three names that are the path inside the database (a role as oid), owner, type for
#: acldefault(), ACL, catalogue and row (oid, column number) for pg_init_privs, id inside the database, and whether its
#: schema is the system's.
OBJECTS = {
    "schema": """
        SELECT nspname::text, NULL, NULL, nspowner, 'n'::"char", nspacl,
               'pg_namespace'::regclass, oid, 0, oid::text, system
          FROM namespaces
        """,
    "table": """
        SELECT n.nspname::text, c.relname::text, NULL, c.relowner, 'r'::"char", c.relacl,
               'pg_class'::regclass, c.oid, 0, c.oid::text, n.system
          FROM pg_class c JOIN namespaces n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
        """,
    "sequence": """
        SELECT n.nspname::text, c.relname::text, NULL, c.relowner, 's'::"char", c.relacl,
               'pg_class'::regclass, c.oid, 0, c.oid::text, n.system
          FROM pg_class c JOIN namespaces n ON n.oid = c.relnamespace
         WHERE c.relkind = 'S'
        """,
    "routine": """
        SELECT n.nspname::text, p.proname::text, oidvectortypes(p.proargtypes), p.proowner, 'f'::"char", p.proacl,
               'pg_proc'::regclass, p.oid, 0, p.oid::text, n.system
          FROM pg_proc p JOIN namespaces n ON n.oid = p.pronamespace
        """,
    # Array, row and multirange types have no privileges of their own.
    "type": """
        SELECT n.nspname::text, t.typname::text, NULL, t.typowner, 'T'::"char", t.typacl,
               'pg_type'::regclass, t.oid, 0, t.oid::text, n.system
          FROM pg_type t JOIN namespaces n ON n.oid = t.typnamespace
          LEFT JOIN pg_class c ON c.oid = t.typrelid
         WHERE (t.typtype IN ('b', 'd', 'e', 'r') OR c.relkind = 'c')
           AND t.oid NOT IN (SELECT typarray FROM pg_type)
        """,
    "language": """
        SELECT lanname::text, NULL, NULL, lanowner, 'l'::"char", lanacl,
               'pg_language'::regclass, oid, 0, oid::text, true
          FROM pg_language
        """,
    "foreign": """
        SELECT 'wrapper', fdwname::text, NULL, fdwowner, 'F'::"char", fdwacl,
               'pg_foreign_data_wrapper'::regclass, oid, 0, oid::text, false
          FROM pg_foreign_data_wrapper
        UNION ALL
        SELECT 'server', srvname::text, NULL, srvowner, 'S'::"char", srvacl,
               'pg_foreign_server'::regclass, oid, 0, oid::text, false
          FROM pg_foreign_server
        """,
    # The row goes and returns with another oid when its last grant does. So its id is what it is for.
    "default": """
        SELECT d.defaclrole::text, coalesce(n.nspname, '')::text, k.kind,
               NULL::oid, NULL::"char", d.defaclacl, 'pg_default_acl'::regclass, d.oid, 0,
               concat_ws('/', d.defaclrole, d.defaclnamespace, k.kind), false
          FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
         CROSS JOIN LATERAL (
               SELECT CASE d.defaclobjtype WHEN 'r' THEN 'table' WHEN 'S' THEN 'sequence'
                           WHEN 'f' THEN 'routine' WHEN 'T' THEN 'type' WHEN 'n' THEN 'schema'
                           WHEN 'L' THEN 'large_object' ELSE d.defaclobjtype::text END
               ) k(kind)
        """,
    "large_object": """
        SELECT oid::text, NULL, NULL, lomowner, 'L'::"char", lomacl,
               'pg_largeobject'::regclass, oid, 0, oid::text, false
          FROM pg_largeobject_metadata
        """,
    # A column has no ACL when it has lost all that initdb granted.
    "column": """
        SELECT n.nspname::text, c.relname::text, a.attname::text, NULL::oid, NULL::"char", a.attacl,
               'pg_class'::regclass, c.oid, a.attnum::int, concat_ws('/', c.oid, a.attnum), n.system
          FROM pg_attribute a
          JOIN pg_class c ON c.oid = a.attrelid JOIN namespaces n ON n.oid = c.relnamespace
         WHERE NOT a.attisdropped AND (a.attacl IS NOT NULL OR (a.attrelid, a.attnum) IN (
               SELECT objoid, objsubid FROM pg_init_privs WHERE classoid = 'pg_class'::regclass))
        """,
}

#: The owner of all that initdb creates.
BOOTSTRAP_SUPERUSER = 10

#: Objects with lower oids were created by initdb. https://www.postgresql.org/docs/current/system-catalog-initial-data.html
FIRST_ORDINARY_OID = 16384


def object_grants(kinds: Sequence[str]) -> str:
    """One statement for all grants of these `OBJECTS` kinds in the connected database.

    Rows: index into `kinds`, three names of the path (null where it has fewer), grantee, privilege, grantable, denied,
    id of the object, oids of the grantors; in the order of `kinds`, so that a limit cuts off the last kinds only. The
    schemas of temporary and TOAST tables are left out.

    Of built-in objects, which are those that initdb created in pg_catalog and information_schema and the languages,
    only deviations from what initdb granted appear: grants, and as denied what was revoked since. Their baseline is
    their row in pg_init_privs, else acldefault(). They appear without owner. Relations that all databases share have an
    ACL in each database.
    """
    objects = " UNION ALL ".join(
        f"SELECT {number}, o.* FROM ({OBJECTS[kind]}) o"  # noqa: S608 -- constants of this module
        for number, kind in enumerate(kinds)
    )
    return f"""
        WITH namespaces AS (
            SELECT oid, nspname, nspowner, nspacl, nspname IN ('pg_catalog', 'information_schema') AS system
              FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp)'
        ), found(kind, name1, name2, name3, owner, acltype, acl, classid, objid, subid, id, system) AS ({objects}
        ), objects AS (
            SELECT *, system AND objid < {FIRST_ORDINARY_OID} AS builtin FROM found
        )
        SELECT o.kind, o.name1, o.name2, o.name3, a.grantee, a.privilege_type, a.grantable, a.denied,
               (SELECT oid FROM pg_database WHERE datname = current_database()) || '/' || o.id, a.grantors
          FROM objects o
          LEFT JOIN pg_init_privs i
                 ON o.builtin AND i.classoid = o.classid AND i.objoid = o.objid AND i.objsubid = o.subid
         CROSS JOIN LATERAL (
               SELECT grantee, privilege_type, bool_or(is_grantable AND NOT shipped) AS grantable,
                      bool_and(shipped) AS denied,
                      coalesce(string_agg(grantor::text, ',') FILTER (WHERE NOT shipped), '') AS grantors
                 FROM (SELECT *, false AS shipped
                         FROM aclexplode(CASE WHEN o.acl IS NULL THEN acldefault(o.acltype, o.owner)
                                              ELSE o.acl || '{{}}' END)
                        UNION ALL
                       SELECT NULL, o.owner, 'OWNER', false, false WHERE o.owner IS NOT NULL AND NOT o.builtin
                        UNION ALL
                       SELECT *, true FROM aclexplode(CASE
                              WHEN NOT o.builtin THEN NULL
                              WHEN i.initprivs IS NOT NULL THEN i.initprivs
                              -- Not in pg_init_privs: initdb grants these relations to PUBLIC, except a few
                              WHEN o.name1 = 'information_schema' AND o.acltype IN ('n', 'r')
                                   AND coalesce(o.name2, '') !~ '^(_.*|sql_parts|transforms)$'
                              THEN acldefault(o.acltype, {BOOTSTRAP_SUPERUSER})
                                   || makeaclitem(0, {BOOTSTRAP_SUPERUSER},
                                                  CASE o.acltype WHEN 'n' THEN 'USAGE' ELSE 'SELECT' END, false)
                              ELSE acldefault(o.acltype, {BOOTSTRAP_SUPERUSER}) END)
                      ) entry
                GROUP BY grantee, privilege_type
               HAVING NOT bool_or(shipped) OR bool_and(shipped)
                   OR bool_or(is_grantable AND shipped) <> bool_or(is_grantable AND NOT shipped)
               ) a
         WHERE NOT o.builtin OR o.acl IS DISTINCT FROM i.initprivs OR o.owner <> {BOOTSTRAP_SUPERUSER}
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
