"""Set many limits at once, all of them or none: the same rules for files, the API, pages and commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from capacity.models import Database, Tablespace
from console.csv import armed, read_rows
from console.units import bytes_label, parsed_bytes
from console.visibility import shown_to
from instances.models import Instance
from tagging.models import Tag

from .models import FLEET, ONE_TARGET, TARGETS, SizeLimit, SizeLimitQuerySet
from .visibility import may_limit

if TYPE_CHECKING:
    from django.contrib.auth.models import User

COLUMNS = ("kind", *TARGETS, "limit", "note")
REQUIRED = ("kind", "limit")

#: Kind → the columns that name its target, then those that may. The others stay empty.
NAMED_BY: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "instance": (("instance",), ()),
    "database": (("instance", "database"), ()),
    "tablespace": (("instance", "tablespace"), ("database",)),
    "tag": (("tag",), ()),
    FLEET: ((), ()),
}
LONGEST_NOTE: int = SizeLimit._meta.get_field("note").max_length


@dataclass(frozen=True)
class Wanted:
    """A limit to set, `number` being its line or position: a kind, the primary key of its target (None for the fleet),
    and bytes. Without a `note` a stored one stays."""

    number: int
    kind: str
    pk: int | None
    size: int
    note: str | None = None
    name: str = ""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a row, and with which field of it, if it is one."""

    number: int
    field: str
    message: str


@dataclass(frozen=True)
class Change:
    """A limit as it would be stored, and its size before; None for a new one."""

    row: Wanted
    limit: SizeLimit
    before: int | None
    is_changed: bool

    @property
    def outcome(self) -> str:
        return "unchanged" if not self.is_changed else "new" if self.before is None else "changed"

    @property
    def before_label(self) -> str:
        return bytes_label(self.before)

    @property
    def after_label(self) -> str:
        return bytes_label(self.limit.size)


@dataclass
class Plan:
    """What a list of rows would change, or what is wrong with it."""

    changes: list[Change] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Limits by outcome; none where there are problems."""
        outcomes = [] if self.problems else [change.outcome for change in self.changes]
        return {name: outcomes.count(name) for name in ("new", "changed", "unchanged")}

    def save(self, user: User | None) -> list[SizeLimit]:
        """Store all changes, in two statements, and return them. Raises ValueError if there are problems."""
        if self.problems:
            raise ValueError(self.problems[0].message)
        now = timezone.now()
        changed = [change for change in self.changes if change.is_changed]
        for change in changed:
            change.limit.set_by, change.limit.set_at = user, now
        with transaction.atomic():
            SizeLimit.objects.bulk_create(change.limit for change in changed if change.before is None)
            known = [change.limit for change in changed if change.before is not None]
            SizeLimit.objects.bulk_update(known, ["size", "note", "set_by", "set_at"], batch_size=1000)
        return [change.limit for change in changed]


def plan(rows: Sequence[Wanted], user: User | None, problems: Iterable[Problem] = ()) -> Plan:
    """Compare the rows with the stored limits, in one query. The user must see the targets; None is the operator of the
    machine. `problems` are those that came before."""
    found = Plan(problems=list(problems))
    stored = {limit.key: limit for limit in _stored(rows)}
    first: dict[tuple[str, int | None], int] = {}
    for row in rows:
        key = row.kind, row.pk
        limit = stored.get(key)
        if key in first:
            text = _("The same target as in %d. Leave one of them out.") % first[key]
        elif not may_limit(row.kind, user):
            text = _("You see some instances only, and may not limit a tag or the whole fleet.")
        elif user and not user.has_perm(f"planning.{'change' if limit else 'add'}_sizelimit"):
            text = _("You may not change limits.") if limit else _("You may not add limits.")
        else:
            first[key] = row.number
            found.changes.append(_change(row, limit))
            continue
        found.problems.append(Problem(row.number, row.kind if row.kind in TARGETS else "", text))
    found.problems.sort(key=lambda problem: problem.number)
    return found


def _stored(rows: Sequence[Wanted]) -> SizeLimitQuerySet:
    ids: dict[str, list[int]] = {kind: [row.pk for row in rows if row.kind == kind and row.pk] for kind in TARGETS}
    conditions = [Q(**{f"{kind}__in": found}) for kind, found in ids.items() if found]
    return SizeLimit.objects.filter(reduce(or_, conditions, Q(**dict.fromkeys(TARGETS))))


def _change(row: Wanted, limit: SizeLimit | None) -> Change:
    before = limit and limit.size
    if limit is None:
        limit = SizeLimit(**({} if row.kind == FLEET else {f"{row.kind}_id": row.pk}))
    note = limit.note if row.note is None else row.note
    is_changed = (before, limit.note) != (row.size, note)
    limit.size, limit.note = row.size, note
    return Change(row, limit, before, is_changed)


def plan_ids(rows: Sequence[dict[str, Any]], user: User | None) -> Plan:
    """Plan limits that name their targets by id, numbered from 0. Takes a query per kind."""
    ids = {kind: {row[kind] for row in rows if row.get(kind)} for kind in TARGETS}
    models = {kind: SizeLimit._meta.get_field(kind).related_model for kind in TARGETS}
    seen = {
        kind: set(shown_to(models[kind]._default_manager.filter(pk__in=ids[kind]), user).values_list("pk", flat=True))
        for kind in TARGETS
        if ids[kind]
    }
    wanted, problems = [], []
    for number, row in enumerate(rows):
        named = [kind for kind in TARGETS if row.get(kind)]
        kind, pk = (named[0], row[named[0]]) if named else (FLEET, None)
        if len(named) > 1:
            problems.append(Problem(number, named[-1], str(ONE_TARGET)))
        elif named and pk not in seen[kind]:
            problems.append(Problem(number, kind, _("There is none with the id %d.") % pk))
        else:
            wanted.append(Wanted(number, kind, pk, row["size"], row.get("note")))
    return plan(wanted, user, problems)


def read_csv(text: str, user: User | None) -> Plan:
    """Plan the limits of a CSV file. Takes a fixed number of queries. Raises ValueError for a file that is not one."""
    rows = [
        (line, {column: armed(cell) for column, cell in row.items()})
        for line, row in read_rows(text, COLUMNS, REQUIRED)
    ]
    targets = _Targets([row for _line, row in rows], user)
    wanted, problems = [], []
    for line, row in rows:
        wrong = list(_problems(row, targets))
        problems += [Problem(line, column, message) for column, message in wrong]
        if not wrong:
            kind = row["kind"].lower()
            name = " / ".join(filter(None, map(row.get, TARGETS))) or _("whole fleet")
            size = parsed_bytes(row["limit"])
            wanted.append(Wanted(line, kind, targets.key(kind, row), size, row.get("note"), name))
    return plan(wanted, user, problems)


def _problems(row: dict[str, str], targets: _Targets) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a row, as column and message."""
    kind = row["kind"].lower()
    if kind not in NAMED_BY:
        yield (
            "kind",
            _("“%(kind)s” is not a kind. Valid are: %(kinds)s.")
            % {
                "kind": row["kind"],
                "kinds": ", ".join(NAMED_BY),
            },
        )
    else:
        needed, allowed = NAMED_BY[kind]
        named = {column for column in TARGETS if row.get(column)}
        for column in sorted(set(needed) - named):
            yield column, _("Empty. A limit of the kind “%(kind)s” needs it.") % {"kind": kind}
        for column in sorted(named - {*needed, *allowed}):
            yield column, _("Leave it empty in a limit of the kind “%(kind)s”.") % {"kind": kind}
        if set(needed) <= named <= {*needed, *allowed} and kind != FLEET and targets.key(kind, row) is None:
            name = " / ".join(row[column] for column in TARGETS if column in named)
            yield kind, _("There is none with the name “%s”. Check the spelling.") % name
    try:
        parsed_bytes(row["limit"])
    except ValueError as error:
        yield "limit", str(error)
    if len(row.get("note", "")) > LONGEST_NOTE:
        yield "note", _("Longer than %d characters.") % LONGEST_NOTE


class _Targets:
    """The primary keys of everything that rows name, as far as the user sees it. A name means the database or
    tablespace that is present. Takes a query per kind."""

    def __init__(self, rows: Sequence[dict[str, str]], user: User | None) -> None:
        self.keys: dict[tuple[str, ...], int] = {}
        named = {column: {row[column] for row in rows if row.get(column)} for column in TARGETS}
        of_instance = {"instance__name__in": named["instance"]}
        of_database, of_tablespace = ("instance__name", "name"), ("instance__name", "database__name", "name")
        sources: list[tuple[str, QuerySet[Any], tuple[str, ...]]] = [
            ("instance", Instance.objects.filter(name__in=named["instance"]), ("name",)),
            ("database", Database.objects.present().filter(name__in=named["database"], **of_instance), of_database),
            (
                "tablespace",
                Tablespace.objects.present().filter(name__in=named["tablespace"], **of_instance),
                of_tablespace,
            ),
            ("tag", Tag.objects.filter(slug__in=named["tag"]), ("slug",)),
        ]
        for kind, found, columns in sources:
            if named[kind]:
                for pk, *names in shown_to(found, user).order_by().values_list("pk", *columns):
                    self.keys[(kind, *(name or "" for name in names))] = pk

    def key(self, kind: str, row: dict[str, str]) -> int | None:
        """Return the primary key of the target of a row; None if there is none."""
        needed, allowed = NAMED_BY[kind]
        return self.keys.get((kind, *(row.get(column, "") for column in TARGETS if column in {*needed, *allowed})))


def exported(limits: SizeLimitQuerySet) -> Iterator[list[object]]:
    """Yield limits as rows of COLUMNS, which `read_csv` reads back. Takes one query.

    Those of databases and tablespaces that are gone are left out: their names may mean others now."""
    for limit in limits.filter(database__gone_at=None, tablespace__gone_at=None).with_targets():
        names = {kind: part.slug if kind == "tag" else part.name for kind, part in limit.parts.items()}
        yield [limit.kind, *(names.get(kind, "") for kind in TARGETS), limit.size, limit.note]
