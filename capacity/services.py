"""The capacity visit: read the sizes of one instance's databases, then store them as one day's rows.

Writes are set-based: the number of statements does not depend on the number of databases.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Exists, F, Max, OuterRef, Subquery
from django.utils import timezone

from engines.adapter import Adapter
from engines.errors import AdapterError
from engines.facts import Databases, Gap, ServerInfo, Sizes
from engines.facts import TableSize as TableFact
from instances.hiding import hidden_on
from instances.models import Instance, InstanceQuerySet
from instances.services import reached, remember_server
from sync import services as sync
from sync.models import SyncRecord, SyncSession
from sync.registry import Outcome, Phase, hold_shrink
from work.days import local_day

from .identity import Stored, match
from .models import Database, DatabaseFilter, DatabaseSize, InstanceSize, TableSize, Tablespace, TablespaceSize

#: Days between two readings of the largest tables of a database.
TABLES_EVERY = 7


@dataclass(frozen=True)
class Tables:
    """The largest tables, `limit` at most, by database; a gap of scope "tables" for each that could not be read."""

    limit: int = 0
    found: Mapping[str, Sequence[TableFact]] = field(default_factory=dict)
    gaps: Sequence[Gap] = ()


@dataclass(frozen=True)
class CapacityFacts:
    """The facts of one visit."""

    server: ServerInfo
    databases: Databases
    sizes: Sizes
    statements: int
    tables: Tables = field(default_factory=lambda: Tables())

    @property
    def gaps(self) -> list[Gap]:
        return [*self.databases.gaps, *self.sizes.gaps, *self.tables.gaps]


def read(instance: Instance, phase: Phase) -> CapacityFacts:
    """Read the databases, then their sizes, and the largest tables of those where it is time, on one connection.
    Raises AdapterError."""
    with reached(instance) as adapter:
        phase("databases")
        databases = adapter.databases()
        phase("sizes")
        sizes = adapter.sizes()
        tables = Tables()
        if due := _due_for_tables(instance, databases, sizes):
            phase("tables")
            tables = _read_tables(adapter, due)
        return CapacityFacts(adapter.server, databases, sizes, adapter.statements, tables)


def _due_for_tables(instance: Instance, databases: Databases, sizes: Sizes) -> list[str]:
    """Return the measured databases that have no reading of tables in the last TABLES_EVERY days, the oldest reading
    first."""
    if not settings.TAIFISH_TABLE_SIZES_TOP:
        return []
    measured = {size.database for size in sizes.sizes}
    own = {fact.native_id or fact.name: fact.name for fact in databases.databases if not fact.is_system}
    present = Database.objects.present().filter(instance=instance)
    last = TableSize.objects.filter(database=OuterRef("pk")).order_by("-day").values("day")[:1]
    rows = present.annotate(last=Subquery(last)).exclude(last=None).values_list("native_id", "name", "last")
    read = {own.get(native_id or name, ""): day for native_id, name, day in rows}
    recent = local_day() - timedelta(days=TABLES_EVERY)
    due = [name for name in own.values() if name in measured and (name not in read or read[name] <= recent)]
    return sorted(due, key=lambda name: (read.get(name, date.min), name))


def _read_tables(adapter: Adapter, databases: Sequence[str]) -> Tables:
    """Read the largest tables of each, until the time of the visit is used up. Never raises AdapterError: the sizes
    that were read before stay."""
    limit = settings.TAIFISH_TABLE_SIZES_TOP
    found: dict[str, Sequence[TableFact]] = {}
    gaps = []
    try:
        for database, tables in adapter.largest_tables(databases, limit):
            if isinstance(tables, AdapterError):
                gaps.append(Gap("tables", tables.code, f"tables of {database}: {tables}", database, tables.hint))
            else:
                found[database] = tables
    except AdapterError as error:
        left = len(databases) - len(found) - len(gaps)
        message = f"largest tables of {left} of {len(databases)} databases: {error}"
        gaps.append(Gap("tables", error.code, message, hint=error.hint))
    return Tables(limit, found, gaps)


def write(instance: Instance, facts: CapacityFacts, record: SyncRecord) -> Outcome:
    """Store the day's sizes, inside the visit's transaction. Raises ImplausibleShrink.

    The day is that of the start of the visit. A database that could not be read keeps a row of an earlier visit that
    day; a database that is gone loses it. So the rows always add up to the instance's total.
    """
    now = record.started_at or timezone.now()
    day = local_day(now)
    listed = not any(gap.scope == "databases" for gap in facts.gaps)
    databases = [fact for fact in facts.databases.databases if fact.name not in facts.sizes.dropped]
    rows = Database.objects.filter(instance=instance).order_by(F("gone_at").desc(nulls_first=True))
    stored = [Stored(*row) for row in rows.values_list(*Stored._fields)]
    matched = match(stored, databases, listed=listed)
    present = sum(row.gone_at is None and not row.is_system for row in stored)
    ending = sum(not row.is_system for row in matched.ended)
    hold_shrink(
        "databases",
        present,
        ending,
        confirmed=record.confirmed_count or 0,
        implausible=ending == present or (ending >= 10 and ending * 2 > present),
    )
    hidden = hidden_on(instance, DatabaseFilter)
    values: dict[str, Any] = {
        "instance": instance.pk,
        "now": now,
        "day": day,
        "ended": [row.pk for row in matched.ended],
        "renamed": [row.pk for row, _ in matched.renamed if row.gone_at is None],
        "rows": [row and row.pk for row in (matched.found.get(fact.name) for fact in databases)],
        "names": [fact.name for fact in databases],
        "native_ids": [fact.native_id for fact in databases],
        "system": [fact.is_system for fact in databases],
        "filtered": [hidden(fact.name, fact.is_system) for fact in databases],
        "measured": [size.database for size in facts.sizes.sizes],
        "sizes": [size.size for size in facts.sizes.sizes],
        "data_sizes": [size.data_size for size in facts.sizes.sizes],
        "index_sizes": [size.index_size for size in facts.sizes.sizes],
        "log_sizes": [size.log_size for size in facts.sizes.sizes],
        "elsewhere": [
            None if size.elsewhere is None else json.dumps(dict(size.elsewhere)) for size in facts.sizes.sizes
        ],
        "shared": json.dumps(dict(facts.sizes.shared)),
        "all_measured": not any(not gap.database for gap in facts.sizes.gaps if gap.scope == "sizes") and listed,
        "shared_measured": not any(gap.scope == "shared" for gap in facts.sizes.gaps),
    }
    if values["ended"] or values["renamed"]:
        _run(_END_DATABASES, values)
    _run(_UPSERT_DATABASES, values)
    ((total, complete),) = _rows(_UPSERT_TOTAL, values)
    if facts.sizes.listed_in:
        _write_tablespaces(facts.sizes, values)
    if facts.tables.found:
        _run(_UPSERT_TABLES, values | _table_values(facts.sizes, facts.tables))
    remember_server(instance, facts.server)
    shown = values["filtered"].count(False)
    return Outcome(
        summary={
            "databases": len(databases),
            "measured": len(facts.sizes.sizes),
            "filtered": len(databases) - shown,
            "appeared": len(databases) - len(matched.found) - matched.recreated,
            "reappeared": matched.reappeared,
            "renamed": len(matched.renamed),
            "recreated": matched.recreated,
            "disappeared": len(matched.ended),
            "bytes": total,
            "day": day.isoformat(),
            "complete": "" if complete else "incomplete",
            "statements": facts.statements,
            "server": f"{facts.server.product} {facts.server.version}",
            **({"renames": sorted((row.name, name) for row, name in matched.renamed)} if matched.renamed else {}),
        },
        gaps=facts.gaps,
        skipped="" if shown else "no_databases",
    )


def _write_tablespaces(sizes: Sizes, values: dict[str, Any]) -> None:
    """Store tablespaces and the day's sizes of those that were measured."""
    found = sizes.tablespaces
    values = values | {
        "owners": list(sizes.listed_in),
        "of": [fact.database for fact in found],
        "names": [fact.name for fact in found],
        "kinds": [fact.kind for fact in found],
        "sizes": [fact.size for fact in found],
        "used": [fact.used for fact in found],
        "limits": [fact.limit for fact in found],
    }
    _run(_END_TABLESPACES, values)
    _run(_UPSERT_TABLESPACES, values)
    _run(_UPSERT_TABLESPACE_SIZES, values)


def _table_values(sizes: Sizes, tables: Tables) -> dict[str, Any]:
    """Parameters of `_UPSERT_TABLES`. A list is complete if there was room for more, and every table has a size."""
    rows = [(database, table) for database, found in tables.found.items() for table in found]
    partly = {gap.database for gap in sizes.gaps if gap.scope == "sizes"}
    partly |= {size.database for size in sizes.sizes if size.elsewhere}
    complete = {
        database: len(found) < tables.limit and not {"", database} & partly for database, found in tables.found.items()
    }
    return {
        "of": [database for database, _ in rows],
        "schemas": [table.schema for _, table in rows],
        "names": [table.name for _, table in rows],
        "sizes": [table.size for _, table in rows],
        "complete": [complete[database] for database, _ in rows],
    }


def without_row(day: Any) -> InstanceQuerySet:
    """Return the active instances without a size on that day."""
    return Instance.objects.active().exclude(Exists(InstanceSize.objects.filter(instance=OuterRef("pk"), day=day)))


def catch_up() -> SyncSession | None:
    """Visit the instances without a row after today's collection. See `sync.services.catch_up`."""
    return sync.catch_up("capacity", lambda begun: without_row(local_day()))


def largest_tables(database: Database, limit: int = 20) -> list[TableFact]:
    """Read the largest tables from the instance now, largest first. Raises AdapterError."""
    with reached(database.instance) as adapter:
        return adapter.table_sizes(database.name, limit)


def purge_sizes(batch: int = 500) -> int:
    """Delete sizes older than TAIFISH_KEEP_SIZES_DAYS, and databases and tablespaces gone for as long without a size
    left. Returns the number of deleted sizes."""
    cutoff = local_day() - timedelta(days=settings.TAIFISH_KEEP_SIZES_DAYS)
    total = InstanceSize.objects.filter(day__lt=cutoff).delete()[0]
    for sizes, owner in (
        (TableSize, "database_id"),
        (TablespaceSize, "tablespace_id"),
        (DatabaseSize, "database_id"),
    ):
        last = sizes.objects.aggregate(last=Max(owner))["last"] or 0
        sql = (
            f"DELETE FROM {sizes._meta.db_table} WHERE {owner} >= %(first)s AND {owner} < %(end)s AND day < %(cutoff)s"  # noqa: S608
        )
        # Delete in batches of owners: one huge delete would hold its locks for minutes.
        for first in range(0, last + 1, batch):
            total += _run(sql, {"first": first, "end": first + batch, "cutoff": cutoff})
    long_ago = timezone.now() - timedelta(days=settings.TAIFISH_KEEP_SIZES_DAYS)
    for owners in (Tablespace.objects, Database.objects):
        owners.filter(gone_at__lt=long_ago, sizes=None).delete()
    return total


def _run(sql: str, values: dict[str, Any]) -> int:
    """Run a statement and return its row count."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.rowcount


def _rows(sql: str, values: dict[str, Any]) -> Sequence[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()


#: A renamed database gives up its name before another takes it; it is present again in the next statement. The clock of
#: the store may have gone back since the last visit: nothing goes before it was last seen.
_END_DATABASES = """
WITH left_names AS (
    UPDATE capacity_database SET gone_at = greatest(last_seen_at, %(now)s)
     WHERE id = ANY(%(ended)s::bigint[] || %(renamed)s::bigint[]))
DELETE FROM capacity_databasesize WHERE database_id = ANY(%(ended)s::bigint[]) AND day = %(day)s
"""

#: Databases, and the day's size of those that were measured. One statement, so that each row is written once. A newer
#: read of the day stays, and the latest day is repeated in the database.
_UPSERT_DATABASES = """
WITH measured AS (
    SELECT * FROM unnest(%(measured)s::text[], %(sizes)s::bigint[], %(data_sizes)s::bigint[], %(index_sizes)s::bigint[],
                         %(log_sizes)s::bigint[], %(elsewhere)s::jsonb[])
               AS m(name, size, data_size, index_size, log_size, elsewhere)),
found AS (
    SELECT l.*, m.name IS NOT NULL AS is_measured, m.size, m.data_size, m.index_size, m.log_size, m.elsewhere,
           m.name IS NOT NULL AND (d.size_day > %(day)s) IS NOT TRUE AND (s.collected_at > %(now)s) IS NOT TRUE
           AS is_latest
      FROM unnest(%(rows)s::bigint[], %(names)s::text[], %(native_ids)s::varchar[], %(system)s::boolean[],
                  %(filtered)s::boolean[]) AS l(id, name, native_id, is_system, is_filtered)
      LEFT JOIN measured m ON m.name = l.name
      LEFT JOIN capacity_database d ON d.id = l.id
      LEFT JOIN capacity_databasesize s ON s.database_id = l.id AND s.day = %(day)s),
known AS (
    UPDATE capacity_database d
       SET name = f.name, native_id = coalesce(nullif(f.native_id, ''), d.native_id), is_system = f.is_system,
           is_filtered = f.is_filtered, last_seen_at = greatest(d.last_seen_at, %(now)s), gone_at = NULL,
           size = CASE WHEN is_latest THEN f.size ELSE d.size END,
           size_day = CASE WHEN is_latest THEN %(day)s::date ELSE d.size_day END,
           elsewhere = CASE WHEN is_latest THEN f.elsewhere ELSE d.elsewhere END
      FROM found f WHERE f.id = d.id),
new AS (
    INSERT INTO capacity_database (instance_id, name, native_id, is_system, is_filtered, first_seen_at, last_seen_at,
                                   size, size_day, elsewhere)
    SELECT %(instance)s, name, native_id, is_system, is_filtered, %(now)s, %(now)s, size,
           CASE WHEN is_measured THEN %(day)s::date END, elsewhere FROM found WHERE id IS NULL
    RETURNING id, name)
INSERT INTO capacity_databasesize (database_id, day, size, data_size, index_size, log_size, collected_at)
SELECT coalesce(f.id, n.id), %(day)s, f.size, f.data_size, f.index_size, f.log_size, %(now)s
  FROM found f LEFT JOIN new n ON f.id IS NULL AND n.name = f.name
 WHERE f.is_measured
    ON CONFLICT (database_id, day) DO UPDATE
   SET size = excluded.size, data_size = excluded.data_size, index_size = excluded.index_size,
       log_size = excluded.log_size, collected_at = excluded.collected_at
 WHERE capacity_databasesize.collected_at <= excluded.collected_at
"""

#: A shared part that was not read this time keeps the value read earlier that day.
_UPSERT_TOTAL = """
WITH had AS (
    SELECT shared, is_complete FROM capacity_instancesize WHERE instance_id = %(instance)s AND day = %(day)s),
part AS (
    SELECT coalesce((SELECT shared FROM had WHERE NOT %(shared_measured)s), '{}'::jsonb) || %(shared)s::jsonb
        AS shared),
shared AS (
    SELECT coalesce(sum(value::bigint), 0)::bigint AS size FROM part, jsonb_each_text(part.shared)),
own AS (
    SELECT coalesce(sum(s.size), 0)::bigint AS size, count(s.database_id) AS n,
           count(*) FILTER (WHERE s.database_id IS NULL AND d.gone_at IS NULL) AS missing
      FROM capacity_database d
      LEFT JOIN capacity_databasesize s ON s.database_id = d.id AND s.day = %(day)s
     WHERE d.instance_id = %(instance)s)
INSERT INTO capacity_instancesize
       (instance_id, day, size, shared_size, shared, n_databases, is_complete, collected_at)
SELECT %(instance)s, %(day)s, own.size + shared.size, shared.size, part.shared, own.n,
       own.missing = 0 AND %(all_measured)s AND (%(shared_measured)s OR part.shared <> '{}'::jsonb), %(now)s
  FROM own, shared, part
    ON CONFLICT (instance_id, day) DO UPDATE
   SET size = excluded.size, shared_size = excluded.shared_size, shared = excluded.shared,
       n_databases = excluded.n_databases, is_complete = excluded.is_complete, collected_at = excluded.collected_at
RETURNING size, is_complete
"""

#: The rows of `tablespaces`, each with the id of its database, null for those of the instance.
_LISTED_TABLESPACES = """
    SELECT d.id AS database_id, l.* FROM unnest(%(of)s::text[], %(names)s::text[], %(kinds)s::varchar[],
           %(sizes)s::bigint[], %(used)s::bigint[], %(limits)s::bigint[]) AS l(database, name, kind, size, used, most)
      LEFT JOIN capacity_database d ON d.instance_id = %(instance)s AND d.name = l.database AND d.gone_at IS NULL
     WHERE l.database = '' OR d.id IS NOT NULL
"""

#: Those of a database that is gone end with it.
_END_TABLESPACES = f"""
UPDATE capacity_tablespace t SET gone_at = greatest(t.last_seen_at, %(now)s)
 WHERE t.instance_id = %(instance)s AND t.gone_at IS NULL
   AND (EXISTS (SELECT FROM capacity_database d WHERE d.id = t.database_id AND d.gone_at IS NOT NULL)
        OR (coalesce((SELECT d.name FROM capacity_database d WHERE d.id = t.database_id), '') = ANY(%(owners)s::text[])
            AND NOT EXISTS (SELECT FROM ({_LISTED_TABLESPACES}) l
                             WHERE l.database_id IS NOT DISTINCT FROM t.database_id AND l.name = t.name)))
"""  # noqa: S608 -- the constant above

_UPSERT_TABLESPACES = f"""
INSERT INTO capacity_tablespace (instance_id, database_id, name, kind, first_seen_at, last_seen_at)
SELECT %(instance)s, l.database_id, l.name, l.kind, %(now)s, %(now)s FROM ({_LISTED_TABLESPACES}) l
    ON CONFLICT (instance_id, coalesce(database_id, 0), name) DO UPDATE
   SET kind = excluded.kind, last_seen_at = greatest(capacity_tablespace.last_seen_at, excluded.last_seen_at),
       gone_at = NULL
"""  # noqa: S608

#: As with databases, the newest read of a day stays, and the latest day is repeated in the tablespace.
_UPSERT_TABLESPACE_SIZES = f"""
WITH measured AS (
    SELECT t.id, l.size, l.used, l.most FROM ({_LISTED_TABLESPACES}) l
      JOIN capacity_tablespace t ON t.instance_id = %(instance)s AND t.name = l.name
                                AND t.database_id IS NOT DISTINCT FROM l.database_id
     WHERE l.size IS NOT NULL),
written AS (
    INSERT INTO capacity_tablespacesize (tablespace_id, day, size, used, "limit", collected_at)
    SELECT id, %(day)s, size, used, most, %(now)s FROM measured
        ON CONFLICT (tablespace_id, day) DO UPDATE
       SET size = excluded.size, used = excluded.used, "limit" = excluded."limit", collected_at = excluded.collected_at
     WHERE capacity_tablespacesize.collected_at <= excluded.collected_at
    RETURNING tablespace_id, day, size, used, "limit")
UPDATE capacity_tablespace t SET size = w.size, used = w.used, "limit" = w."limit", size_day = w.day
  FROM written w WHERE t.id = w.tablespace_id AND (t.size_day IS NULL OR t.size_day <= w.day)
"""  # noqa: S608

#: A database that was renamed or dropped while it was read has no row.
_UPSERT_TABLES = """
INSERT INTO capacity_tablesize (database_id, day, schema, name, size, is_complete)
SELECT d.id, %(day)s, t.schema, t.name, t.size, t.is_complete
  FROM unnest(%(of)s::text[], %(schemas)s::text[], %(names)s::text[], %(sizes)s::bigint[], %(complete)s::boolean[])
       AS t(database, schema, name, size, is_complete)
  JOIN capacity_database d ON d.instance_id = %(instance)s AND d.name = t.database AND d.gone_at IS NULL
    ON CONFLICT (database_id, day, schema, name) DO UPDATE SET size = excluded.size, is_complete = excluded.is_complete
"""
