"""Find the direct holders of a privilege, and the accounts that reach them through roles. Used by `access`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import connection
from django.db.models import BooleanField, Case, F, Func, Q, QuerySet, TextField, Value, When
from django.db.models.functions import MD5, Length, Replace, Substr

from accounts.models import Account, Grant
from engines.paths import name_of
from engines.registry import ENGINES
from instances.models import Instance

from .ways import Edge, Graph, Way


class Question:
    """A question in the kinds and scopes of each engine: `scopes` is engine → {(kind, scope)} of sufficient grants."""

    def __init__(self, privilege: str, path: list[str], kind: str) -> None:
        self.privilege = privilege
        self.path = path
        self.scopes = {
            name: scopes for name, engine in ENGINES.items() if (scopes := engine.semantics.scopes(path, kind))
        }
        if not self.scopes:
            of = f" of the kind {kind!r}" if kind else ""
            raise ValueError(f"No engine has objects{of} with a path of {len(path)} parts.")
        self.database = name_of(path[0]) if path else ""
        #: Engines of which the object is a built-in one.
        self.built_in = {name for name in self.scopes if ENGINES[name].semantics.is_built_in(path, kind)}

    def predefined(self, engine: str) -> list[str]:
        """Return the predefined roles that have this privilege without a grant."""
        kinds = {kind for kind, _ in self.scopes[engine]}
        return [
            role
            for role, powers in ENGINES[engine].semantics.predefined.items()
            if any(self.privilege in powers.get(kind, ()) for kind in kinds)
        ]

    @property
    def is_possible(self) -> bool:
        """Whether the engines know the privilege for the built-in object, whether or not a visit has seen it."""
        return any(
            self.privilege in ENGINES[engine].semantics.privileges.get(kind, ())
            for engine in self.built_in
            for kind, _scope in self.scopes[engine]
        )

    def needed(self, engine: str) -> set[str]:
        """Return the kinds that a visit must have read for a complete answer."""
        semantics = ENGINES[engine].semantics
        needed = {kind for kind, _ in self.scopes[engine]} | {"memberships"}
        needed |= {semantics.everything[0]} if semantics.everything else set()
        return needed | ({"system", "schema"} if self.wider(engine) else set())

    def wider(self, engine: str) -> set[str]:
        """Return the privileges that include this one on every object of the kind."""
        semantics = ENGINES[engine].semantics
        if len(self.path) < 2 or name_of(self.path[1]) in semantics.protected:
            return set()
        return {
            wide for kind, _ in self.scopes[engine] for wide in semantics.anywhere.get(kind, {}).get(self.privilege, ())
        }


@dataclass(frozen=True)
class Holding:
    """One account's path to a privilege, by ids. `owner` is the OWNER grant on the database, for a path through the
    role that represents its owner."""

    account: int
    path: tuple[int, ...]
    because: str
    grant: Grant | None
    at_once: bool
    links: tuple[Edge, ...]
    owner: Grant | None = None


class Holders:
    """The direct holders of a privilege: by a grant, or as a role that has it without one."""

    def __init__(self, question: Question, instances: QuerySet[Instance], at: datetime) -> None:
        self.question = question
        self.instances = instances
        self.at = at
        on_database = self._on_database()
        denied = {g.account_id for g in on_database if g.denied and g.privilege == question.privilege}
        # A partial revoke removes a global privilege in one database.
        self.grants = [g for g in self._by_scope() if not (g.kind == "system" and g.account_id in denied)]
        self.grants += [g for g in on_database if g.privilege == question.privilege and not g.denied]
        self.by_nature = self._by_nature()

    def ways(self) -> list[Holding]:
        """Return the paths of all accounts to the privilege, directly and through roles."""
        owners = self._owners()
        owning = {owner.account_id for owner in owners.values()}
        noinherit = without_inheritance(owning, self.at)
        starts = {grant.account_id for grant in self.grants} | {*self.by_nature} | owning
        graph = Graph(edges(starts, self.at, up=False))
        found = [
            Holding(account, way.path, because, None, way.at_once, way.links)
            for holder, because in self.by_nature.items()
            for account, way in graph.to_role(holder).items()
            if way.is_open
        ]
        for grant in self.grants:
            semantics = ENGINES[grant.account.instance.engine].semantics
            because = "superuser" if (grant.kind, grant.privilege) == semantics.everything else "grant"
            personal = grant.kind in semantics.personal
            owner = owners.get(grant.pk)
            holder = owner.account_id if owner else grant.account_id
            for account, way in graph.to_role(holder).items():
                if holder in noinherit and holder != grant.account_id:
                    way = without_last_step(way)
                if not (way.switchable if personal else way.is_open):
                    continue
                path = way.path if holder == grant.account_id else (*way.path, grant.account_id)
                at_once = way.at_once and not (personal and way.path)
                found.append(Holding(account, path, because, grant, at_once, way.links, owner))
        return found

    def taken_away(self) -> list[Grant]:
        """Return the rights on a built-in object that the engine ships with and that were taken away."""
        matching = Q()
        for engine in self.question.built_in:
            for kind, scope in self.question.scopes[engine]:
                matching |= Q(account__instance__engine=engine, kind=kind, scope=scope, digest=MD5(Value(scope)))
        if not matching:
            return []
        taken = (
            self._grants().alias(digest=MD5("scope")).filter(matching, denied=True, privilege=self.question.privilege)
        )
        return list(taken.order_by("account__instance__name", "account__name", "pk"))

    def _grants(self) -> QuerySet[Grant]:
        return (
            Grant.objects.at(self.at).filter(account__instance__in=self.instances).select_related("account__instance")
        )

    def _by_scope(self) -> list[Grant]:
        """Return grants on the object or what contains it, and grants that allow everything."""
        matching = Q()
        for engine, scopes in self.question.scopes.items():
            semantics = ENGINES[engine].semantics
            of_engine = Q()
            for kind, scope in scopes:
                if not (semantics.patterns and kind == "database"):
                    of_engine |= Q(kind=kind, scope=scope, digest=MD5(Value(scope)))
            of_engine &= Q(privilege=self.question.privilege, denied=False)
            if wider := self.question.wider(engine):
                schema = ".".join(self.question.path[:2])
                on_all = Q(kind="system") | Q(kind="schema", scope=schema, digest=MD5(Value(schema)))
                of_engine |= on_all & Q(privilege__in=wider, denied=False) & self._in_database(engine)
            if semantics.everything:
                kind, privilege = semantics.everything
                of_engine |= Q(kind=kind, privilege=privilege) & self._in_database(engine)
            matching |= Q(account__instance__engine=engine) & of_engine
        return list(self._grants().alias(digest=MD5("scope")).filter(matching).order_by())

    def _on_database(self) -> list[Grant]:
        """Return grants and partial revokes on the database, where scopes of databases are patterns: the server uses
        only the most specific of an account's matching patterns."""
        engines = [
            engine
            for engine, scopes in self.question.scopes.items()
            if ENGINES[engine].semantics.patterns and any(kind == "database" for kind, _ in scopes)
        ]
        if not engines:
            return []
        name = Value(self.question.database, output_field=TextField())
        fits = Func(name, F("pattern"), template="%(expressions)s", arg_joiner=" LIKE ", output_field=BooleanField())
        # The question may quote a pattern as shown, and `shop\_a` does not match itself.
        is_pattern = len(self.question.path) == 1 and "\\" in self.question.database
        shown = Q(scope=self.question.path[0]) if is_pattern else Q()
        grants = self._grants().filter(
            Q(database=self.question.database) | Q(scope__contains="%") | Q(scope__contains="_") | shown,
            account__instance__engine__in=engines,
            kind="database",
        )
        grants = grants.annotate(pattern=_UNQUOTED_SCOPE, fits=fits).filter(Q(fits=True) | shown)
        fitting = list(grants.order_by())
        best: dict[int, tuple[int, ...]] = {}
        for grant in fitting:
            if not grant.denied:
                best[grant.account_id] = max(best.get(grant.account_id, ()), _specificity(grant))
        return [grant for grant in fitting if grant.denied or _specificity(grant) == best[grant.account_id]]

    def _by_nature(self) -> dict[int, str]:
        """Return accounts that need no grant → "predefined" or "owner"."""
        named, question = Q(), self.question
        for engine in question.scopes:
            of_engine = Q(is_system=True, name__in=question.predefined(engine))
            # The path of an object in a schema has at least three parts.
            if ENGINES[engine].semantics.owners and len(question.path) > 2:
                of_engine |= Q(name=name_of(question.path[1]), kind=Account.Kind.USER) & self._in_database(engine, "")
            named |= Q(instance__engine=engine) & of_engine
        there = Q(first_seen_at__lte=self.at) & (Q(gone_at=None) | Q(gone_at__gt=self.at))
        accounts = Account.objects.filter(named, there, instance__in=self.instances)
        return {
            pk: "owner" if ENGINES[engine].semantics.owners else "predefined"
            for pk, engine in accounts.order_by().values_list("pk", "instance__engine")
        }

    def _in_database(self, engine: str, owner: str = "account__") -> Q:
        """Condition: the account's privileges apply to the database of the question; `owner` is the path to it."""
        if not (ENGINES[engine].semantics.host_is_database and self.question.path):
            return Q()
        return Q(**{f"{owner}host": self.question.database})

    def _owners(self) -> dict[int, Grant]:
        """Return grant id → the grant by which an account owns its database, for grants of the role that represents the
        owner."""
        stand_ins = {engine.semantics.database_role for engine in ENGINES.values()} - {""}
        grants = [grant for grant in self.grants if grant.account.name in stand_ins]
        if not grants:
            return {}
        owned = Grant.objects.at(self.at).filter(
            account__instance__in={grant.account.instance_id for grant in grants},
            database__in={grant.database for grant in grants},
            kind="database",
            privilege="OWNER",
        )
        rows = owned.order_by().select_related("account")
        owners = {(row.account.instance_id, row.database): row for row in rows}
        found = {grant.pk: owners.get((grant.account.instance_id, grant.database)) for grant in grants}
        return {pk: owner for pk, owner in found.items() if owner}


def without_inheritance(owners: Iterable[int], at: datetime) -> set[int]:
    """Return the database owners that do not inherit the role that represents them."""
    noinherit = Q()
    for engine in ENGINES.values():
        if engine.semantics.no_inherit:
            kind, privilege = engine.semantics.no_inherit
            noinherit |= Q(kind=kind, privilege=privilege)
    owners = list(owners)
    if not owners:
        return set()
    found = Grant.objects.at(at).filter(noinherit, account__in=owners)
    return set(found.order_by().values_list("account", flat=True))


def without_last_step(way: Way) -> Way:
    """Return the path to an owner that does not inherit: the owner's role needs one more SET ROLE."""
    return replace(way, at_once=False, after_switch=way.switchable)


#: A database pattern without the quotes that `dotted()` added.
_UNQUOTED_SCOPE = Case(
    When(
        scope__startswith='"',
        then=Replace(Substr("scope", 2, Length("scope") - 2), Value('""'), Value('"')),
    ),
    default=F("scope"),
    output_field=TextField(),
)


def _specificity(grant: Grant) -> tuple[int, ...]:
    instance = grant.account.instance
    return ENGINES[instance.engine].semantics.patterns(instance.product, grant.pattern)


# The planner overestimates `reach`. OFFSET 0 makes it look up each account instead of reading all memberships.
_EDGES = """
WITH RECURSIVE reach(id) AS (
    SELECT unnest(%(ids)s::bigint[])
     UNION
    SELECT e.next
      FROM reach r CROSS JOIN LATERAL (
           SELECT m.{next} AS next FROM accounts_membership m
            WHERE m.{here} = r.id AND m.since <= %(at)s AND (m.until IS NULL OR m.until > %(at)s) OFFSET 0) e
)
SELECT e.*
  FROM reach r CROSS JOIN LATERAL (
       SELECT m.member_id, m.role_id, m.inherit, m.set_option, m.held_since, m.id, m.until, m.unobserved_since,
              m.grantors
         FROM accounts_membership m
        WHERE m.{here} = r.id AND m.since <= %(at)s AND (m.until IS NULL OR m.until > %(at)s) OFFSET 0) e
"""
_EDGES_UP = _EDGES.format(here="member_id", next="role_id")
_EDGES_DOWN = _EDGES.format(here="role_id", next="member_id")


def edges(ids: Iterable[int], at: datetime, *, up: bool) -> list[Edge]:
    """Return the memberships on all paths from these accounts to their roles, or from these roles to their members."""
    with connection.cursor() as cursor:
        cursor.execute(_EDGES_UP if up else _EDGES_DOWN, {"ids": list(ids), "at": at})
        return [Edge(*row) for row in cursor.fetchall()]
