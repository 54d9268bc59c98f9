"""The words of rules about roles and privileges, as sets of accounts.

Which way a privilege comes is told as `accounts.paths` tells it: a walk goes from those who hold it down to the members
of roles. As long as each step inherits, any step may follow that inherits or may be switched along; after one that does
not inherit, only those that may be switched along.
"""

from __future__ import annotations

import fnmatch

from engines.paths import name_of, segments
from engines.registry import ENGINES
from engines.semantics import Semantics

from .pieces import Pieces
from .rules import Ask, has_wildcards


class Privileges(Pieces):
    """`grants` names, for each word about privileges, the set of the grants that it looks for."""

    def __init__(self, is_past: bool) -> None:
        super().__init__(is_past)
        self.grants: dict[Ask, str] = {}

    def _members(self, ask: Ask) -> str:
        """The accounts that reach a role of that name."""
        if not self.is_past and not ask.options.get("direct"):
            admin = " AND r.is_admin" if ask.options.get("admin") else ""
            return self._set(
                "SELECT DISTINCT r.member_id AS id FROM accounts_rolereach r\n"
                "  JOIN accounts_account x ON x.id = r.role_id\n"
                f" WHERE x.instance_id = ANY(%(instances)s::bigint[]) AND {self._like_any('x.name', ask.texts)}{admin}"
            )
        admin = " AND m.admin_option" if ask.options.get("admin") else ""
        first = (
            "SELECT m.member_id, m.role_id FROM accounts_membership m JOIN accounts_account r ON r.id = m.role_id\n"
            f" WHERE {self._holding('m')}{admin} AND r.instance_id = ANY(%(instances)s::bigint[])"
            f" AND {self._like_any('r.name', ask.texts)}"
        )
        reach = self._cte(
            first
            if ask.options.get("direct")
            else f"{first}\n UNION SELECT m.member_id, w.role_id FROM {{self}} w\n"
            f"  JOIN accounts_membership m ON m.role_id = w.member_id WHERE {self._holding('m')}",
            "(member_id, role_id)",
        )
        return self._set(f"SELECT DISTINCT member_id AS id FROM {reach} WHERE member_id <> role_id")

    def _holds(self, key: Ask, ask: Ask, since: str = "") -> str:
        """Whether an account has the privilege, by grants and memberships that stand since then at least."""
        needed = {name: self._needed(ask, engine.semantics) for name, engine in ENGINES.items()}
        held = self._cte(self._matching(ask, since, needed))
        if not since:
            self.grants[key] = held
        if ask.options.get("direct"):
            found = self._set(f"SELECT DISTINCT account_id AS id FROM {held}")
            return self._known(found, self._unread(needed, since, _database(ask)))
        start = held
        if ask.options.get("on") != "":
            # What is granted on the whole instance lies in nobody's database.
            start = self._cte(f"SELECT account_id, personal FROM {held}\n{self._owners(held, since)}")
        reach = self._by_steps(start, since) if since or self.is_past else self._by_closure(start)
        everybody = (
            "\n UNION SELECT a.id\n"
            f"  FROM (SELECT DISTINCT instance_id, host FROM {held} WHERE public AND NOT personal) p\n"
            "  JOIN accounts_account a ON a.instance_id = p.instance_id\n"
            # Everybody is everybody of that database, where accounts live in one. Elsewhere PUBLIC has no host.
            "   AND (p.host = '' OR a.host = p.host)"
        )
        return self._known(self._set(f"{reach}{everybody}"), self._unread(needed, since, _database(ask)))

    def _by_closure(self, start: str) -> str:
        """Down from those who hold it, by the closure of today: over what inherits, then over what may be switched.
        Like the next, the query of the accounts that are reached."""
        inheriting = self._cte(
            f"SELECT account_id AS id FROM {start}\n UNION SELECT r.member_id FROM {start} s\n"
            "  JOIN accounts_rolereach r ON r.role_id = s.account_id WHERE r.inherits AND NOT s.personal"
        )
        return (
            f"SELECT id FROM {inheriting}\n UNION SELECT r.member_id FROM {inheriting} s\n"
            "  JOIN accounts_rolereach r ON r.role_id = s.id WHERE r.can_set"
        )

    def _by_steps(self, start: str, since: str) -> str:
        """The same by memberships, one step after the other, as they were and for as long as they stood."""
        steady = f" AND m.since <= {since}" if since else ""
        reach = self._cte(
            f"SELECT account_id, personal FROM {start}\n"
            " UNION SELECT m.member_id, w.switching OR NOT m.inherit FROM {self} w\n"
            "  JOIN accounts_membership m ON m.role_id = w.id\n"
            f" WHERE {self._holding('m')}{steady} AND (m.set_option OR (m.inherit AND NOT w.switching))",
            "(id, switching)",
        )
        return f"SELECT id FROM {reach}"

    def _matching(self, ask: Ask, since: str, needed: dict[str, set[str]]) -> str:
        """The grants that a word looks for, of the kinds that are needed. `personal` ones are their holder's alone, who
        must be switched to."""
        conditions = [
            self._holding("g"),
            "NOT g.denied",
            "x.instance_id = ANY(%(instances)s::bigint[])",
            self._like("g.privilege", ask.texts[0]),
        ]
        if since:
            conditions.append(f"g.since <= {since}")
        if ask.options.get("grantable") is not None:
            conditions.append("g.grantable" if ask.options["grantable"] else "NOT g.grantable")
        kind, path = str(ask.options.get("kind", "")), ask.options.get("on")
        # What later objects will carry, nobody has yet.
        of_kind = f"g.kind = {self._parameter(kind)}" if kind else "g.kind <> 'default'"
        if path:
            ways = self._on(str(path), kind, of_kind)
        else:
            ways = [f"g.scope = '' AND {of_kind}" if path == "" else of_kind]
        personal = " OR ".join(
            f"(i.engine = '{name}' AND g.kind = ANY({self._parameter(sorted(kinds))}))"
            for name, engine in ENGINES.items()
            if (kinds := engine.semantics.personal & needed[name])
        )
        return "\n UNION ALL ".join(_grants(" AND ".join([*conditions, way]), personal) for way in ways)

    def _on(self, path: str, kind: str, of_kind: str) -> list[str]:
        """Conditions of grants: on what is like the path, and on what that lies in where the engine lets them reach
        down. They are apart because of the former there are many to look through, and of the latter few."""
        parts = segments(path)
        # The likeness first, which few pass.
        named = f"{self._like('g.scope', '.'.join(parts))} AND g.scope <> '' AND {of_kind}"
        ways, holders = [], set()
        database = _named_database(path)
        for name, engine in ENGINES.items():
            for holder, scope in sorted(engine.semantics.scopes(parts, kind)):
                fits = self._like("g.scope", scope)
                if engine.semantics.patterns and holder == "database" and database:
                    fits = f"({fits} OR {self._parameter(database)} LIKE {_UNQUOTED})"
                elif scope == ".".join(parts):
                    continue
                if not scope and database:
                    fits += f" AND NOT {self._taken_back(database)}"
                ways.append(f"(i.engine = '{name}' AND g.kind = '{holder}' AND {fits})")
                holders.add(holder)
        if not ways:
            return [named]
        return [named, f"g.kind = ANY({self._parameter(sorted(holders))}) AND NOT ({named}) AND ({' OR '.join(ways)})"]

    def _taken_back(self, database: str) -> str:
        return (
            "EXISTS (SELECT FROM accounts_grant d"
            " WHERE d.account_id = g.account_id AND d.denied AND d.kind = 'database'"
            f" AND d.privilege = g.privilege AND d.database = {self._parameter(database)} AND {self._holding('d')})"
        )

    def _owners(self, held: str, since: str) -> str:
        """Owners of databases, who have what was granted to the role that stands for them."""
        steady = f" AND o.since <= {since}" if since else ""
        return "".join(
            f" UNION SELECT o.account_id, {self._stingy(engine.semantics)} FROM {held} h\n"
            "  JOIN instances_instance i ON i.id = h.instance_id\n"
            "  JOIN accounts_account x ON x.instance_id = h.instance_id\n"
            "  JOIN accounts_grant o ON o.account_id = x.id AND o.kind = 'database' AND o.privilege = 'OWNER'\n"
            f"   AND o.database = h.database AND NOT o.denied AND {self._holding('o')}{steady}\n"
            f" WHERE i.engine = '{name}' AND h.name = {self._parameter(engine.semantics.database_role)}\n"
            for name, engine in ENGINES.items()
            if engine.semantics.database_role
        )

    def _stingy(self, semantics: Semantics) -> str:
        """Whether an owner has that only after switching."""
        if not semantics.no_inherit:
            return "false"
        kind, privilege = map(self._parameter, semantics.no_inherit)
        return (
            f"EXISTS (SELECT FROM accounts_grant n WHERE n.account_id = o.account_id AND n.kind = {kind}"
            f" AND n.privilege = {privilege} AND {self._holding('n')})"
        )

    def _needed(self, ask: Ask, semantics: Semantics) -> set[str]:
        """What a visit must have read to say that an account does not have the privilege."""
        kind, path = str(ask.options.get("kind", "")), ask.options.get("on")
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
        able = {name for name in kinds if semantics.carries(name, lambda one: _fits(ask.texts[0], one))}
        if not able:
            return set()
        return able if ask.options.get("direct") else able | {"memberships"}


def _grants(where: str, personal: str) -> str:
    # Most words mean the same whatever the engine.
    instances = "  JOIN instances_instance i ON i.id = x.instance_id\n" if "i.engine" in personal + where else ""
    return (
        "SELECT g.id AS grant_id, g.account_id, g.database, x.instance_id, x.name, x.host,\n"
        f"       x.kind = 'public' AS public, {personal or 'false'} AS personal\n"
        f"  FROM accounts_grant g JOIN accounts_account x ON x.id = g.account_id\n{instances} WHERE {where}"
    )


def _database(ask: Ask) -> str:
    return _named_database(str(ask.options.get("on", "")))


def _named_database(path: str) -> str:
    """The one database in which everything like the path lies, "" where it may be any."""
    parts = segments(path)
    return name_of(parts[0]) if parts and not has_wildcards(parts[0]) else ""


def _fits(pattern: str, privilege: str) -> bool:
    return fnmatch.fnmatchcase(privilege, pattern.replace("[", "[[]"))


#: A pattern of database names as it was before `dotted()` quoted it.
_UNQUOTED = (
    "CASE WHEN g.scope LIKE '\"%%' THEN replace(substr(g.scope, 2, length(g.scope) - 2), '\"\"', '\"') ELSE g.scope END"
)
