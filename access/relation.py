"""The relation "this account holds this privilege on this object": SQL for any instances, objects and moment.

It is built in three steps, each a common table expression:

sources   what is held directly: grants on the object or what contains it, and rights without a grant
sessions  the accounts and roles in which a source is active by inheritance: `entry_id` is where inheritance begins
reach     the accounts that have such a session: at login it is that of the account, else that of a role after SET ROLE

A session is named after the account or role that it runs as. A role's rights are active in the sessions of members
that inherit from it. An account can switch to the session of a role by memberships with the set option. What differs
between engines is data in `engines.semantics`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from console.wildcards import has_wildcards
from engines.engine import Engine
from engines.paths import name_of
from engines.registry import ENGINES
from engines.semantics import Semantics

from .patterns import Decision, fitting
from .question import ALL_POWERFUL, Question
from .sql import Sql


class Relation(Sql):
    """A query about access. `since` is SQL of a moment: only what has been held from then on counts. `engines` are
    those of the accounts in question: fewer of them take less time to plan."""

    engines: Mapping[str, Engine] = ENGINES

    def sources(self, question: Question, since: str = "", *, may_grant: bool = False) -> str:
        """Return the CTE of what is held directly: grant_id (null for a right without a grant), holder_id, instance_id,
        host, database, scope, because, personal, public.

        With `may_grant`, it includes owners, who can give themselves the privilege (because "ownership"), and grants on
        columns of the object (because "columns").
        """
        selects = list(self._grants(question, since, may_grant))
        if not question.direct:
            selects += self._by_nature(question)
        return self.cte("\n UNION ALL ".join(selects) or _NONE)

    def starts(self, sources: str, since: str = "") -> str:
        """Return the CTE of the sources with the session that each begins in, `session_id` of `entry_id`, and whether
        it is `inheriting`. A grant of the role that stands for the owner of its database begins at the owner too, who
        holds it by the grant `owner_grant_id`."""
        selects = [
            f"SELECT *, holder_id AS entry_id, holder_id AS session_id, NOT personal AS inheriting,"
            f" NULL::bigint AS owner_grant_id FROM {sources}"
            f" WHERE {self._inherited()}"
        ]
        for name, engine in self.engines.items():
            if engine.semantics.database_role:
                selects.append(self._owners(sources, name, engine.semantics, since))
        return self.cte("\n UNION ALL ".join(selects))

    def sessions(self, starts: str, since: str = "") -> str:
        """Return the CTE of sessions in which a start is active: entry_id, start_id, inheriting, session_id, account_id
        (an account that has it)."""
        first = (
            "SELECT DISTINCT entry_id, session_id AS start_id, inheriting, session_id, entry_id AS account_id"
            f" FROM {starts}"
        )
        if self._is_closed(since):
            return self.cte(
                f"{first}\n UNION ALL SELECT s.entry_id, s.session_id, true, r.member_id, r.member_id\n"
                f"  FROM (SELECT DISTINCT entry_id, session_id FROM {starts} WHERE inheriting) s\n"
                "  JOIN accounts_rolereach r ON r.role_id = s.session_id AND r.inherits"
            )
        return self.cte(
            f"{first}\n UNION SELECT w.entry_id, w.start_id, true, m.member_id, m.member_id\n"
            f"  FROM {{self}} w {self.members('w.session_id', since)} WHERE w.inheriting AND m.inherit"
        )

    def admins(self, starts: str) -> str:
        """Return the CTE of the starts with those of accounts that can grant themselves a role which has the source,
        because "admin": by ADMIN OPTION of a membership that gives them nothing else, or because they may grant every
        role, by the grant `owner_grant_id`. `role_id` is that role, null for other starts."""
        selects = [f"SELECT *, NULL::bigint AS role_id FROM {starts}"]
        copied = "s.grant_id, s.holder_id, s.instance_id, s.host, s.database, s.scope, 'admin', false, false"
        for name, engine in self.engines.items():
            semantics = engine.semantics
            if not (semantics.makes_roles and semantics.everything):
                continue
            kind, privilege, version = map(self.parameter, semantics.makes_roles)
            everything = " AND ".join(
                f"u.{column} = {self.parameter(value)}"
                for column, value in zip(("kind", "privilege"), semantics.everything, strict=True)
            )
            able = (
                f"SELECT u.account_id FROM accounts_grant u WHERE {everything} AND NOT u.denied AND {self.holding('u')}"
            )
            held = f"s.because IN ('grant', 'predefined') AND NOT s.personal AND NOT s.public AND i.engine = '{name}'"
            within = self.cte(
                "SELECT r.role_id AS start_id, r.member_id AS role_id FROM accounts_rolereach r WHERE r.inherits\n"
                f"   AND r.role_id IN (SELECT session_id FROM {starts})\n"
                f" UNION SELECT session_id, session_id FROM {starts}"
                if not self.is_past
                else f"SELECT session_id, session_id FROM {starts}\n"
                f" UNION SELECT w.start_id, m.member_id FROM {{self}} w {self.members('w.role_id')} WHERE m.inherit",
                "(start_id, role_id)",
            )
            selects.append(
                f"SELECT {copied}, m.member_id, m.member_id, true, NULL, m.role_id\n"
                f"  FROM accounts_membership m JOIN {within} w ON w.role_id = m.role_id\n"
                f"  JOIN {starts} s ON s.session_id = w.start_id AND s.entry_id = s.session_id AND s.inheriting\n"
                "  JOIN instances_instance i ON i.id = s.instance_id\n"
                f" WHERE m.admin_option AND NOT m.inherit AND NOT m.set_option AND {self.holding('m')} AND {held}"
                f" AND m.role_id NOT IN ({able})"
            )
            selects.append(
                f"SELECT {copied}, o.account_id, o.account_id, false, o.id, s.holder_id\n"
                f"  FROM {starts} s JOIN instances_instance i ON i.id = s.instance_id\n"
                "  JOIN accounts_account a ON a.instance_id = s.instance_id\n"
                f"  JOIN accounts_grant o ON o.account_id = a.id AND o.kind = {kind} AND o.privilege = {privilege}"
                f" AND NOT o.denied AND {self.holding('o')}\n"
                f" WHERE substring(i.version FROM '^[0-9]+')::int <= {version} AND {held}"
                f" AND s.holder_id <> o.account_id AND s.holder_id = s.entry_id AND s.holder_id NOT IN ({able})"
            )
        return self.cte("\n UNION ALL ".join(selects))

    def reach(self, sessions: str, since: str = "") -> str:
        """Return the CTE of accounts that have a session, with the columns of `sessions`."""
        if self._is_closed(since):
            return self.cte(
                f"SELECT * FROM {sessions}\n"
                f" UNION ALL SELECT s.entry_id, s.start_id, s.inheriting, s.session_id, r.member_id FROM {sessions} s\n"
                "  JOIN accounts_rolereach r ON r.role_id = s.account_id AND r.can_set"
            )
        return self.cte(
            f"SELECT * FROM {sessions}\n"
            f" UNION SELECT w.entry_id, w.start_id, w.inheriting, w.session_id, m.member_id\n"
            f"  FROM {{self}} w {self.members('w.account_id', since)} WHERE m.set_option"
        )

    def holders(self, question: Question, since: str = "") -> str:
        """Return the query of the ids of all accounts that have the privilege by any path, through PUBLIC included."""
        sources = self.sources(question, since)
        if question.direct:
            decided = self.decided(question, sources, since)
            return (
                f"SELECT holder_id AS id FROM {sources} WHERE {self._inherited()}\n"
                f" UNION SELECT account_id FROM {decided} WHERE account_id = holder_id"
            )
        starts = self.starts(sources, since)
        if self._is_closed(since):
            inheriting = self.cte(
                f"SELECT entry_id AS id FROM {starts}\n UNION SELECT r.member_id FROM {starts} s\n"
                "  JOIN accounts_rolereach r ON r.role_id = s.entry_id AND r.inherits WHERE s.inheriting"
            )
            reached = (
                f"SELECT id FROM {inheriting}\n UNION SELECT r.member_id FROM {inheriting} s\n"
                "  JOIN accounts_rolereach r ON r.role_id = s.id AND r.can_set"
            )
        else:
            walk = self.cte(
                f"SELECT entry_id, inheriting FROM {starts}\n"
                " UNION SELECT m.member_id, w.inheriting AND m.inherit FROM {self} w\n"
                f"  {self.members('w.id', since)} WHERE m.set_option OR (m.inherit AND w.inheriting)",
                "(id, inheriting)",
            )
            reached = f"SELECT id FROM {walk}"
        reached = self.cte(reached)
        decided = self.decided(question, sources, since)
        of_public = (
            f"SELECT DISTINCT instance_id, host FROM {sources} WHERE public AND NOT personal AND {self._inherited()}\n"
            f"  UNION SELECT d.instance_id, p.host FROM {decided} d"
            " JOIN accounts_account p ON p.id = d.account_id AND p.kind = 'public'"
        )
        # Where roles can be granted to PUBLIC, other than where `decided()` answers.
        if names := [name for name, engine in self.engines.items() if engine.semantics.host_is_database]:
            of_public += (
                f"\n  UNION SELECT p.instance_id, p.host FROM {reached} r"
                " JOIN accounts_account p ON p.id = r.id AND p.kind = 'public'"
                f" JOIN instances_instance i ON i.id = p.instance_id AND i.engine = ANY({self.parameter(names)})"
            )
        return (
            f"SELECT id FROM {reached}\n UNION SELECT account_id FROM {decided}\n"
            f" UNION SELECT a.id FROM ({of_public}) p\n"
            # Where accounts belong to a database, so does PUBLIC. Elsewhere PUBLIC has no host.
            "  JOIN accounts_account a ON a.instance_id = p.instance_id AND (p.host = '' OR a.host = p.host)"
        )

    def upwards(self, account: int) -> str:
        """Return the CTE of the holders that give an account their rights: session_id, holder_id, entry_id,
        owner_grant_id, `database`, the only one where it has these rights, null for all, and via_id, PUBLIC if it has
        them through PUBLIC, else 0."""
        mine = self.parameter(account)
        begin = self.cte(
            f"SELECT {mine}::bigint AS id, 0::bigint AS via_id\n"
            " UNION ALL SELECT p.id, p.id FROM accounts_account a JOIN accounts_account p"
            f" ON p.instance_id = a.instance_id AND p.kind = 'public' AND p.host IN ('', a.host) WHERE a.id = {mine}"
            " AND a.kind IS DISTINCT FROM 'public'"
        )
        if self._is_closed(""):
            sessions = self.cte(
                f"SELECT id AS session_id, via_id FROM {begin}\n"
                f" UNION ALL SELECT r.role_id, b.via_id FROM {begin} b"
                " JOIN accounts_rolereach r ON r.member_id = b.id AND r.can_set"
            )
            held = self.cte(
                f"SELECT session_id, session_id AS holder_id, via_id FROM {sessions}\n"
                f" UNION ALL SELECT s.session_id, r.role_id, s.via_id FROM {sessions} s\n"
                "  JOIN accounts_rolereach r ON r.member_id = s.session_id AND r.inherits"
            )
        else:
            roles = self.roles("w.session_id")
            sessions = self.cte(
                f"SELECT id, via_id FROM {begin}\n"
                f" UNION SELECT m.role_id, w.via_id FROM {{self}} w {roles} WHERE m.set_option",
                "(session_id, via_id)",
            )
            held = self.cte(
                f"SELECT session_id, session_id, via_id FROM {sessions}\n"
                " UNION SELECT w.session_id, m.role_id, w.via_id\n"
                f"  FROM {{self}} w {self.roles('w.holder_id')} WHERE m.inherit",
                "(session_id, holder_id, via_id)",
            )
        selects = [
            # What PUBLIC has at login, the account has.
            f"SELECT CASE session_id WHEN via_id THEN {mine} ELSE session_id END AS session_id, holder_id,"
            " holder_id AS entry_id, NULL::bigint AS owner_grant_id, NULL AS database, via_id\n"
            f"  FROM {held}"
        ]
        for name, engine in self.engines.items():
            if engine.semantics.database_role:
                role, switches = self.parameter(engine.semantics.database_role), self._switches(engine.semantics)
                selects.append(
                    f"SELECT CASE WHEN {switches} THEN r.id ELSE h.session_id END, r.id, o.account_id, o.id,\n"
                    "       o.database, h.via_id\n"
                    f"  FROM {held} h JOIN accounts_grant o ON o.account_id = h.holder_id AND o.kind = 'database'"
                    f" AND o.privilege = 'OWNER' AND NOT o.denied AND {self.holding('o')}\n"
                    "  JOIN accounts_account a ON a.id = o.account_id\n"
                    "  JOIN instances_instance i ON i.id = a.instance_id\n"
                    "  JOIN accounts_account r ON r.instance_id = a.instance_id AND r.name = "
                    f"{role} AND {self.existing('r')} WHERE i.engine = '{name}'"
                    f" AND (NOT {switches} OR h.session_id = h.holder_id)"
                )
        return self.cte("\n UNION ALL ".join(selects))

    def decided(self, question: Question, sources: str, since: str = "", *, login: str = "") -> str:
        """Return the CTE of the rows on engines where access depends on the client and on active roles, as
        `Decision.rows()`. `login` is SQL of a name: clients that give others do not matter."""
        if not self.combining:
            none = "NULL::bigint AS account_id, NULL::bigint AS instance_id, NULL::bigint AS holder_id"
            return self.cte(f"SELECT {none} WHERE false")
        return Decision(self, question, sources, since, login).rows()

    def _inherited(self) -> str:
        """Return SQL: the source is not on an engine that `decided()` answers for."""
        names = self.parameter(self.combining)
        return f"instance_id NOT IN (SELECT id FROM instances_instance WHERE engine = ANY({names}))"

    @property
    def combining(self) -> list[str]:
        """The engines where servers combine patterns of names."""
        return [name for name, engine in self.engines.items() if engine.semantics.patterns]

    def _is_closed(self, since: str) -> bool:
        """Whether the stored closure answers, which is that of all memberships that hold now."""
        return not (self.is_past or since)

    def _switches(self, semantics: Semantics) -> str:
        """Return SQL: the owner `o` of a database has the rights of the role that stands for it only after SET ROLE."""
        if not semantics.no_inherit:
            return "false"
        kind, privilege = map(self.parameter, semantics.no_inherit)
        return (
            f"EXISTS (SELECT FROM accounts_grant n WHERE n.account_id = o.account_id AND n.kind = {kind}"
            f" AND n.privilege = {privilege} AND {self.holding('n')})"
        )

    # Sources

    def _grants(self, question: Question, since: str, may_grant: bool) -> Iterator[str]:
        if question.privilege == ALL_POWERFUL:
            for name, engine in self.engines.items():
                for kind, privilege in sorted(engine.semantics.powerful):
                    yield self._grant("grant", self._of_engine(name, kind, privilege), since=since)
            return
        option = {None: "", True: " AND g.grantable", False: " AND NOT g.grantable"}[question.grantable]
        named = self.like_any("g.privilege", question.privileges) + option
        kinds = {kind for engine in self.engines.values() for kind in question.kinds(engine.semantics)}
        # Default privileges apply to future objects: no account has them yet.
        of_kind = "g.kind <> 'default'"
        if question.kind == "default":
            of_kind = "g.kind = 'default'"
        elif question.on or question.kind:
            of_kind = f"g.kind = ANY({self.parameter(sorted(kinds - {'default'}))})"
        if question.on is None:
            on_object = of_kind
        elif not question.path:
            on_object = f"g.scope = '' AND {of_kind}"
        else:
            on_object = f"{self._scope('.'.join(question.path))} AND g.scope <> '' AND {of_kind}"
        yield self._grant("grant", f"{named} AND {on_object}{self._outside_patterns(question)}", question, since)
        for name, engine in self.engines.items():
            of_engine = f"i.engine = '{name}'"
            for condition in self._of_containers(question, engine.semantics):
                yield self._grant("grant", f"{of_engine} AND {named} AND {condition}", question, since)
            if question.direct:
                continue
            here = f"{of_engine}{self._here(question, engine.semantics)}"
            if wider := question.wider(engine.semantics):
                on_all = f"g.kind = 'system' OR (g.kind = 'schema' AND {self._scope('.'.join(question.path[:2]))})"
                wide = f"g.privilege = ANY({self.parameter(sorted(wider))}){option}"
                yield self._grant("grant", f"{here} AND {wide} AND ({on_all})", question, since)
            if engine.semantics.everything and question.is_implied(engine.semantics):
                kind, privilege = engine.semantics.everything
                # Asked for itself, it is an ordinary grant.
                if not (question.fits(privilege) and kind in question.kinds(engine.semantics)):
                    of_all = self._of_engine(name, kind, privilege)
                    yield self._grant("superuser", of_all + self._here(question, engine.semantics), since=since)
            if may_grant:
                yield from self._self_grants(question, name, engine.semantics, named, since)

    def _self_grants(
        self, question: Question, name: str, semantics: Semantics, named: str, since: str
    ) -> Iterator[str]:
        """Yield the queries of owners of the object, and of grants on its columns of the privileges `named`."""
        if not question.is_exact:
            return
        path, kinds = ".".join(question.path), question.kinds(semantics)
        if semantics.passes_on and not question.fits(semantics.passes_on):
            owned = f"g.kind = ANY({self.parameter(sorted(kinds))}) AND {self._scope(path)}"
            owner = f"i.engine = '{name}' AND g.privilege = {self.parameter(semantics.passes_on)} AND {owned}"
            yield self._grant("ownership", owner, since=since)
        if kinds.intersection(semantics.containers.get("column", ())):
            of_columns = f"g.kind = 'column' AND starts_with(g.scope, {self.parameter(path + '.')})"
            yield self._grant("columns", f"i.engine = '{name}' AND {named} AND {of_columns}", since=since)

    def _grant(self, because: str, condition: str, question: Question | None = None, since: str = "") -> str:
        steady = ""
        if since:
            steady = f" AND g.held_since <= {since}"
            if question and question.grantable is not None:
                steady += f" AND NOT {_other_option(since)}"
        personal = " OR ".join(
            f"(i.engine = '{name}' AND g.kind = ANY({self.parameter(sorted(engine.semantics.personal))}))"
            for name, engine in self.engines.items()
            if engine.semantics.personal
            and (not question or engine.semantics.personal & question.kinds(engine.semantics))
        )
        # Most questions do not depend on the engine.
        instances = (
            "  JOIN instances_instance i ON i.id = x.instance_id\n" if "i.engine" in personal + condition else ""
        )
        return (
            "SELECT g.id AS grant_id, g.account_id AS holder_id, x.instance_id, x.host, g.database, g.scope,\n"
            f"       '{because}' AS because, {personal or 'false'} AS personal, x.kind = 'public' AS public\n"
            f"  FROM accounts_grant g JOIN accounts_account x ON x.id = g.account_id\n{instances}"
            f" WHERE {self.holding('g')} AND NOT g.denied AND {self.within('x.instance_id')}"
            f" AND {condition}{steady}"
        )

    def _of_engine(self, name: str, kind: str, privilege: str) -> str:
        return f"i.engine = '{name}' AND g.kind = {self.parameter(kind)} AND g.privilege = {self.parameter(privilege)}"

    def _scope(self, path: str) -> str:
        """Return SQL: the scope matches the path. The index on scopes is by their digest."""
        condition = self.like("g.scope", path)
        return condition if has_wildcards(path) else f"md5(g.scope) = md5({self.parameter(path)}) AND {condition}"

    def _here(self, question: Question, semantics: Semantics) -> str:
        """Return SQL: the account's rights apply to the database of the question."""
        if not (semantics.host_is_database and question.path):
            return ""
        return f" AND {self.like('x.host', name_of(question.path[0]))}"

    def _outside_patterns(self, question: Question) -> str:
        """Return SQL: the grant is not one on a database where the server combines patterns of names."""
        if not (question.is_exact and len(question.path) == 1 and self.combining):
            return ""
        return f" AND NOT (g.kind = 'database' AND i.engine = ANY({self.parameter(self.combining)}))"

    def _of_containers(self, question: Question, semantics: Semantics) -> Iterator[str]:
        """Yield conditions for grants on what contains the object, and on patterns that its database matches."""
        path = ".".join(question.path)
        for holder, scope in sorted(question.scopes(semantics)):
            if semantics.patterns and holder == "database" and question.database:
                yield fitting(self, question.database)
            elif scope != path:
                yield f"g.kind = '{holder}' AND {self._scope(scope)}"

    def _by_nature(self, question: Question) -> Iterator[str]:
        """Yield the queries of accounts that have the privilege without a grant."""
        for name, engine in self.engines.items():
            semantics, conditions = engine.semantics, []
            roles, own = question.of_nature(semantics), "x.is_system AND "
            if question.privilege == ALL_POWERFUL:
                # Roles of a provider are not the engine's own.
                roles, own = sorted(semantics.powerful_roles), ""
            if roles and question.grantable is None:
                conditions.append(("predefined", f"{own}x.name = ANY({self.parameter(roles)})"))
            if semantics.owners and len(question.path) > 2 and question.grantable is not False and question.privileges:
                owner = f"x.kind = 'user' AND {self.like('x.name', name_of(question.path[1]))}"
                conditions.append(("owner", owner + self._here(question, semantics)))
            for because, condition in conditions:
                yield (
                    "SELECT NULL::bigint, x.id, x.instance_id, x.host, '', '', "
                    f"'{because}', false, false FROM accounts_account x\n"
                    "  JOIN instances_instance i ON i.id = x.instance_id\n"
                    f" WHERE i.engine = '{name}' AND {self.within('x.instance_id')}"
                    f" AND {self.existing('x')} AND {condition}"
                )

    def _owners(self, sources: str, name: str, semantics: Semantics, since: str) -> str:
        """Return the query of starts at the owners of databases, for grants of the role that stands for them."""
        steady = f" AND o.held_since <= {since}" if since else ""
        return (
            "SELECT h.*, o.account_id, CASE WHEN o.switches THEN h.holder_id ELSE o.account_id END,\n"
            "       NOT o.switches, o.id\n"
            f"  FROM {sources} h JOIN accounts_account x ON x.id = h.holder_id\n"
            "  JOIN instances_instance i ON i.id = h.instance_id\n"
            f"  CROSS JOIN LATERAL (SELECT o.account_id, o.id, {self._switches(semantics)} AS switches\n"
            "  FROM accounts_grant o JOIN accounts_account y ON y.id = o.account_id WHERE y.instance_id = h.instance_id"
            " AND o.kind = 'database' AND o.privilege = 'OWNER'\n"
            f"   AND o.database = h.database AND NOT o.denied AND {self.holding('o')}{steady}) o\n"
            f" WHERE i.engine = '{name}' AND x.name = {self.parameter(semantics.database_role)} AND NOT h.personal"
        )


_NONE = (
    "SELECT NULL::bigint AS grant_id, NULL::bigint AS holder_id, NULL::bigint AS instance_id, '' AS host,"
    " '' AS database, '' AS scope, '' AS because, false AS personal, false AS public WHERE false"
)


def _other_option(since: str) -> str:
    """Return SQL: after that moment, the possession had the grant option and now has not, or the reverse. It continued
    under the same name or, if that changed, the same id."""
    return (
        "EXISTS (SELECT FROM accounts_grant e WHERE e.account_id = g.account_id AND e.kind = g.kind"
        " AND e.privilege = g.privilege AND e.denied = g.denied AND e.held_since = g.held_since"
        " AND (e.scope = g.scope OR e.object_id = nullif(g.object_id, ''))"
        f" AND e.until > {since} AND e.until <= g.since AND e.grantable <> g.grantable)"
    )
