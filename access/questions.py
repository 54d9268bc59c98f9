"""Who may do what, from the store, now or at a past moment: `who_can()` and `effective()`.

Answers use intervals only, so they cover any moment since the first visit. They name the instances where the answer is
unknown because visits did not read what it depends on. `relation` decides, this module puts the answer into words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from django.db import connection
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import MD5
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext

from accounts.evidence import Evidence, Link
from accounts.freshness import LastRead, last_read, last_reads
from accounts.models import Account, AccountChange, Coverage, Grant
from console.suggestions import nearest
from console.visibility import shown_to
from engines.paths import name_of, segments
from engines.registry import ENGINES
from instances.models import Instance

from .chains import Chains, Edge, edges
from .moments import past
from .patterns import NO_ROLE, undecided
from .question import ALL_POWERFUL, Question
from .relation import Relation

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: Rows of an answer that are put into words at once.
BATCH = 1000


class Holding(NamedTuple):
    """A row of the relation, by ids: `account` has the privilege in `session`, which inherits it from `entry`.

    `holder` is the entry or, with `owner_grant`, the role that stands for the owner of a database. `lacks` are the
    numbers of what the session needs besides.
    """

    account: int
    instance: int
    session: int
    entry: int
    holder: int
    grant: int | None
    owner_grant: int | None
    because: str
    scope: str
    lacks: list[int]
    clients: str | None = None
    via: int = 0
    #: With because "admin", the role that the entry can grant itself.
    role: int | None = None

    @property
    def start(self) -> int:
        """The last account of the chain that memberships lead to by SET ROLE: no membership leads to the role that
        stands for the owner of a database."""
        return self.entry if self.session in (self.holder, NO_ROLE) else self.session


class Need(NamedTuple):
    """What a session needs to use a privilege, on instances of an engine, and the words for its lack."""

    engine: str
    question: Question
    lack: str

    @property
    def kinds(self) -> set[str]:
        """The kinds that a visit must have read to know that it is lacking."""
        return self.question.needed(ENGINES[self.engine].semantics)


@dataclass(frozen=True)
class Access:
    """`account` has the privilege by `grant`, which it holds itself or through the roles of `path`, the holder last.

    `because` is "grant", "superuser" (the grant allows everything), "predefined" (a role with built-in privileges, no
    grant), "owner" (of the object's schema, no grant), "ownership" (of the object: it can give itself the privilege),
    "admin" (it can give itself a role that has the privilege) or "columns" (it has the privilege on `columns` of the
    object only). If not `at_once`, the account must first switch to a role. `blocked` are the reasons why it cannot use
    the privilege. `clients` are hosts: it can use the privilege only from clients that match them. `links` are the
    memberships of the path and the grant.
    """

    account: Account
    path: tuple[Account, ...]
    because: str
    grant: Grant | None
    at_once: bool
    links: list[Link]
    blocked: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    clients: str = ""

    @property
    def usable(self) -> str:
        """Return "blocked", "grant" (it can give itself the privilege), "login" or "switch" (after SET ROLE)."""
        if self.blocked:
            return "blocked"
        return "grant" if self.because in ("ownership", "admin") else "login" if self.at_once else "switch"

    @property
    def since(self) -> datetime | None:
        """When the newest possession on the path began; changes of options do not interrupt it."""
        return max((link.since for link in self.links), default=None)

    @property
    def session(self) -> int | None:
        """The session that first saw the grant."""
        return self.links[-1].first_session if self.grant else None


@dataclass(frozen=True)
class Answer:
    """The known accesses, and the instances where the answer is unknown or incomplete: instance → reason.

    `reads` is the basis of the answer: instance id → its last read, for every instance of the question. `taken_away`
    are rights on a built-in object that the engine ships with and that an account, or PUBLIC, no longer has.
    """

    at: datetime
    rows: Rows
    unknown: dict[Instance, str]
    reads: dict[int, LastRead]
    taken_away: list[Grant]


class Rows(Sequence[Access]):
    """Rows by instance and account. They are put into words when they are read, in batches of four queries."""

    def __init__(self, holdings: Sequence[Holding], needs: Sequence[Need], at: datetime) -> None:
        self.holdings, self._needs, self._at = holdings, needs, at
        #: Where each row begins in `holdings`: rights on several columns are one row.
        self._begin = [n for n, one in enumerate(holdings) if n == 0 or not _is_same_row(one, holdings[n - 1])]

    def __len__(self) -> int:
        return len(self._begin)

    def __iter__(self) -> Iterator[Access]:
        for first in range(0, len(self), BATCH):
            yield from self[first : first + BATCH]

    @overload
    def __getitem__(self, index: int) -> Access: ...
    @overload
    def __getitem__(self, index: slice) -> list[Access]: ...
    def __getitem__(self, index: int | slice) -> Access | list[Access]:
        if isinstance(index, int):
            return self[index : index + 1 or None][0]
        rows = list(pairwise([*self._begin, len(self.holdings)]))
        return self._worded([self.holdings[a:b] for a, b in rows[index]])

    def by_account(self) -> list[slice]:
        """Return the rows of each account, in order."""
        begins = [
            n
            for n, begin in enumerate(self._begin)
            if n == 0 or self.holdings[begin].account != self.holdings[self._begin[n - 1]].account
        ]
        return [slice(a, b) for a, b in pairwise([*begins, len(self)])]

    def without(self, instances: Collection[int]) -> Rows:
        """Return the rows of other instances."""
        return self._kept(one for one in self.holdings if one.instance not in instances)

    def of(self, accounts: Collection[int]) -> Rows:
        """Return the rows of these accounts."""
        return self._kept(one for one in self.holdings if one.account in accounts)

    def _kept(self, holdings: Iterable[Holding]) -> Rows:
        return Rows(list(holdings), self._needs, self._at)

    def _worded(self, rows: list[Sequence[Holding]]) -> list[Access]:
        firsts = [row[0] for row in rows]
        chains = Chains(edges({one.via or one.account for one in firsts}, self._at))
        # On MySQL, a user that is granted as a role brings its roles along, whether or not they are its default.
        found = [
            (
                *chains.chain(one.via or one.account, one.start, one.entry, or_any=bool(one.via)),
                *(chains.granted(one.entry, one.role, one.holder) if one.role else ()),
            )
            for one in firsts
        ]
        ids = {edge.role for chain in found for edge in chain}
        ids |= {pk for one in firsts for pk in (one.account, one.holder, one.via or one.account)}
        accounts = Account.objects.select_related("instance").in_bulk(ids)
        grants = Grant.objects.in_bulk({pk for one in firsts for pk in (one.grant, one.owner_grant) if pk})
        for grant in grants.values():
            if grant.account_id in accounts:
                grant.account = accounts[grant.account_id]
        names = {pk: str(account) for pk, account in accounts.items()}
        evidence: list[tuple[int, Sequence[Edge | Grant]]] = []
        for one, chain in zip(firsts, found, strict=True):
            held = [grants[pk] for pk in (one.owner_grant, one.grant) if pk]
            evidence.append((one.instance, [*chain, *held]))
        fields = Fields([accounts[one.account] for one in firsts], self._at)
        made = []
        for row, one, chain, links in zip(rows, firsts, found, links_of(evidence, names), strict=True):
            account = accounts[one.account]
            path = [accounts[edge.role] for edge in chain]
            if one.via not in (0, one.account):
                path.insert(0, accounts[one.via])
            if one.holder not in (one.entry, *(other.pk for other in path[-1:])):
                path.append(accounts[one.holder])
            lacking = [self._needs[number].lack for number in one.lacks]
            grant = grants[one.grant] if one.grant else None
            made.append(
                Access(
                    account=account,
                    path=tuple(path),
                    # A superuser is one also where the question is who is a superuser.
                    because="superuser" if grant and _permits_all(grant) else one.because,
                    grant=grant,
                    at_once=one.session == one.account,
                    links=links,
                    blocked=() if account.kind == "public" else (*fields.blocking(account), *lacking),
                    clients=one.clients or "",
                    columns=tuple(name_of(_last(two.scope)) for two in row) if one.because == "columns" else (),
                )
            )
        return made


def _permits_all(grant: Grant) -> bool:
    return (grant.kind, grant.privilege) == ENGINES[grant.account.instance.engine].semantics.everything


def _is_same_row(one: Holding, before: Holding) -> bool:
    return one.because == before.because == "columns" and one[:5] == before[:5]


def _last(scope: str) -> str:
    return segments(scope)[-1]


class Fields:
    """What the accounts' fields were at a moment, of those that decide whether an account can log in."""

    def __init__(self, accounts: Iterable[Account], at: datetime) -> None:
        self._at = at
        self._before: dict[int, dict[str, Any]] = defaultdict(dict)
        changes = AccountChange.objects.filter(account__in={account.pk for account in accounts}, at__gt=at)
        for pk, events, details in changes.order_by("at", "pk").values_list("account", "events", "details"):
            before = self._before[pk]
            for name, (value, _after) in details.get("attributes", {}).items():
                before.setdefault(name, value)
            if {"locked", "unlocked"} & {*events}:
                before.setdefault("is_locked", "unlocked" in events)

    def blocking(self, account: Account) -> Iterator[str]:
        """Yield the reasons why login as the account fails."""
        before = self._before.get(account.pk, {})
        field = {name: before.get(name, getattr(account, name)) for name in ("can_login", "is_locked", "valid_until")}
        until = field["valid_until"]
        if isinstance(until, str):
            until = parse_datetime(until)
        if field["can_login"] is False:
            yield gettext("cannot log in")
        if until and until <= self._at:
            yield gettext("expired")
        elif field["is_locked"]:
            yield gettext("locked")


#: Instances that a query names by a subquery if there are more.
WIDE = 50

#: SQL of the reasons (`because`) that are left out for an account that has another one.
_LESSER = "('ownership', 'admin', 'columns')"


def holdings(
    question: Question,
    instances: Collection[int],
    at: datetime | None = None,
    accounts: Collection[int] | None = None,
    *,
    engines: Collection[str] = tuple(ENGINES),
    may_grant: bool = True,
) -> tuple[list[Holding], list[Need]]:
    """Return the rows of the relation on these instances, and what their `lacks` mean. Takes one query.

    Of the sessions in which an account has a source, the row has the best one: without lack, then that at login. What
    visits did not read is lacking too. Rows are sorted by instance and account. `accounts` limits them. `engines` are
    those of the instances. `may_grant` is as in `Relation.sources`.
    """
    query = Relation(at is not None)
    query.engines = {name: ENGINES[name] for name in engines}
    query.is_wide = len(instances) > WIDE
    sources = query.sources(question, may_grant=may_grant)
    starts = query.starts(sources)
    starts = (
        query.admins(starts)
        if may_grant and not question.direct
        else query.cte(f"SELECT *, NULL::bigint AS role_id FROM {starts}")
    )
    reach = query.reach(query.sessions(starts))
    needs: list[Need] = []
    lacks = []
    for name, engine in query.engines.items():
        for when, need in question.requirements(engine.semantics):
            needed = query.sources(need)
            sessions = query.sessions(query.starts(needed))
            tested = "r.account_id" if when == "login" else "r.session_id"
            public = f"FROM {needed} p WHERE p.public AND p.instance_id = s.instance_id AND p.host IN ('', s.host)"
            if engine.semantics.host_is_database:
                # Through its roles, too.
                public = (
                    f"FROM {sessions} z JOIN accounts_account p ON p.id = z.session_id"
                    " WHERE p.kind = 'public' AND p.instance_id = s.instance_id AND p.host = s.host"
                )
            lacks.append(
                f"CASE WHEN i.engine = '{name}' AND {tested} NOT IN (SELECT session_id FROM {sessions})"
                # A role that it grants itself brings what it has.
                f" AND (s.role_id IS NULL OR s.role_id NOT IN (SELECT session_id FROM {sessions}))"
                f" AND NOT EXISTS (SELECT {public}) THEN {len(needs)} END"
            )
            on = gettext("no %(privilege)s on %(path)s") if need.on else gettext("no %(privilege)s")
            needs.append(Need(name, need, on % {"privilege": need.privilege, "path": need.on}))
    limit = "true" if accounts is None else "r.account_id = ANY(%(accounts)s::bigint[])"
    direct = " AND r.account_id = {}.holder_id" if question.direct else ""
    decided = ""
    # Most of the query, which takes time to plan.
    if query.combining:
        decided = (
            "UNION ALL SELECT r.account_id, r.instance_id, r.session_id, r.entry_id, r.holder_id, r.grant_id, NULL,\n"
            "       r.because, r.scope, ARRAY[]::int[], i.name, r.clients, r.via_id, NULL\n"
            f"  FROM {query.decided(question, sources)} r JOIN instances_instance i ON i.id = r.instance_id\n"
            f" WHERE {limit}{direct.format('r')}\n"
        )
    sql = (
        f"{query.with_clause()}, rows AS (\n"
        "SELECT r.account_id, s.instance_id, r.session_id, s.entry_id, s.holder_id, s.grant_id, s.owner_grant_id,\n"
        f"       s.because, s.scope, array_remove(ARRAY[{', '.join(lacks)}]::int[], NULL) AS lacks, i.name,\n"
        "       NULL AS clients, 0 AS via_id, s.role_id\n"
        f"  FROM {starts} s JOIN {reach} r ON r.entry_id = s.entry_id AND r.start_id = s.session_id\n"
        "   AND r.inheriting = s.inheriting JOIN instances_instance i ON i.id = s.instance_id\n"
        f" WHERE {limit}{direct.format('s')}\n"
        f"{decided}), best AS (SELECT DISTINCT ON (account_id, grant_id, holder_id, entry_id, because) * FROM rows\n"
        " ORDER BY account_id, grant_id, holder_id, entry_id, because, cardinality(lacks), session_id <> account_id,\n"
        " clients)\n"
        "SELECT b.account_id, b.instance_id, b.session_id, b.entry_id, b.holder_id, b.grant_id, b.owner_grant_id,\n"
        "       b.because, b.scope, b.lacks, b.clients, b.via_id, b.role_id\n"
        "  FROM best b"
        " CROSS JOIN LATERAL (SELECT * FROM accounts_account a WHERE a.id = b.account_id OFFSET 0) x\n"
        f" WHERE b.because NOT IN {_LESSER} OR NOT EXISTS (SELECT FROM best o"
        f" WHERE o.account_id = b.account_id AND o.because NOT IN {_LESSER})\n"
        " ORDER BY b.name, x.name, x.host, x.id, cardinality(b.lacks), b.because = 'columns', b.session_id <> x.id,\n"
        "       b.entry_id <> x.id, b.because, b.holder_id, b.entry_id, b.scope, b.grant_id"
    )
    values = {"instances": list(instances), "at": at, "accounts": list(accounts or ())}
    with connection.cursor() as cursor:
        cursor.execute(sql, query.parameters | values)
        return [Holding(*row) for row in cursor.fetchall()], needs


def rows_of(question: Question, instance: Instance, at: datetime | None, accounts: Collection[int]) -> Rows:
    """Return why these accounts of an instance have what a rule asks for. PUBLIC is an account too."""
    found, needs = holdings(question, [instance.pk], at, accounts, engines=[instance.engine], may_grant=False)
    return Rows(found, needs, past(at))


def who_can(
    privilege: str,
    on: str = "",
    *,
    kind: str = "",
    at: datetime | None = None,
    instances: QuerySet[Instance] | None = None,
    user: User | None = None,
) -> Answer:
    """Return the accounts with a privilege on an object at a moment (default: now), by any path.

    `privilege` is a name, `ANY_WRITE` or `ALL_POWERFUL`. `on` is the object's path as grants show it
    ("shop.public.orders"; "" for the whole instance). `kind` is one of GRANT_KINDS, for a path that several kinds can
    have. The answer is limited to what `user` may see. Retired instances are unknown and have no rows. A privilege of
    PUBLIC is one row, for PUBLIC. Raises ValueError for an invalid path, an unknown privilege, or a future moment.
    """
    moment = past(at)
    question = Question.parse(privilege, on, kind)
    engines = [name for name, engine in ENGINES.items() if _is_answered(question, engine.semantics)]
    if not engines:
        of = f" of the kind {kind!r}" if kind else ""
        raise ValueError(f"No engine has objects{of} with a path of {len(question.path)} parts.")
    selected = Instance.objects.all() if instances is None else instances
    reads = last_reads(shown_to(selected.filter(engine__in=engines), user), moment)
    asked = [read.instance.pk for read in reads if not read.retired_at]
    found, needs = holdings(question, asked, at, engines={read.instance.engine for read in reads})
    if all(one.because == "superuser" for one in found):
        _check_privilege(question, shown_to(Grant.objects.all(), user), asked, {read.instance.engine for read in reads})
    rows = Rows(_without_unread(found, needs, reads), needs, moment)
    of_instance = {read.instance.pk: read for read in reads}
    return Answer(moment, rows, unknown(question, reads, at, needs), of_instance, taken_away(question, asked, moment))


def _without_unread(found: list[Holding], needs: Sequence[Need], reads: Sequence[LastRead]) -> list[Holding]:
    """Return the rows without what they seem to lack only because visits did not read it."""
    lacking = {one.instance for one in found if one.lacks}
    unread = {
        (read.instance.pk, number)
        for number, need in enumerate(needs)
        for kinds in (need.kinds,)
        for read in reads
        if read.instance.pk in lacking
        if need.engine == read.instance.engine and read.missing(kinds, need.question.database)
    }
    if not unread:
        return found
    return [
        one._replace(lacks=[number for number in one.lacks if (one.instance, number) not in unread]) for one in found
    ]


def _is_answered(question: Question, semantics: Any) -> bool:
    if question.privilege == ALL_POWERFUL:
        return bool(semantics.powerful)
    return bool(question.scopes(semantics))


def _check_privilege(
    question: Question, grants: QuerySet[Grant], instances: list[int], engines: Collection[str]
) -> None:
    """Raise ValueError for a privilege that these engines do not define, and that no visit has ever seen, although one
    has visited the instances."""
    defined = (
        privilege
        for semantics in (engine.semantics for name, engine in ENGINES.items() if name in engines)
        for kind in question.kinds(semantics) | {kind for kind, _scope in question.scopes(semantics)}
        for privilege in semantics.privileges.get(kind, ())
    )
    if len(question.privileges) != 1 or any(map(question.fits, defined)):
        return
    if any(question.is_open(engine.semantics) for engine in ENGINES.values()):
        return
    (privilege,) = question.privileges
    if grants.filter(privilege=privilege).exists():
        return
    if instances and not Coverage.objects.filter(instance__in=instances).exists():
        return
    known = grants.order_by().values_list("privilege", flat=True).distinct()
    raise ValueError(gettext("No visit has ever seen a privilege %r.") % privilege + nearest(privilege, known))


def taken_away(question: Question, instances: Collection[int], at: datetime) -> list[Grant]:
    """Return the rights on a built-in object that the engine ships with and that were taken away."""
    matching = Q()
    for name in question.built_in():
        for kind, scope in question.scopes(ENGINES[name].semantics):
            matching |= Q(account__instance__engine=name, kind=kind, scope=scope, digest=MD5(Value(scope)))
    if not matching:
        return []
    taken = Grant.objects.at(at).alias(digest=MD5("scope")).select_related("account__instance")
    taken = taken.filter(matching, account__instance__in=instances, denied=True, privilege__in=question.privileges)
    return list(taken.order_by("account__instance__name", "account__name", "pk"))


def unknown(
    question: Question,
    reads: Sequence[LastRead],
    at: datetime | None,
    needs: Sequence[Need] = (),
    without: Collection[str] = (),
) -> dict[Instance, str]:
    """Return the instances with a stale read, a read without what the answer depends on, or rights that the question
    does not decide → reason. The answer does not depend on the kinds `without`."""
    found = {}
    built_in = {*question.built_in()}
    open_to_all = {name for name, engine in ENGINES.items() if question.is_open(engine.semantics)}
    needed = {
        name: question.needed(engine.semantics).union(*(need.kinds for need in needs if need.engine == name))
        - {*without}
        for name, engine in ENGINES.items()
    }
    combined = [
        read.instance.pk
        for read in reads
        if ENGINES[read.instance.engine].semantics.patterns and "database" in needed[read.instance.engine]
    ]
    by_database = undecided(combined, at) if combined and not question.database else ()
    for read in reads:
        reasons = [read.reason] if read.is_stale else []
        if missing := read.missing(needed[read.instance.engine], question.database):
            reasons.append(missing)
        if read.instance.engine in built_in:
            reasons.append(gettext("on built-in objects, the rights that the engine ships with are not recorded"))
        if read.instance.engine in open_to_all:
            reasons.append(gettext("everyone may set most parameters without a grant; only grants are recorded"))
        if read.instance.pk in by_database:
            reasons.append(
                gettext("which grants on databases count depends on the database: some overlap or are partly revoked")
            )
        if reasons:
            found[read.instance] = "; ".join(reasons)
    return found


def links_of(chains: Iterable[tuple[int, Sequence[Edge | Grant]]], names: Mapping[int, str]) -> list[list[Link]]:
    """Return the links of each chain, given as its instance and its memberships and grants. `names` are those of the
    accounts in memberships. Takes one query."""
    chains = list(chains)
    evidence = Evidence((instance, row) for instance, rows in chains for row in rows)
    # Chains have memberships in common.
    made: dict[tuple[type, int], Link] = {}
    for instance, rows in chains:
        for row in rows:
            if (type(row), row.pk) not in made:
                made[type(row), row.pk] = evidence.link(instance, row, _text(row, names))
    return [[made[type(row), row.pk] for row in rows] for _instance, rows in chains]


def _text(row: Edge | Grant, names: Mapping[int, str]) -> str:
    if isinstance(row, Grant):
        return str(row)
    return gettext("%(member)s in %(role)s") % {"member": names[row.member], "role": names[row.role]}


class Reached(NamedTuple):
    """How an account has the rights of a holder: as in `Holding`. `database` is the only one where it has them. The
    chain begins at `via`, if that is not 0."""

    session: int
    holder: int
    entry: int
    owner_grant: int | None
    database: str | None = None
    clients: str = ""
    via: int = 0

    start = Holding.start


@dataclass(frozen=True)
class Nature:
    """Rights that the account has without a grant, through `path` and a predefined role, the last of it."""

    path: tuple[Account, ...]
    at_once: bool
    powers: Mapping[str, Collection[str]]


@dataclass(frozen=True)
class Effective:
    """What an account may do: `grants` are its own, those of its roles and of PUBLIC; `path(grant)` leads to one.

    `read` is the last read that the answer is based on. On MySQL and MariaDB, there are also those of accounts of the
    same name, and `decided` are id of a grant → the best way to it. If `by_database`, which grants on databases count
    depends on the database: all are listed.
    """

    account: Account
    at: datetime
    grants: QuerySet[Grant]
    read: LastRead
    ways: Mapping[tuple[int, str | None], list[Reached]]
    decided: Mapping[int, Reached]
    by_database: bool

    @property
    def coverage(self) -> LastRead | None:
        """The read at that moment, or None before the first visit."""
        return self.read if self.read.is_visited else None

    def way(self, grant: Grant) -> Reached:
        """Return the best way from the account to the holder of one of `grants`: at login, if there is one."""
        if grant.pk in self.decided:
            return self.decided[grant.pk]
        personal = grant.kind in ENGINES[self.account.instance.engine].semantics.personal
        ways = [*self.ways.get((grant.account_id, None), ()), *self.ways.get((grant.account_id, grant.database), ())]
        return next(way for way in ways if not personal or way.session == way.holder)

    def at_once(self, grant: Grant) -> bool:
        """Return whether one of `grants` applies without SET ROLE."""
        return self.way(grant).session == self.account.pk

    @cached_property
    def _chains(self) -> Chains:
        return Chains(edges({self.account.pk, *(way.via for way in self._all_ways if way.via)}, self.at))

    @property
    def _all_ways(self) -> Iterator[Reached]:
        yield from self.decided.values()
        for ways in self.ways.values():
            yield from ways

    def _chain(self, way: Reached) -> tuple[Edge, ...]:
        if way.via:
            start = way.via if way.session == self.account.pk else way.start
            return self._chains.chain(way.via, start, way.entry, or_any=True)
        return self._chains.chain(self.account.pk, way.start, way.entry)

    @cached_property
    def _members(self) -> set[int]:
        return {self.account.pk, *(edge.role for edge in self._chains.all())}

    def path(self, way: Reached) -> list[int]:
        """Return the ids of the roles on the way, the holder last; empty for the account itself."""
        chain = [edge.role for edge in self._chain(way)]
        if way.via not in (0, self.account.pk):
            chain.insert(0, way.via)
        return chain if (chain or [self.account.pk])[-1] == way.holder else [*chain, way.holder]

    def path_of(self, grant: Grant) -> list[str]:
        """Return the names of the roles on the way to one of `grants`."""
        return [self.names[pk] for pk in self.path(self.way(grant))]

    @cached_property
    def names(self) -> dict[int, str]:
        """Account id → name, for all accounts on the paths."""
        ids = {*self._members, *(holder for holder, _database in self.ways)}
        ids |= {pk for way in self._all_ways for pk in (way.holder, way.via)}
        return {role.pk: str(role) for role in Account.objects.filter(pk__in=ids)}

    def links(self, grants: Sequence[Grant]) -> dict[int, list[Link]]:
        """Return id of each of these `grants` → the links of the path to it, itself last. Takes at most three queries,
        with the first call of `names`."""
        ways = [self.way(grant) for grant in grants]
        owners = Grant.objects.in_bulk({way.owner_grant for way in ways if way.owner_grant})
        chains = [
            (self.account.instance_id, [*self._chain(way), *filter(None, [owners.get(way.owner_grant)]), grant])
            for way, grant in zip(ways, grants, strict=True)
        ]
        return dict(zip((grant.pk for grant in grants), links_of(chains, self.names), strict=True))

    def natures(self) -> list[Nature]:
        """Return what the account may do as a member of predefined roles, without a grant."""
        predefined = ENGINES[self.account.instance.engine].semantics.predefined
        found = []
        roles = Account.objects.at(self.at).filter(is_system=True, name__in=predefined)
        roles = roles.filter(pk__in=[pk for pk, _database in self.ways])
        accounts = Account.objects.in_bulk(self._members) if roles else {}
        for role in sorted(roles, key=str):
            way = self.ways[role.pk, None][0]
            path = tuple(accounts[pk] for pk in self.path(way))
            found.append(Nature(path or (role,), way.session == self.account.pk, predefined[role.name]))
        return found


def effective(account: Account, at: datetime | None = None) -> Effective:
    """Return what the account may do at a moment (default: now), by its own grants, through roles and through PUBLIC.

    Raises ValueError for a future moment.
    """
    moment = past(at)
    semantics = ENGINES[account.instance.engine].semantics
    query = Relation(at is not None)
    query.engines = {account.instance.engine: ENGINES[account.instance.engine]}
    upwards = query.upwards(account.pk)
    sql = (
        f"{query.with_clause()} SELECT DISTINCT session_id, holder_id, entry_id, owner_grant_id, database, via_id"
        f" FROM {upwards} ORDER BY session_id, holder_id, entry_id"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, query.parameters | {"at": at})
        rows = [Reached(*row[:5], via=row[5]) for row in cursor.fetchall()]
    ways: dict[tuple[int, str | None], list[Reached]] = defaultdict(list)
    # The best way first: at login, then by SET ROLE to the holder itself.
    for row in sorted(rows, key=lambda row: (row.session != account.pk, row.session != row.holder, row.via)):
        ways[row.holder, row.database].append(row)
    everywhere = {holder for holder, database in ways if database is None}
    switchable = [row.holder for row in rows if row.session == row.holder and row.database is None]
    held = Q(account__in=everywhere) & (~Q(kind__in=semantics.personal) | Q(account__in=switchable))
    for holder, database in ways:
        if database is not None:
            held |= Q(account=holder, database=database) & ~Q(kind__in=semantics.personal)
    decided = {}
    if semantics.patterns:
        decided = _decided(account, at)
        held = Q(pk__in=decided) | (held & Q(denied=True))
    return Effective(
        account=account,
        at=moment,
        grants=Grant.objects.at(moment).filter(held).select_related("account"),
        read=last_read(account.instance, moment),
        ways=ways,
        decided=decided,
        by_database=semantics.patterns and bool(undecided([account.instance_id], at)),
    )


def _decided(account: Account, at: datetime | None) -> dict[int, Reached]:
    """Return id of a grant → the best way to it, where grants depend on the client and on active roles."""
    query = Relation(at is not None)
    query.engines = {account.instance.engine: ENGINES[account.instance.engine]}
    me, name = query.parameter(account.pk), query.parameter(account.name)
    near = query.cte(
        f"SELECT a.id FROM accounts_account a WHERE {query.within('a.instance_id')}\n"
        f"   AND (a.id = {me} OR (a.name IN ({name}, '') AND {query.existing('a')}) OR a.kind = 'public')\n"
        f" UNION SELECT m.role_id FROM {{self}} w {query.roles('w.id')}",
        "(id)",
    )
    everything = Question("*", None)
    sources = query.cte(f"SELECT * FROM {query.sources(everything)} WHERE holder_id IN (SELECT id FROM {near})")
    rows = query.decided(everything, sources, login=name)
    sql = (
        f"{query.with_clause()} SELECT r.grant_id, r.session_id, r.holder_id, r.entry_id, r.clients, r.via_id,\n"
        f"       r.account_id FROM {rows} r JOIN accounts_account a ON a.id = r.account_id\n"
        f" WHERE a.id = {me} OR a.kind = 'public'\n"
        # The best way first.
        f" ORDER BY r.grant_id, r.session_id <> {me} AND a.kind IS DISTINCT FROM 'public', r.clients NULLS FIRST,\n"
        f"       r.holder_id <> {me}, r.via_id, r.session_id, r.entry_id"
    )
    found: dict[int, Reached] = {}
    with connection.cursor() as cursor:
        cursor.execute(sql, query.parameters | {"instances": [account.instance_id], "at": at})
        for grant, session, holder, entry, clients, via, of in cursor.fetchall():
            # What PUBLIC has, all have at login.
            session = account.pk if of != account.pk else session
            found.setdefault(grant, Reached(session, holder, entry, None, None, clients or "", via))
    return found
