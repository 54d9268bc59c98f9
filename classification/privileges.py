"""Compile the words about roles and privileges into sets of accounts.

The paths are those of `access.ways`: a walk goes from the holders of a privilege down to the members of roles. While
each step inherits, the next may inherit or allow SET ROLE; after a step that does not inherit, each must allow SET
ROLE.
"""

from __future__ import annotations

import fnmatch

from engines.paths import name_of, segments
from engines.registry import ENGINES
from engines.semantics import Semantics

from .pieces import Pieces
from .rules import Term, has_wildcards


class Privileges(Pieces):
    """`grants` maps each word about privileges to the CTE of its grants."""

    def __init__(self, is_past: bool) -> None:
        super().__init__(is_past)
        self.grants: dict[Term, str] = {}

    def _members(self, term: Term) -> str:
        """Return SQL: the account is a member of a role with a matching name."""
        if not self.is_past and not term.options.get("direct"):
            admin = " AND r.is_admin" if term.options.get("admin") else ""
            return self._set(
                "SELECT DISTINCT r.member_id AS id FROM accounts_rolereach r\n"
                "  JOIN accounts_account x ON x.id = r.role_id\n"
                f" WHERE x.instance_id = ANY(%(instances)s::bigint[]) AND {self._like_any('x.name', term.texts)}{admin}"
            )
        admin = " AND m.admin_option" if term.options.get("admin") else ""
        first = (
            "SELECT m.member_id, m.role_id FROM accounts_membership m JOIN accounts_account r ON r.id = m.role_id\n"
            f" WHERE {self._holding('m')}{admin} AND r.instance_id = ANY(%(instances)s::bigint[])"
            f" AND {self._like_any('r.name', term.texts)}"
        )
        reach = self._cte(
            first
            if term.options.get("direct")
            else f"{first}\n UNION SELECT m.member_id, w.role_id FROM {{self}} w\n"
            f"  JOIN accounts_membership m ON m.role_id = w.member_id WHERE {self._holding('m')}",
            "(member_id, role_id)",
        )
        return self._set(f"SELECT DISTINCT member_id AS id FROM {reach} WHERE member_id <> role_id")

    def _holds(self, key: Term, term: Term, since: str = "") -> str:
        """Return SQL: the account has the privilege, by grants and memberships that have lasted since then."""
        needed = {name: self._needed(term, engine.semantics) for name, engine in ENGINES.items()}
        held = self._cte(self._matching(term, since, needed))
        if not since:
            self.grants[key] = held
        if term.options.get("direct"):
            found = self._set(f"SELECT DISTINCT account_id AS id FROM {held}")
            return self._known(found, self._unread(needed, since, _database(term), built_in_of(term)))
        start = held
        if term.options.get("on") != "":
            # A grant on the whole instance is in no database, so that no owner has it.
            start = self._cte(f"SELECT account_id, personal FROM {held}\n{self._owners(held, since)}")
        reach = self._by_steps(start, since) if since or self.is_past else self._by_closure(start)
        public = (
            "\n UNION SELECT a.id\n"
            f"  FROM (SELECT DISTINCT instance_id, host FROM {held} WHERE public AND NOT personal) p\n"
            "  JOIN accounts_account a ON a.instance_id = p.instance_id\n"
            # Where accounts belong to a database, so does PUBLIC. Elsewhere PUBLIC has no host.
            "   AND (p.host = '' OR a.host = p.host)"
        )
        return self._known(
            self._set(f"{reach}{public}"), self._unread(needed, since, _database(term), built_in_of(term))
        )

    def _by_closure(self, start: str) -> str:
        """Return the query of accounts reached from the holders by the current closure: by inheritance, then by SET
        ROLE."""
        inheriting = self._cte(
            f"SELECT account_id AS id FROM {start}\n UNION SELECT r.member_id FROM {start} s\n"
            "  JOIN accounts_rolereach r ON r.role_id = s.account_id WHERE r.inherits AND NOT s.personal"
        )
        return (
            f"SELECT id FROM {inheriting}\n UNION SELECT r.member_id FROM {inheriting} s\n"
            "  JOIN accounts_rolereach r ON r.role_id = s.id WHERE r.can_set"
        )

    def _by_steps(self, start: str, since: str) -> str:
        """Return the same query, step by step, over memberships at the moment that have lasted since then."""
        steady = f" AND m.held_since <= {since}" if since else ""
        reach = self._cte(
            f"SELECT account_id, personal FROM {start}\n"
            " UNION SELECT m.member_id, w.switching OR NOT m.inherit FROM {self} w\n"
            "  JOIN accounts_membership m ON m.role_id = w.id\n"
            f" WHERE {self._holding('m')}{steady} AND (m.set_option OR (m.inherit AND NOT w.switching))",
            "(id, switching)",
        )
        return f"SELECT id FROM {reach}"

    def _matching(self, term: Term, since: str, needed: dict[str, set[str]]) -> str:
        """Return the query of a word's grants, of the kinds that are needed. `personal` grants are not inherited: they
        need SET ROLE."""
        conditions = [
            self._holding("g"),
            "NOT g.denied",
            "x.instance_id = ANY(%(instances)s::bigint[])",
            self._like("g.privilege", term.texts[0]),
        ]
        if since:
            conditions.append(f"g.held_since <= {since}")
            if "grantable" in term.options:
                conditions.append(f"NOT {_other_option(since)}")
        if term.options.get("grantable") is not None:
            conditions.append("g.grantable" if term.options["grantable"] else "NOT g.grantable")
        kind, path = str(term.options.get("kind", "")), term.options.get("on")
        # Default privileges apply to future objects: no account has them yet.
        of_kind = f"g.kind = {self._parameter(kind)}" if kind else "g.kind <> 'default'"
        if path:
            scopes = self._on(str(path), kind, of_kind)
        else:
            scopes = [f"g.scope = '' AND {of_kind}" if path == "" else of_kind]
        personal = " OR ".join(
            f"(i.engine = '{name}' AND g.kind = ANY({self._parameter(sorted(kinds))}))"
            for name, engine in ENGINES.items()
            if (kinds := engine.semantics.personal & needed[name])
        )
        return "\n UNION ALL ".join(_grants(" AND ".join([*conditions, scope]), personal) for scope in scopes)

    def _on(self, path: str, kind: str, of_kind: str) -> list[str]:
        """Return conditions for grants on matching objects, and on their containers where the engine passes these
        grants down. They are separate because there are many of the former and few of the latter."""
        parts = segments(path)
        # The pattern comes first: few grants pass it.
        named = f"{self._like('g.scope', '.'.join(parts))} AND g.scope <> '' AND {of_kind}"
        containers, holders = [], set()
        database = _named_database(path)
        for name, engine in ENGINES.items():
            for holder, scope in sorted(engine.semantics.scopes(parts, kind)):
                fits = self._like("g.scope", scope)
                if engine.semantics.patterns and holder == "database" and database:
                    fits = f"({fits} OR {self._parameter(database)} LIKE {_UNQUOTED})"
                elif scope == ".".join(parts):
                    continue
                if not scope and database:
                    fits += f" AND NOT {self._revoked(database)}"
                containers.append(f"(i.engine = '{name}' AND g.kind = '{holder}' AND {fits})")
                holders.add(holder)
        if not containers:
            return [named]
        kinds = self._parameter(sorted(holders))
        return [named, f"g.kind = ANY({kinds}) AND NOT ({named}) AND ({' OR '.join(containers)})"]

    def _revoked(self, database: str) -> str:
        return (
            "EXISTS (SELECT FROM accounts_grant d"
            " WHERE d.account_id = g.account_id AND d.denied AND d.kind = 'database'"
            f" AND d.privilege = g.privilege AND d.database = {self._parameter(database)} AND {self._holding('d')})"
        )

    def _owners(self, held: str, since: str) -> str:
        """Return SQL: owners of databases, who have the grants of the role that represents them."""
        steady = f" AND o.held_since <= {since}" if since else ""
        return "".join(
            f" UNION SELECT o.account_id, {self._noinherit(engine.semantics)} FROM {held} h\n"
            "  JOIN instances_instance i ON i.id = h.instance_id\n"
            "  JOIN accounts_account x ON x.instance_id = h.instance_id\n"
            "  JOIN accounts_grant o ON o.account_id = x.id AND o.kind = 'database' AND o.privilege = 'OWNER'\n"
            f"   AND o.database = h.database AND NOT o.denied AND {self._holding('o')}{steady}\n"
            f" WHERE i.engine = '{name}' AND h.name = {self._parameter(engine.semantics.database_role)}\n"
            for name, engine in ENGINES.items()
            if engine.semantics.database_role
        )

    def _noinherit(self, semantics: Semantics) -> str:
        """Return SQL: the owner has these grants only after SET ROLE."""
        if not semantics.no_inherit:
            return "false"
        kind, privilege = map(self._parameter, semantics.no_inherit)
        return (
            f"EXISTS (SELECT FROM accounts_grant n WHERE n.account_id = o.account_id AND n.kind = {kind}"
            f" AND n.privilege = {privilege} AND {self._holding('n')})"
        )

    def _needed(self, term: Term, semantics: Semantics) -> set[str]:
        """Return the kinds a visit must have read to conclude that an account lacks the privilege."""
        kind, path = str(term.options.get("kind", "")), term.options.get("on")
        if kind:
            kinds = {kind}
        elif path is None:
            kinds = set(semantics.paths)
        else:
            length = len(segments(str(path)))
            reaches = length and has_wildcards(str(path))
            kinds = {name for name, parts in semantics.paths.items() if parts == length or (reaches and parts > length)}
        if path:
            kinds |= {holder for holder, _ in semantics.scopes(segments(str(path)), kind)}
        able = {name for name in kinds if semantics.carries(name, lambda one: _fits(term.texts[0], one))}
        if not able:
            return set()
        return able if term.options.get("direct") else able | {"memberships"}


def _other_option(since: str) -> str:
    """Return SQL: after that moment, the possession had the grant option and now has not, or the reverse. It continued
    under the same name or, if that changed, the same id."""
    return (
        "EXISTS (SELECT FROM accounts_grant e WHERE e.account_id = g.account_id AND e.kind = g.kind"
        " AND e.privilege = g.privilege AND e.denied = g.denied AND e.held_since = g.held_since"
        " AND (e.scope = g.scope OR e.object_id = nullif(g.object_id, ''))"
        f" AND e.until > {since} AND e.until <= g.since AND e.grantable <> g.grantable)"
    )


def _grants(where: str, personal: str) -> str:
    # Most words do not depend on the engine.
    instances = "  JOIN instances_instance i ON i.id = x.instance_id\n" if "i.engine" in personal + where else ""
    return (
        "SELECT g.id AS grant_id, g.account_id, g.database, x.instance_id, x.name, x.host,\n"
        f"       x.kind = 'public' AS public, {personal or 'false'} AS personal\n"
        f"  FROM accounts_grant g JOIN accounts_account x ON x.id = g.account_id\n{instances} WHERE {where}"
    )


def built_in_of(term: Term) -> tuple[str, ...]:
    """Return the engines of which the word's path leads to built-in objects."""
    path = str(term.options.get("on", ""))
    kind = str(term.options.get("kind", ""))
    return tuple(name for name, engine in ENGINES.items() if engine.semantics.is_built_in(segments(path), kind))


def _database(term: Term) -> str:
    return _named_database(str(term.options.get("on", "")))


def _named_database(path: str) -> str:
    """Return the only database that can contain a match of the path, or ""."""
    parts = segments(path)
    return name_of(parts[0]) if parts and not has_wildcards(parts[0]) else ""


def _fits(pattern: str, privilege: str) -> bool:
    return fnmatch.fnmatchcase(privilege, pattern.replace("[", "[[]"))


#: A database pattern without the quotes that `dotted()` added.
_UNQUOTED = (
    "CASE WHEN g.scope LIKE '\"%%' THEN replace(substr(g.scope, 2, length(g.scope) - 2), '\"\"', '\"') ELSE g.scope END"
)
