"""SQL that creates, locks and revokes accounts on PostgreSQL. People run it; Taifish never does."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from ..facts import AccountKey
from ..paths import arguments_of, segments, split_path
from ..statements import (
    PASSWORD,
    ROLE_LEFT,
    WORDS,
    Held,
    Remedy,
    Statement,
    Subject,
    add_statement,
    is_printable,
    no_statement,
)

STATS_ROLE = "pg_read_all_stats"


def connect_grant(database: str, role: str) -> str:
    return f"GRANT CONNECT ON DATABASE {quoted(database)} TO {quoted(role)};"


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as an SQL string, for both values of standard_conforming_strings."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def connect_to(database: str) -> str:
    """psql's command that changes the database and keeps server and user, in the form that pg_dump writes. A plain name
    could be a connection string to another server."""
    value = database.replace("\\", "\\\\").replace("'", "\\'")
    connection = quoted(f"dbname='{value}'")
    return f"\\connect -reuse-previous=on {connection}"


def inside(sql: str, database: str) -> str:
    """`sql` for psql, preceded by a switch to the database."""
    return f"{connect_to(database)}\n{sql}"


def stats_grant(role: str) -> str:
    return f"GRANT {STATS_ROLE} TO {quoted(role)};"


def grantee(account: AccountKey) -> str:
    """The account name without quotes, which `Read.grants` adds."""
    return account[0]


def create(account: AccountKey, features: object = None) -> list[Statement]:
    return [Statement(f"CREATE ROLE {quoted(account[0])} LOGIN PASSWORD {PASSWORD};", "the account; enter a password")]


def remarks(level: str, product: str = "", hash_blind: bool = False) -> list[str]:
    """Sentences for the person who runs the script, about its limits."""
    sentences = []
    if level != "A":
        sentences.append(
            f"Depth {level} also needs CONNECT on each database. PUBLIC has it by default. Where it was revoked, run"
            " GRANT CONNECT ON DATABASE … to this account."
        )
    if hash_blind:
        sentences.append("PostgreSQL shows password hashes to superusers only, so nothing else needs to be denied.")
    return sentences


def nameless(subject: Subject) -> str:
    """How to find an account with a name that cannot be used in SQL."""
    return f"Its oid in pg_roles is {int(subject.native_id or 0)}: rename it there."


def lock(subject: Subject) -> list[str]:
    return [f"ALTER ROLE {quoted(subject.name)} NOLOGIN;"]


DEPENDENT = "If the account has granted a right or a role to others, CASCADE takes it away from them too."


OTHER_GRANTORS = (
    "If the last SELECT of a database lists rights, roles granted them that no visit has recorded, or to which you may"
    " not SET ROLE: find the grantor with \\dp, SET ROLE to it, and run the REVOKE again."
)


OWNER = (
    "The account owns objects, and an owner can grant rights to itself again. The last SELECT of each database lists"
    " the objects: give each a new owner with ALTER … OWNER TO."
)


#: Object of `ALTER DEFAULT PRIVILEGES`, by kind.
_DEFAULTS = {
    "table": "TABLES",
    "sequence": "SEQUENCES",
    "routine": "ROUTINES",
    "type": "TYPES",
    "schema": "SCHEMAS",
    "large_object": "LARGE OBJECTS",
}


_FOREIGN = {"wrapper": "FOREIGN DATA WRAPPER", "server": "FOREIGN SERVER"}


#: Argument types in the format of format_type(): words, quoted names, array brackets.
_ARGUMENTS = re.compile(r'\((?:[\w ,.\[\]]|"(?:[^"]|"")*")*\)')


def revoke(subject: Subject, grants: Sequence[Held], roles: Sequence[AccountKey]) -> Remedy:
    public = subject.kind == "public"
    role = "PUBLIC" if public else quoted(subject.name)
    statements: list[str] = []
    by_hand: list[str] = []
    for name, _ in roles:
        add_statement(statements, by_hand, f"REVOKE {quoted(name)} FROM {role} CASCADE;", ROLE_LEFT)
    if roles:
        by_hand.append(DEPENDENT)
        statements.append(_OTHER_MEMBERSHIPS.format(role=literal(subject.name)))
    inside: dict[str, list[str]] = {}
    by_others: dict[str, dict[str, list[str]]] = {}
    for grant in grants:
        # A denied grant is a shipped right that was taken away already.
        if grant.denied or (grant.kind, grant.privilege) == ("attribute", "NOINHERIT"):
            continue
        place = "" if grant.kind in _SHARED else grant.database
        lines = inside.setdefault(place, [])
        if grant.privilege == "OWNER":
            by_hand.append(OWNER)
            continue
        statement = _statement(grant, role)
        add_statement(lines, by_hand, statement, no_statement(grant))
        for grantor in grant.grantors:
            if is_printable(statement):
                by_others.setdefault(place, {}).setdefault(grantor, []).append(statement)
        if grant.grantable:
            by_hand.append(DEPENDENT)
    for database, lines in sorted(inside.items()):
        if not is_printable(database):
            by_hand += [no_statement(grant) for grant in grants if grant.database == database]
            continue
        if database:
            statements.append(connect_to(database))
        statements += lines
        for grantor, revokes in sorted(by_others.get(database, {}).items()):
            # REVOKE accepts GRANTED BY for the current role only.
            if is_printable(grantor):
                statements += [f"SET ROLE {quoted(grantor)};", *revokes, "RESET ROLE;"]
        if not public and (database or len(inside) == 1):
            statements.append(_LEFT.format(role=literal(subject.name)))
            by_hand.append(OTHER_GRANTORS)
    return Remedy(statements, by_hand)


_SHARED = frozenset({"attribute", "database", "tablespace", "parameter"})


#: From 16 on, each grantor's membership is separate. The server quotes the names, and psql runs the result.
_OTHER_MEMBERSHIPS = (
    "SELECT format('REVOKE %I FROM %I GRANTED BY %I CASCADE', r.rolname, m.rolname, g.rolname) FROM pg_auth_members a"
    " JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.grantor"
    " WHERE m.rolname = {role} \\gexec"
)


#: The rights that an account still has in the database, by any grantor.
_LEFT = (
    "SELECT CASE d.deptype WHEN 'o' THEN 'owner of' ELSE 'rights on' END AS left,"
    " pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid"
    " WHERE d.refclassid = 'pg_authid'::regclass AND r.rolname = {role} AND d.deptype IN ('a', 'o')"
    " AND d.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()));"
)


def _statement(grant: Held, role: str) -> str:
    """ "" if there is none."""
    if grant.kind == "attribute" and WORDS.fullmatch(grant.privilege):
        return f"ALTER ROLE {role} NO{grant.privilege};"
    revoked = _revoked(grant)
    # It is refused where the account has granted the right to others.
    return revoked and f"{revoked} FROM {role}{' CASCADE' if grant.grantable else ''};"


NEW_USERS = "New users have no password. Set one with ALTER ROLE, unless they log in by another method."


def exists(subject: Subject, give: bool) -> str:
    """The statement that creates an account; one that is extra is locked, not dropped."""
    if give:
        return f"CREATE ROLE {quoted(subject.name)} {'LOGIN' if subject.kind == 'user' else 'NOLOGIN'};"
    return "".join(lock(subject)) if subject.kind == "user" else ""


def member(subject: Subject, role: AccountKey, options: Collection[str], give: bool, grantor: str = "") -> str:
    """The statement that makes the account a member of a role with these options, or ends that.

    From 16 on, each grantor's membership is separate, and the default of INHERIT is the member's attribute. Before, the
    attribute decides, a membership has no other option than ADMIN, and the grantor does not matter.
    """
    is_old = () < subject.version < (16,)
    names = quoted(role[0]), quoted(subject.name)
    if not give:
        by = f" GRANTED BY {quoted(grantor)}" if grantor and not is_old else ""
        return f"REVOKE {names[0]} FROM {names[1]}{by};"
    if is_old:
        ending = " WITH ADMIN OPTION" if "admin" in options else ""
        return "" if "noset" in options else f"GRANT {names[0]} TO {names[1]}{ending};"
    words = {"admin": "ADMIN TRUE", "noinherit": "INHERIT FALSE", "noset": "SET FALSE"}
    given = [words[option] for option in options]
    if "noinherit" not in options:
        given.append("INHERIT TRUE")
    return f"GRANT {names[0]} TO {names[1]} WITH {', '.join(given)};"


def as_grantor(statement: str, grantor: str) -> list[str]:
    """REVOKE accepts GRANTED BY for the current role only."""
    return [f"SET ROLE {quoted(grantor)};", statement, "RESET ROLE;"]


def change(subject: Subject, grant: Held, give: bool, only_option: bool = False) -> str:
    """The statement that grants or revokes one right, or `only_option` its grant option; "" if there is none."""
    role = "PUBLIC" if subject.kind == "public" else quoted(subject.name)
    if not WORDS.fullmatch(grant.privilege) or grant.privilege == "OWNER":
        return ""
    if grant.kind == "attribute":
        if grant.privilege == "NOINHERIT":
            give, grant = not give, grant._replace(privilege="INHERIT")
        return f"ALTER ROLE {role} {'' if give else 'NO'}{grant.privilege};"
    # A denied grant is a shipped right that was taken away.
    if give != grant.denied:
        stated = _stated(grant, "GRANT")
        return stated and f"{stated} TO {role}{' WITH GRANT OPTION' if grant.grantable else ''};"
    stated = _stated(grant, "REVOKE GRANT OPTION FOR" if only_option else "REVOKE")
    return stated and f"{stated} FROM {role};"


def _revoked(grant: Held) -> str:
    """The REVOKE up to its FROM."""
    return _stated(grant, "REVOKE")


def _stated(grant: Held, verb: str) -> str:
    """The statement up to its FROM or TO."""
    if not WORDS.fullmatch(grant.privilege):
        return ""
    revoke = f"{verb} {grant.privilege}"
    if grant.kind == "parameter":
        # The server stores the name with dots and without quotes.
        return f"{revoke} ON PARAMETER {'.'.join(map(quoted, '.'.join(split_path(grant.scope)).split('.')))}"
    names = split_path(grant.scope)
    if grant.kind in ("database", "tablespace"):
        return f"{revoke} ON {grant.kind.upper()} {quoted(names[0])}"
    path = [quoted(name) for name in names[1:]]
    if grant.kind == "column":
        *table, column = path
        return f"{revoke} ({column}) ON TABLE {'.'.join(table)}"
    if grant.kind == "routine":
        arguments = arguments_of(segments(grant.scope)[-1])
        return f"{revoke} ON ROUTINE {'.'.join(path)}{arguments}" if _ARGUMENTS.fullmatch(arguments) else ""
    if grant.kind == "default":
        creator, schema, kind = names[1:]
        within = f" IN SCHEMA {quoted(schema)}" if schema else ""
        objects = _DEFAULTS.get(kind, "")
        return objects and f"ALTER DEFAULT PRIVILEGES FOR ROLE {quoted(creator)}{within} {revoke} ON {objects}"
    if grant.kind == "large_object":
        return f"{revoke} ON LARGE OBJECT {int(names[1])}"
    if grant.kind == "foreign":
        return f"{revoke} ON {_FOREIGN[names[1]]} {path[1]}"
    return f"{revoke} ON {grant.kind.upper()} {'.'.join(path)}"
