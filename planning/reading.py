"""Read what fills: everything with a limit, its sizes by day, and when it will be full."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import (
    Case,
    DateField,
    Exists,
    ExpressionWrapper,
    F,
    Func,
    IntegerField,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
)
from django.utils import timezone
from django.utils.translation import gettext

from aggregation.reading import chosen_instances
from capacity.models import Database, DatabaseSize, InstanceSize, Tablespace, TablespaceSize
from console.visibility import shown_to
from instances.models import Instance
from sync.lateness import longest_gap, schedules_of
from tagging.models import InstanceTag, Tag
from work.days import local_day

from .answers import AHEAD, WINDOW, Forecast, NoForecast
from .models import FLEET, Projection, SizeLimit, Volume

# numpy is loaded on first use: visits need none, and it takes 7 MB of each worker.
if TYPE_CHECKING:
    from .forecast import Numbers

KINDS = ("instance", "database", "tablespace", "tag", "fleet", "volume")

#: In a sum, an instance that was not read keeps its last size for so many days. After that, the sum is unknown.
BRIDGED = 7


@dataclass(frozen=True)
class Ceiling:
    """Something that fills, and the bytes at which it is full; None without a limit.

    `kind` is one of KINDS. `pk` is its primary key, None for the fleet.
    `instance` is the instance it lies in; None if it covers several, whose ids are `members`. `row` sets the limit;
    without it, the limit is the engine's own.
    """

    kind: str
    pk: int | None
    name: str
    limit: int | None
    row: SizeLimit | Volume | None
    instance: Instance | None = None
    members: tuple[int, ...] = ()

    @property
    def source(self) -> str:
        """Where the limit comes from: "typed", "prometheus", "engine", or "" without a limit."""
        if self.limit is None:
            return ""
        if self.row is None:
            return "engine"
        return "prometheus" if getattr(self.row, "mount", "") else "typed"


Answer = tuple[Ceiling, Forecast | NoForecast]


@dataclass(frozen=True)
class Sized:
    """A kind of thing with sizes by day. `things` are those that exist, on active instances; `instance` leads to their
    instance, and `listed` leaves out those that lists hide. `sizes` are the rows of days, `of` leads from there to the
    thing, and `bytes` to the size."""

    things: Callable[[], QuerySet[Any]]
    instance: str
    sizes: Callable[[], QuerySet[Any]]
    of: str
    listed: Q = field(default_factory=Q)
    bytes: str = "size"


def _tablespaces() -> QuerySet[Tablespace]:
    """Those with a limit that was typed in, and permanent ones. The engine uses the space of the others again."""
    rows = Tablespace.objects.present().filter(instance__retired_at=None)
    return rows.filter(Q(kind=Tablespace.Kind.PERMANENT) | Q(size_limit__isnull=False))


def _tablespace_sizes() -> QuerySet[TablespaceSize]:
    """With `filled`: the bytes in use, or, of a tablespace where the engine does not know them, those allocated."""
    rows = TablespaceSize.objects.filter(Q(tablespace__used=None) | Q(used__isnull=False))
    return rows.annotate(filled=Case(When(tablespace__used=None, then=F("size")), default=F("used")))


#: The other kinds of KINDS are totals of instances.
SIZED = {
    # An incomplete day would look like a decrease.
    "instance": Sized(
        Instance.objects.active, "pk", lambda: InstanceSize.objects.filter(is_complete=True), of="instance"
    ),
    "database": Sized(
        lambda: Database.objects.present().filter(instance__retired_at=None),
        "instance",
        DatabaseSize.objects.all,
        of="database",
        listed=Q(is_filtered=False),
    ),
    "tablespace": Sized(
        _tablespaces, "instance", _tablespace_sizes, of="tablespace", listed=Q(limit=None), bytes="filled"
    ),
}


def ceilings(user: User | None = None, limits: QuerySet[SizeLimit] | None = None) -> list[Ceiling]:
    """Return everything with a limit that the user may see; with `limits`, these only. Takes a fixed number of queries.
    Retired instances are left out, and databases and tablespaces that are gone."""
    rows = shown_to(SizeLimit.objects.all() if limits is None else limits, user)
    for gone in ("instance__retired_at", "database__gone_at", "tablespace__gone_at"):
        rows = rows.filter(**{f"{gone}__isnull": True})
    for path in ("database__instance", "tablespace__instance"):
        rows = rows.filter(**{f"{path}__retired_at__isnull": True})
    found = list(rows.with_targets())
    engines = _tablespaces().filter(limit__isnull=False, size_limit=None).select_related("instance", "database")
    volumes = list(shown_to(Volume.objects.prefetch_related("instances"), user)) if limits is None else []
    active: set[int] = set()
    tagged: dict[int, list[int]] = defaultdict(list)
    if volumes or any(limit.kind in ("tag", FLEET) for limit in found):
        active = set(Instance.objects.active().values_list("pk", flat=True))
        pairs = InstanceTag.objects.filter(tag__in=[limit.tag_id for limit in found if limit.tag_id])
        for tag, instance in pairs.values_list("tag", "instance"):
            tagged[tag].append(instance)
    return [
        *(_of_limit(limit, active, tagged) for limit in found),
        *(
            replace(_unlimited("tablespace", tablespace), limit=tablespace.limit)
            for tablespace in (shown_to(engines, user) if limits is None else ())
        ),
        *(
            Ceiling(
                *("volume", volume.pk, volume.name, volume.size, volume),
                members=tuple(instance.pk for instance in volume.instances.all() if instance.pk in active),
            )
            for volume in volumes
        ),
    ]


def _of_limit(limit: SizeLimit, active: set[int], tagged: dict[int, list[int]]) -> Ceiling:
    if limit.kind in SIZED:
        return replace(_unlimited(limit.kind, limit.target), limit=limit.size, row=limit)
    if limit.tag:
        members = tuple(pk for pk in tagged[limit.tag.pk] if pk in active)
        return Ceiling("tag", limit.tag.pk, limit.tag.label, limit.size, limit, members=members)
    return Ceiling("fleet", None, gettext("whole fleet"), limit.size, limit, members=tuple(active))


def series(found: Sequence[Ceiling]) -> Numbers:
    """Return the sizes of each of them by day, in bytes: one row each, today in the last of WINDOW columns. Takes one
    query per table of sizes."""
    import numpy as np

    ids: dict[str, set[int]] = defaultdict(set)
    for ceiling in found:
        ids[ceiling.kind if ceiling.kind in SIZED else "instance"] |= {*ceiling.members, ceiling.pk or 0} - {0}
    rows = {kind: dict(zip(pks, sizes_of(kind, [*pks]), strict=True)) for kind, pks in ids.items()}
    unknown = np.full(WINDOW, np.nan)
    return np.array(
        [
            rows[ceiling.kind].get(ceiling.pk, unknown)
            if ceiling.kind in SIZED
            else total(np.array([rows["instance"][pk] for pk in ceiling.members]).reshape(-1, WINDOW))
            for ceiling in found
        ]
    ).reshape(-1, WINDOW)


def sizes_of(kind: str, ids: Sequence[int]) -> Numbers:
    """Return the sizes of things of one kind of SIZED: len(ids) × WINDOW, today in the last column, NaN where there is
    no size."""
    import numpy as np

    days = np.full((len(ids), WINDOW), np.nan)
    if not ids:
        return days
    sized, first = SIZED[kind], local_day() - timedelta(days=WINDOW - 1)
    column = Func(F("day"), Value(first, DateField()), arg_joiner=" - ", template="(%(expressions)s)")
    rows = sized.sizes().filter(**{f"{sized.of}__in": ids, "day__range": (first, local_day())}).order_by()
    rows = rows.annotate(column=ExpressionWrapper(column, IntegerField())).values_list(sized.of, "column", sized.bytes)
    # As text, into an array at once: a tuple for each of 20 million sizes would take ten times as long.
    with connection.cursor() as cursor, BytesIO() as text:
        query = cursor.mogrify(*rows.query.sql_with_params()).decode()
        cursor.copy_expert(f"COPY ({query}) TO STDOUT", text)
        table = np.fromstring(text.getvalue(), np.int64, sep=" ").reshape(-1, 3)
    order = np.argsort(ids)
    days[order[np.searchsorted(ids, table[:, 0], sorter=order)], table[:, 1]] = table[:, 2]
    return days


def total(parts: Numbers) -> Numbers:
    """Return the sum by day. A part is 0 before its first day: it did not exist. A missing day counts as the last size
    before it, for BRIDGED days; then the sum of that day is missing. So it is before the first day of all parts, and
    after the last."""
    import numpy as np

    known, columns = ~np.isnan(parts), np.arange(parts.shape[1])
    place = np.maximum.accumulate(np.where(known, columns, -1), 1)
    held = np.where(place < 0, 0.0, np.take_along_axis(parts, np.maximum(place, 0), 1))
    held[(place >= 0) & (columns - place > BRIDGED) & known.any(1, keepdims=True)] = np.nan
    some = np.flatnonzero(known.any(0))
    between = (columns >= some[0]) & (columns <= some[-1]) if len(some) else np.zeros(len(columns), bool)
    return np.where(between, held.sum(0), np.nan)


def forecasts(found: Sequence[Ceiling]) -> list[Answer]:
    """Return each of them with its stored forecast, nearest first. Takes one query, and one for measured volumes."""
    keys = {(ceiling.kind, ceiling.pk or 0) for ceiling in found}
    rows = Projection.objects.filter(kind__in={kind for kind, _ in keys}, target__in={pk for _, pk in keys})
    limits = _limits(found)
    stored = answers(rows, limits)
    pairs = []
    for ceiling in found:
        key = (ceiling.kind, ceiling.pk or 0)
        pairs.append((replace(ceiling, limit=limits[key]), stored.get(key, NoForecast("new"))))
    return sorted(pairs, key=_nearness)


def answers(
    rows: QuerySet[Projection], limits: Mapping[tuple[str, int], int | None]
) -> dict[tuple[str, int], Forecast | NoForecast]:
    """Return (kind, target) → stored forecast, beside the limit where there is one. Takes one query."""
    found, days = {}, None
    for row in rows.annotate(schedules=schedules_of("capacity.collect")):
        if days is None:
            age = max(timedelta(hours=settings.TAIFISH_STALE_AFTER), 1.5 * longest_gap(row.schedules))
            # A size is of some time of its day.
            days = local_day(timezone.now() - age)
        key = (row.kind, row.target)
        found[key] = row.answer(limits.get(key), days)
    return found


def _limits(found: Sequence[Ceiling]) -> dict[tuple[str, int], int | None]:
    """Of a volume that Prometheus measured: what its instances had that day, and what was available."""
    limits = {(ceiling.kind, ceiling.pk or 0): ceiling.limit for ceiling in found}
    measured = [
        (ceiling, ceiling.row)
        for ceiling in found
        if isinstance(ceiling.row, Volume) and ceiling.row.available is not None and ceiling.row.read_at
    ]
    if not measured:
        return limits
    import numpy as np

    first = local_day() - timedelta(days=WINDOW - 1)
    for (_ceiling, volume), sizes in zip(measured, series([ceiling for ceiling, _ in measured]), strict=True):
        before = sizes[: max((local_day(volume.read_at) - first).days + 1, 0)]
        if (known := before[~np.isnan(before)]).size:
            limits["volume", volume.pk] = int(known[-1]) + volume.available
    return limits


def _nearness(item: Answer) -> tuple[int, int, str]:
    ceiling, found = item
    if isinstance(found, NoForecast):
        return (3, 0, ceiling.name)
    if found.days is not None:
        return (0, found.days, ceiling.name)
    # Rank 1: only the upper bound reaches the limit within a year.
    return (2, 0, ceiling.name) if found.earliest is None else (1, found.earliest, ceiling.name)


@dataclass(frozen=True)
class Filling:
    """What is full within some days by the upper bound, the nearest first, and what is not known: without a forecast,
    or with one of old sizes."""

    rows: Sequence[Answer]
    unknown: Sequence[Answer]


def filling(
    days: int, user: User | None = None, *, tag: Tag | None = None, engine: str = "", kind: str = ""
) -> Filling:
    """Return everything with a limit that may be full within so many days from today. Takes a fixed number of queries.
    Of totals, only that of the tag itself is left when there is a tag, and only volumes when there is an engine."""
    found = forecasts(chosen(ceilings(user), tag=tag, engine=engine, kind=kind))
    end = local_day() + timedelta(days=days)
    rows = [item for item in found if isinstance(item[1], Forecast) and (item[1].earliest_on or date.max) <= end]
    unknown = [item for item in found if isinstance(item[1], NoForecast) or item[1].is_stale]
    return Filling(sorted(rows, key=lambda item: (item[1].earliest_on, item[1].on or date.max)), unknown)


def chosen(found: Sequence[Ceiling], *, tag: Tag | None = None, engine: str = "", kind: str = "") -> list[Ceiling]:
    """Return those of a kind and of instances with that tag or engine. Takes one query."""
    found = [ceiling for ceiling in found if kind in ("", ceiling.kind)]
    if not (tag or engine):
        return found
    ids = set(chosen_instances(tag, engine).values_list("pk", flat=True))
    return [
        ceiling
        for ceiling in found
        if (ceiling.instance and ceiling.instance.pk in ids)
        or (ceiling.kind == "volume" and ids.intersection(ceiling.members))
        or (ceiling.kind == "tag" and tag and tag.pk == ceiling.pk and not engine)
    ]


def growing(
    user: User | None = None, *, tag: Tag | None = None, engine: str = "", kind: str = ""
) -> QuerySet[Projection]:
    """Return the projections of things without a limit, by the growth that is expected in 30 days. `kind` is one of
    SIZED, by default databases; filtered ones are left out. Raises ValueError for another kind."""
    kind = kind or "database"
    if kind not in SIZED:
        raise ValueError(gettext("Growth without a limit is listed for: %s.") % ", ".join(SIZED))
    sized = SIZED[kind]
    things = sized.things().filter(sized.listed, **{f"{sized.instance}__in": chosen_instances(tag, engine, user)})
    limited = SizeLimit.objects.filter(**{kind: OuterRef("target")})
    rows = Projection.objects.filter(~Exists(limited), kind=kind, reason="", target__in=things.values("pk"))
    return rows.annotate(growth=F(f"expected__{AHEAD.index(30)}") - F("size")).order_by("-growth", "target")


def named(rows: Sequence[Projection]) -> list[Answer]:
    """Return the projections of one kind of SIZED with their names. Takes two queries."""
    if not rows:
        return []
    sized, targets = SIZED[rows[0].kind], [row.target for row in rows]
    things = sized.things()
    things = things.select_related(sized.instance) if sized.instance != "pk" else things
    things = things.select_related("database") if rows[0].kind == "tablespace" else things
    by_pk = things.in_bulk(targets)
    stored = answers(Projection.objects.filter(kind=rows[0].kind, target__in=targets), {})
    return [
        (_unlimited(row.kind, by_pk[row.target]), stored[row.kind, row.target]) for row in rows if row.target in by_pk
    ]


def _unlimited(kind: str, thing: Any) -> Ceiling:
    if isinstance(thing, Instance):
        return Ceiling(kind, thing.pk, thing.name, None, None, thing)
    parts = [thing.instance, thing.database, thing] if isinstance(thing, Tablespace) else [thing.instance, thing]
    name = " / ".join(part.name for part in parts if part)
    return Ceiling(kind, thing.pk, name, None, None, thing.instance)


def one(kind: str, thing: Any) -> Answer:
    """Return one thing of a kind of SIZED with its limit, if it has one, and its forecast."""
    row = SizeLimit.objects.filter(**{kind: thing}).first()
    limit = row.size if row else thing.limit if kind == "tablespace" else None
    return forecasts([replace(_unlimited(kind, thing), limit=limit, row=row)])[0]


def computed_at() -> datetime | None:
    """When projections were computed last. Those of an instance that was not visited since are older, as are its
    sizes."""
    return Projection.objects.aggregate(last=Max("computed_at"))["last"]


def as_rows(found: Sequence[Answer]) -> list[dict[str, Any]]:
    """For serializers."""
    return [{"ceiling": ceiling, "forecast": forecast} for ceiling, forecast in found]
