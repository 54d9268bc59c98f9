"""The rights of many accounts on many objects, in one statement: for the rights matrix and for comparisons.

`relation` decides who holds what, as for "who can". Rows are streamed: only a batch of them is in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from django.db import InternalError, connection
from django.db.models import QuerySet
from django.utils.translation import gettext

from accounts.freshness import LastRead, last_reads
from accounts.models import Account
from console.visibility import shown_to
from console.wildcards import has_wildcards
from engines.registry import ENGINES
from engines.semantics import Requirement, Semantics
from instances.models import Instance

from .moments import past
from .question import Question
from .questions import Fields, Need, unknown
from .relation import Relation
from .seen import did_you_mean, presence
from .sql import PART

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: Rows in memory at once.
BATCH = 10_000

#: How a right can be used, the best first. SQL has the index. The last one is a blocked right on columns.
USABLE = ("login", "switch", "columns", "blocked", "blocked")

#: The shortest paths that rights of every kind apply to: those of owners of schemas on Oracle.
DEPTH = 3


class Right(NamedTuple):
    """A privilege. `usable` is "login", "switch" (after SET ROLE), "columns" (on some columns of the object only) or
    "blocked". With `columns` it is a right on some columns only, blocked or not."""

    privilege: str
    usable: str
    grantable: bool = False
    columns: bool = False


class Object(NamedTuple):
    """An object; with `every`, all objects of the kind ("" for any kind) in `path` ("" for the instance)."""

    every: bool
    kind: str
    path: str

    @property
    def what(self) -> str:
        """Return which objects, with `every`."""
        return gettext("all objects of the kind %s") % self.kind if self.kind else gettext("all objects")

    def __str__(self) -> str:
        return " ".join(filter(None, [self.what if self.every else "", self.path]))


class Cell(NamedTuple):
    """What an account may do with an object, by any path."""

    account: Account
    object: Object
    rights: tuple[Right, ...]


class Axes(NamedTuple):
    """Accounts and objects of one page, and how many there are."""

    accounts: list[int]
    n_accounts: int
    objects: list[Object]
    n_objects: int


@dataclass(frozen=True)
class Scope:
    """Objects: those below the path `on`, those that fit it if it has wildcards, or all for "". None stands for all
    rights, including those on whole instances. Raises ValueError for an invalid path."""

    on: str | None

    def questions(self, *, owners: bool) -> list[Question]:
        """Return the questions about all privileges on these objects, the widest first. With `owners`, of schemas on
        Oracle, which rights apply depends on the length of the path."""
        if self.on is None:
            return [Question("*", None)]
        path = Question("*", self.on).path
        if has_wildcards(self.on):
            return [Question("*", ".".join(path))]
        n_wild = range(1, max(1, DEPTH - len(path) if owners else 1) + 1)
        return [Question("*", ".".join([*path, *["*"] * n])) for n in n_wild]

    @property
    def widest(self) -> Question:
        return self.questions(owners=False)[0]

    @cached_property
    def prefix(self) -> list[str]:
        """The parts that the paths of all objects begin with."""
        parts = [] if self.on is None else Question("*", self.on).path
        return parts[: next((n for n, part in enumerate(parts) if has_wildcards(part)), len(parts))]

    def first(self, length: int) -> str:
        """Return the first parts of the paths, with wildcards if they differ."""
        return ".".join(self.prefix[:length]) if len(self.prefix) >= length else ".".join("*" * length)

    def needed(self, need: Requirement) -> Question:
        """Return the question about what a session needs besides."""
        return Question(need.privilege, self.first(need.parts), need.kind)

    def needs(self) -> list[Need]:
        return [Need(name, self.needed(need), "") for name, need in _requirements()]

    def kinds(self, semantics: Semantics) -> set[str]:
        return self.widest.kinds(semantics)


class Rights(Relation):
    """The statements about all rights within a scope, now or at a moment, of all accounts or of some."""

    def __init__(
        self,
        scope: Scope,
        reads: Collection[LastRead],
        at: datetime | None,
        accounts: Collection[int] | None = None,
    ) -> None:
        super().__init__(at is not None)
        self.scope, self.reads = scope, reads
        self.values: dict[str, Any] = {
            "instances": [read.instance.pk for read in reads],
            "at": at,
            "accounts": list(accounts or ()),
        }
        # Of these only: it takes less time to plan.
        self.engines = {name: ENGINES[name] for name in sorted({read.instance.engine for read in reads})}
        owners = any(engine.semantics.owners for engine in self.engines.values())
        sources = [self.sources(question) for question in scope.questions(owners=owners)]
        if len(sources) > 1:
            # They have grants in common.
            sources = [self.cte("\n UNION ".join(f"SELECT * FROM {one}" for one in sources))]
        self.begins = self.starts(sources[0])
        by_client = any(engine.semantics.patterns for engine in self.engines.values())
        #: Who has what where access depends on the client and on active roles.
        self.decisions = self.decided(scope.widest, sources[0]) if by_client else ""
        self.reached = self.reach(self.sessions(self.begins))
        self.mine = " AND r.account_id = ANY(%(accounts)s::bigint[])" if accounts is not None else ""
        self.held = self.cte(self._held(sources[0]))
        self.objects = self.cte(self._objects())

    def rows(self, objects: Collection[Object] | None = None) -> str:
        """Return the query of the rights: account_id, id (of the object), number, rights, usable (index in USABLE).

        `rights` are joined by commas, each with "+" if it can be passed on, else "-". An account and an object have
        several rows.
        """
        chosen = "" if objects is None else "WHERE false"
        if objects:
            every, kinds, paths = (self.parameter(list(column)) for column in zip(*objects, strict=True))
            rows = f"SELECT * FROM unnest({every}::bool[], {kinds}::text[], {paths}::text[])"
            chosen = f"WHERE (o.every, o.shown, o.path) IN ({rows})"
        start = "entry_id, session_id, inheriting"
        # What one start has on one object stays together: there are far fewer rows than for accounts.
        grouped = self.cte(
            f"SELECT {start}, s.instance_id, s.host, o.id, o.number, o.place, h.exempt,\n"
            "       string_agg(DISTINCT CASE WHEN h.grantable THEN '+' ELSE '-' END || h.privilege, ',') AS rights\n"
            f"  FROM {self.begins} s JOIN {self.held} h ON h.held = coalesce(s.grant_id, -s.holder_id)\n"
            f"  JOIN {self.objects} o ON o.every = h.every AND o.kind = h.kind AND o.scope = h.scope\n"
            f"{chosen} GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9"
        )
        # One number to join by: of several columns, the planner expects no row at all.
        entries = self.cte(f"SELECT *, dense_rank() OVER (ORDER BY {start}, place, exempt) AS spot FROM {grouped}")
        # What a session lacks is the same for all objects of a place.
        places = self.cte(
            f"SELECT DISTINCT ON (place) place, every, kind, place1, place2 FROM {self.objects} ORDER BY place"
        )
        lacks = " OR ".join(self._lacks()) or "false"
        # PUBLIC has no session: what it has, its members may use.
        lacks = f"r.account_id NOT IN (SELECT id FROM accounts_account WHERE kind = 'public') AND ({lacks})"
        ways = self.cte(
            "SELECT h.spot, r.account_id,\n"
            f"       min(CASE WHEN {lacks} THEN 3 + (o.kind = 'column')::int WHEN o.kind = 'column' THEN 2\n"
            "       WHEN r.session_id <> r.account_id THEN 1 ELSE 0 END) AS usable\n"
            f"  FROM (SELECT DISTINCT spot, {start}, instance_id, host, place, exempt FROM {entries}) h\n"
            f"  JOIN {self.reached} r ON r.entry_id = h.entry_id AND r.start_id = h.session_id\n"
            f"   AND r.inheriting = h.inheriting{self.mine} JOIN {places} o USING (place) GROUP BY 1, 2"
        )
        rows = f"SELECT w.account_id, h.id, h.number, h.rights, w.usable FROM {entries} h JOIN {ways} w USING (spot)"
        if self.decisions:
            rows += (
                "\n UNION ALL SELECT r.account_id, o.id, o.number,\n"
                "       CASE WHEN h.grantable THEN '+' ELSE '-' END || h.privilege,\n"
                "       CASE WHEN o.kind = 'column' THEN 2 WHEN r.session_id <> r.account_id THEN 1 ELSE 0 END\n"
                f"  FROM {self.decisions} r JOIN {self.held} h ON h.held = r.grant_id{self.mine}\n"
                f"  JOIN {self.objects} o ON o.every = h.every AND o.kind = h.kind AND o.scope = h.scope\n{chosen}"
            )
        return rows

    def cells(self, objects: Collection[Object] | None = None, part: slice | None = None) -> tuple[str, dict[str, Any]]:
        """Return the statement, and its parameters, of: account id, every, kind, path, rights, usable. Rows of a cell
        follow each other; cells are sorted by instance, account and object. `part` are numbers of cells: the rows end
        with the number, and the number of all cells."""
        order = "i.name, a.name, a.host, a.id, c.number"
        rank = "" if part is None else f", dense_rank() OVER (ORDER BY {order}) AS cell"
        sql = (
            f"SELECT c.account_id, o.every, o.shown, o.path, c.rights, c.usable, c.number{rank}\n"
            f"  FROM ({self.rows(objects)}) c JOIN {self.objects} o USING (id)\n"
            "  JOIN accounts_account a ON a.id = c.account_id JOIN instances_instance i ON i.id = a.instance_id"
            f" ORDER BY {order}"
        )
        values = self.values
        if part is not None:
            numbered = f"SELECT *, max(cell) OVER () FROM ({sql}) c"
            sql = f"SELECT * FROM ({numbered}) c WHERE cell > %(first)s AND cell <= %(last)s ORDER BY cell"
            values = values | {"first": part.start, "last": part.stop}
        return f"{self.with_clause()}\n{sql}", self.parameters | values

    def ordered(self, order: str) -> tuple[str, dict[str, Any]]:
        """Return the statement, and its parameters, of: every, kind, path, rights, usable, name, host, instance id.
        `order` is SQL of columns of the object `o` and the account `a`. Sorted by them, and by object."""
        sql = (
            "SELECT o.every, o.shown, o.path, c.rights, c.usable, a.name, a.host, a.instance_id\n"
            f"  FROM ({self.rows()}) c JOIN {self.objects} o USING (id)\n"
            "  JOIN accounts_account a ON a.id = c.account_id\n"
            f' ORDER BY {order}o.path COLLATE "C", o.shown COLLATE "C", o.every'
        )
        return f"{self.with_clause()}\n{sql}", self.parameters | self.values

    def axes(self, first: tuple[int, int], size: tuple[int, int]) -> Axes:
        """Return the accounts and objects from these numbers on, or the last ones. Takes one query."""
        decided = ""
        if self.decisions:
            decided = (
                f" UNION SELECT r.account_id FROM {self.decisions} r"
                f" WHERE r.grant_id IN (SELECT held FROM {self.held}){self.mine}\n"
            )
        sql = (
            f"{self.with_clause()}, a AS (\n"
            "SELECT x.id, row_number() OVER (ORDER BY i.name, a.name, a.host, a.id) AS n\n"
            f"  FROM (SELECT DISTINCT r.account_id AS id FROM {self.reached} r JOIN (\n"
            "SELECT DISTINCT s.entry_id, s.session_id, s.inheriting\n"
            f"  FROM {self.begins} s WHERE coalesce(s.grant_id, -s.holder_id) IN (SELECT held FROM {self.held})) s\n"
            f"    ON r.entry_id = s.entry_id AND r.start_id = s.session_id AND r.inheriting = s.inheriting{self.mine}\n"
            f"{decided}) x JOIN accounts_account a USING (id) JOIN instances_instance i ON i.id = a.instance_id\n"
            f"), o AS (SELECT DISTINCT number AS n, every, shown, path FROM {self.objects})\n"
            "SELECT id, c.n, NULL AS every, '' AS shown, '' AS path, a.n AS place\n"
            "  FROM a, (SELECT count(*) AS n FROM a) c\n"
            " WHERE a.n > least(%(account)s, (c.n - 1) / %(accounts_size)s * %(accounts_size)s)"
            " AND a.n <= least(%(account)s, (c.n - 1) / %(accounts_size)s * %(accounts_size)s) + %(accounts_size)s\n"
            " UNION ALL SELECT NULL, c.n, every, shown, path, o.n FROM o, (SELECT count(*) AS n FROM o) c\n"
            " WHERE o.n > least(%(object)s, (c.n - 1) / %(objects_size)s * %(objects_size)s)"
            " AND o.n <= least(%(object)s, (c.n - 1) / %(objects_size)s * %(objects_size)s) + %(objects_size)s\n"
            " ORDER BY place"
        )
        values = {"account": first[0], "object": first[1], "accounts_size": size[0], "objects_size": size[1]}
        with connection.cursor() as cursor:
            cursor.execute(sql, self.parameters | self.values | values)
            rows = cursor.fetchall()
        accounts = [row for row in rows if row[0]]
        objects = [row for row in rows if not row[0]]
        return Axes(
            [row[0] for row in accounts],
            accounts[0][1] if accounts else 0,
            [Object(*row[2:5]) for row in objects],
            objects[0][1] if objects else 0,
        )

    def _held(self, sources: str) -> str:
        """Return the query of what is held: held (its id), every, kind, scope (its object), privilege, grantable, and
        `exempt`, the number of the requirement that it fulfils itself, else 0."""
        asked = self.scope.widest.on
        every = "false" if asked is None else f"NOT {self.like('g.scope', asked)}"
        implied = self._implied()
        exempt = "".join(
            f" WHEN s.engine = '{name}' AND s.kind = '{need.kind}'"
            f" AND s.name = {self.parameter(need.privilege)} THEN {number}"
            for number, (name, need) in enumerate(_requirements(), 1)
        )
        return (
            "SELECT s.held, s.every, coalesce(m.kind, s.kind) AS kind, s.scope,\n"
            "       coalesce(m.privilege, s.name) AS privilege, s.grantable,\n"
            f"       CASE {exempt or 'WHEN false THEN 0'} ELSE 0 END AS exempt FROM (\n"
            "SELECT coalesce(s.grant_id, -s.holder_id) AS held, i.engine, s.because,\n"
            f"       s.because <> 'grant' OR {every} AS every, coalesce(g.grantable, false) AS grantable,\n"
            f"       CASE s.because WHEN 'owner' THEN {_quoted('x.host')} || '.' || {_quoted('x.name')}\n"
            "       WHEN 'grant' THEN g.scope ELSE '' END AS scope,\n"
            # Grants on what contains the objects apply to objects of any kind.
            f"       CASE WHEN s.because = 'grant' AND NOT ({every}) THEN g.kind ELSE '' END AS kind,\n"
            "       CASE s.because WHEN 'predefined' THEN x.name WHEN 'owner' THEN 'OWNER' ELSE g.privilege END"
            " AS name\n"
            f"  FROM {sources} s JOIN accounts_account x ON x.id = s.holder_id\n"
            "  JOIN instances_instance i ON i.id = s.instance_id LEFT JOIN accounts_grant g ON g.id = s.grant_id) s\n"
            f"  LEFT JOIN {implied} m\n"
            "    ON s.every AND m.engine = s.engine AND m.because = s.because AND m.name = s.name\n"
            " WHERE NOT s.every OR s.because IN ('superuser', 'owner') OR m.name IS NOT NULL"
        )

    def _implied(self) -> str:
        """Return the CTE of privileges that rights on all objects of the scope give: engine, because, name, kind,
        privilege. `kind` is "" for any kind."""
        found: set[tuple[str, str, str, str, str]] = set()
        for name, engine in self.engines.items():
            semantics = engine.semantics
            # Rights on a table include those on its columns.
            for kind in self.scope.kinds(semantics) - {"column"}:
                for role, powers in semantics.predefined.items():
                    found |= {(name, "predefined", role, kind, privilege) for privilege in powers.get(kind, ())}
                for privilege, wides in semantics.anywhere.get(kind, {}).items():
                    found |= {(name, "grant", wide, kind, privilege) for wide in wides}
                if semantics.containers.get(kind):
                    found |= {(name, "grant", one, "", one) for one in semantics.privileges.get(kind, ())}
        columns = zip(*sorted(found), strict=True) if found else [()] * 5
        arrays = ", ".join(f"{self.parameter(list(column))}::text[]" for column in columns)
        return self.cte(f"SELECT * FROM unnest({arrays})", "(engine, because, name, kind, privilege)")

    def _objects(self) -> str:
        """Return the query of objects: id, every, kind, scope as in `held`, shown (the kind) and path (of a column,
        those of its table), number (their order), place (a number for objects that need the same), place1 and place2
        (the first parts of the path; "" if not known)."""
        places = []
        for length in (1, 2):
            known = self.parameter(".".join(self.scope.prefix[:length]) if len(self.scope.prefix) >= length else "")
            parts = self.parameter(f"^{PART}" + rf"\.{PART}" * (length - 1))
            places.append(
                f"CASE WHEN every THEN {known} ELSE coalesce(substring(scope FROM {parts}), '') END AS place{length}"
            )
        table = self.parameter(rf"^(.*)\.{PART}$")
        return (
            "SELECT *, row_number() OVER w AS id, dense_rank() OVER w AS number,\n"
            "       dense_rank() OVER (ORDER BY every, place1, place2, kind) AS place FROM (\n"
            f"SELECT every, kind, scope, {', '.join(places)},\n"
            "       CASE kind WHEN 'column' THEN 'table' ELSE kind END AS shown,\n"
            f"       CASE kind WHEN 'column' THEN substring(scope FROM {table}) ELSE scope END AS path\n"
            f"  FROM (SELECT DISTINCT every, kind, scope FROM {self.held}) o) o\n"
            ' WINDOW w AS (ORDER BY every DESC, path COLLATE "C", shown COLLATE "C")'
        )

    def _lacks(self) -> Iterator[str]:
        """Yield SQL: the session `r` lacks what it needs for the object `o` beside what `h` is."""
        for number, (name, need) in enumerate(_requirements(), 1):
            if name not in self.engines:
                continue
            semantics = ENGINES[name].semantics
            question = self.scope.needed(need)
            sources = self.sources(question)
            starts = self.starts(sources)
            sessions = self.sessions(starts)
            path = "CASE s.because WHEN 'grant' THEN s.scope ELSE '' END AS path"
            able = self.cte(
                f"SELECT DISTINCT w.session_id, {path} FROM {starts} s JOIN {sessions} w\n"
                "    ON w.entry_id = s.entry_id AND w.start_id = s.session_id AND w.inheriting = s.inheriting"
            )
            public = self.cte(
                # Through its roles, too.
                f"SELECT DISTINCT p.instance_id, p.host, {path} FROM {starts} s JOIN {sessions} w\n"
                "    ON w.entry_id = s.entry_id AND w.start_id = s.session_id AND w.inheriting = s.inheriting\n"
                "  JOIN accounts_account p ON p.id = w.session_id AND p.kind = 'public'"
                if semantics.host_is_database
                else f"SELECT DISTINCT s.instance_id, s.host, {path} FROM {sources} s WHERE s.public"
            )
            lacking = f"h.instance_id IN (SELECT id FROM instances_instance WHERE engine = '{name}')"
            places = {"''"}
            if need.parts:
                place = f"o.place{need.parts}"
                places.add(place)
                kinds = [
                    kind
                    for kind, parts in semantics.paths.items()
                    if parts >= max(need.beyond, need.parts) and kind not in need.without
                ]
                built_in = self.parameter(sorted(semantics.built_in.get(need.kind, ())))
                lacking += (
                    f" AND {place} <> '' AND (o.every OR o.kind = ANY({self.parameter(kinds)}))"
                    f" AND h.exempt <> {number} AND substring({place} FROM '[^.]*$') <> ALL({built_in}::text[])"
                )
            # Only what was read can be lacking.
            kinds = question.needed(semantics)
            if unread := [read.instance.pk for read in self.reads if read.missing(kinds, question.database)]:
                lacking += f" AND h.instance_id <> ALL({self.parameter(unread)})"
            tested = "r.account_id" if need.when == "login" else "r.session_id"
            for place in sorted(places):
                lacking += f" AND ({tested}, {place}) NOT IN (SELECT session_id, path FROM {able})"
                for host in ("''", "h.host"):
                    lacking += (
                        f" AND (h.instance_id, {host}, {place}) NOT IN (SELECT instance_id, host, path FROM {public})"
                    )
            yield f"({lacking})"


def _requirements() -> Iterator[tuple[str, Requirement]]:
    """Yield what sessions need besides: (engine, requirement)."""
    for name, engine in ENGINES.items():
        for need in engine.semantics.requires:
            yield name, need


def _quoted(name: str) -> str:
    """Return SQL: the name as a part of a path, as `engines.paths.dotted()` writes it."""
    return (
        f"CASE WHEN {name} ~ '^[^\\s.\"()\\x01-\\x1f\\x7f]+$' THEN {name}"
        f" ELSE '\"' || replace({name}, '\"', '\"\"') || '\"' END"
    )


@dataclass(frozen=True)
class Matrix:
    """The rights of all accounts, or of `accounts`, on the objects of a scope. `reads` are the basis, and `unknown` the
    instances without a complete answer → reason. `without_columns` are those where grants on columns were not read."""

    at: datetime
    scope: Scope
    reads: dict[int, LastRead]
    unknown: dict[Instance, str]
    without_columns: list[Instance]
    accounts: tuple[int, ...] | None
    is_past: bool

    def cells(self, objects: Collection[Object] | None = None) -> Iterator[Cell]:
        """Yield the cells that are not empty, by instance, account and object: all, or those of these objects."""
        return (cell for cell, _row in self._worded(self.rights().cells(objects)))

    def part(self, numbers: slice) -> tuple[list[Cell], int]:
        """Return the cells with these numbers, and how many there are in all, 0 if none has these numbers."""
        found = list(self._worded(self.rights().cells(part=numbers)))
        return [cell for cell, _row in found], found[0][1][-1] if found else 0

    def axes(self, first: tuple[int, int], size: tuple[int, int]) -> Axes:
        """Return the accounts and objects of a page: numbers of the first ones, and how many there may be."""
        return self.rights().axes(first, size)

    def listed(self, ahead: slice = slice(0, 1)) -> Cells:
        """Return the cells as a sequence. Its length is read together with the slice `ahead`."""
        return Cells(self, ahead)

    def of(self, accounts: Iterable[int]) -> Matrix:
        """Return the part of these accounts."""
        return replace(self, accounts=tuple(accounts))

    def rights(self) -> Rights:
        asked = [read for read in self.reads.values() if not read.retired_at]
        return Rights(self.scope, asked, self.at if self.is_past else None, self.accounts)

    def _worded(self, statement: tuple[str, dict[str, Any]]) -> Iterator[tuple[Cell, tuple[Any, ...]]]:
        """Yield each cell, and its first row."""
        for _cell, group in groupby(self._stream(statement), key=_cell_of):
            rows = list(group)
            account, is_blocked, first = rows[0]
            rights = rights_of([row[4:6] for _account, _blocked, row in rows], is_blocked)
            yield Cell(account, Object(*first[1:4]), rights), first

    def _stream(self, statement: tuple[str, dict[str, Any]]) -> Iterator[tuple[Account, bool, tuple[Any, ...]]]:
        accounts: dict[int, Account] = {}
        blocked: set[int] = set()
        # Accounts are read by the batch, to have few in memory.
        for rows in stream(*statement):
            ids = {row[0] for row in rows}
            if not ids <= accounts.keys():
                accounts = Account.objects.select_related("instance").in_bulk(ids)
                fields = Fields(accounts.values(), self.at)
                blocked = {
                    pk for pk, account in accounts.items() if account.kind != "public" and any(fields.blocking(account))
                }
            for row in rows:
                yield accounts[row[0]], row[0] in blocked, row


class Cells(Sequence[Cell]):
    """The cells of a matrix, each slice of which is read from the store."""

    def __init__(self, matrix: Matrix, ahead: slice) -> None:
        self._matrix, self._ahead = matrix, ahead

    @cached_property
    def _read(self) -> tuple[list[Cell], int]:
        cells, n = self._matrix.part(self._ahead)
        # Behind the last cell there is no row with the number of all.
        return cells, n or (self._matrix.part(slice(0, 1))[1] if self._ahead.start else 0)

    def __len__(self) -> int:
        return self._read[1]

    @overload
    def __getitem__(self, index: int) -> Cell: ...
    @overload
    def __getitem__(self, index: slice) -> list[Cell]: ...
    def __getitem__(self, index: int | slice) -> Cell | list[Cell]:
        if isinstance(index, int):
            return self[index : index + 1][0]
        first, last, _step = index.indices(len(self))
        if (first, last) == self._ahead.indices(len(self))[:2]:
            return self._read[0]
        return self._matrix.part(slice(first, last))[0]


def matrix(
    on: str = "",
    *,
    instances: QuerySet[Instance],
    accounts: Collection[int] | None = None,
    at: datetime | None = None,
    user: User | None = None,
) -> Matrix:
    """Return the rights on the objects below the path `on` ("" for all objects of the instances) at a moment (default:
    now), limited to what `user` may see. Retired instances are unknown and have no cells. Raises ValueError for an
    invalid path, one that no visit has seen, or a future moment.
    """
    moment = past(at)
    scope = Scope(on.strip())
    reads = last_reads(shown_to(instances, user), moment)
    # Only depth C reads columns, and most instances are read less deeply. It is said apart.
    not_known = unknown(scope.widest, reads, at, scope.needs(), {"column"})
    if scope.prefix:
        path = ".".join(scope.prefix)
        found = presence(Question("*", path), reads)
        if found.absent and not (found.present or found.unknown or found.unlisted):
            ids = [read.instance.pk for read in reads]
            raise ValueError(gettext("No visit has seen %s.") % path + did_you_mean(scope.prefix, ids))
    return Matrix(
        moment,
        scope,
        {read.instance.pk: read for read in reads},
        not_known,
        [read.instance for read in reads if "column" in read.beyond],
        None if accounts is None else tuple(accounts),
        at is not None,
    )


def stream(sql: str, parameters: dict[str, Any]) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of a statement by the batch, by a cursor of the store."""
    with connection.chunked_cursor() as cursor, connection.cursor() as settings:
        cursor.itersize = BATCH
        try:
            # All rows will be read: the plan for the first ones is ten times slower.
            settings.execute("SET cursor_tuple_fraction = 1; SET work_mem = '64MB'")
            cursor.execute(sql, parameters)
        finally:
            # In a transaction that failed, the rollback does it.
            with suppress(InternalError):
                settings.execute("RESET cursor_tuple_fraction; RESET work_mem")
        while rows := cursor.fetchmany(BATCH):
            yield rows


def rights_of(rows: Iterable[tuple[str, int]], is_blocked: bool = False) -> tuple[Right, ...]:
    """Return the rights of a cell from the columns `rights` and `usable`: of those with one privilege, the one that can
    be used best."""
    return _rights_of(tuple(sorted(rows, key=itemgetter(1))), is_blocked)


# Few combinations make up all cells.
@lru_cache(maxsize=10_000)
def _rights_of(rows: tuple[tuple[str, int], ...], is_blocked: bool) -> tuple[Right, ...]:
    best: dict[str, Right] = {}
    for rights, usable in rows:
        of_columns = usable in (2, 4)
        code = "blocked" if is_blocked else USABLE[usable]
        for right in rights.split(","):
            name, grantable = right[1:], right[0] == "+"
            known = best.get(name)
            if known is None or (grantable and known[1] == code and known.columns == of_columns):
                best[name] = Right(name, code, grantable, of_columns)
    return tuple(best[name] for name in sorted(best))


def _cell_of(row: tuple[Account, bool, tuple[Any, ...]]) -> tuple[int, int]:
    return row[2][0], row[2][6]
