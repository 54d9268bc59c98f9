"""Days on which an instance has no size, or an incomplete one.

The days run from the day the instance was added until yesterday, or until it was retired. Today is no gap yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, overload

from django.conf import settings
from django.db import connection

from sync.texts import text_of
from work.days import local_day

#: Default number of days.
WINDOW = 30


@dataclass(frozen=True)
class MissingDay:
    """`kind` is "missing" or "incomplete". `status`, `code`, `message` and `parameters` are those of the last visit of
    that day, empty if there was none or its session was deleted."""

    instance: int
    instance_name: str
    day: date
    kind: str
    status: str
    code: str
    message: str
    parameters: Mapping[str, Any]

    @property
    def error(self) -> str:
        """Why the visit was skipped, held or failed, in the reader's language."""
        return text_of(self.code, self.parameters, self.message)[0]


class MissingDays(Sequence[MissingDay]):
    """The gaps between two days, both included, newest first, for all instances or for these ids. A slice reads only
    its own rows."""

    def __init__(
        self,
        first: date | None = None,
        last: date | None = None,
        instances: Sequence[int] | None = None,
        kind: str = "",
    ) -> None:
        yesterday = local_day() - timedelta(days=1)
        self.last = min(last or yesterday, yesterday)
        self.first = first or self.last - timedelta(days=WINDOW - 1)
        self._parameters = {
            "first": self.first,
            "last": self.last,
            "zone": settings.TIME_ZONE,
            "instances": None if instances is None else list(instances),
            "kind": kind,
        }

    def __len__(self) -> int:
        return self._query(f"SELECT count(*) {_GAPS}")[0][0]

    @overload
    def __getitem__(self, index: int) -> MissingDay: ...

    @overload
    def __getitem__(self, index: slice) -> list[MissingDay]: ...

    def __getitem__(self, index: int | slice) -> MissingDay | list[MissingDay]:
        if isinstance(index, int):
            return self[index : index + 1][0]
        start = index.start or 0
        limit = None if index.stop is None else max(index.stop - start, 0)
        return [
            MissingDay(*row, json.loads(parameters))
            for *row, parameters in self._query(_PAGE, offset=start, limit=limit)
        ]

    def __iter__(self) -> Iterator[MissingDay]:
        return iter(self[:])

    def per_instance(self) -> dict[int, int]:
        """Return instance id → number of gaps, for instances with gaps."""
        return dict(self._query(f"SELECT g.id, count(*) {_GAPS} GROUP BY g.id"))

    def per_kind(self) -> dict[str, int]:
        """Kind → how many, for kinds that have any."""
        return dict(self._query(f"SELECT g.kind, count(*) {_GAPS} GROUP BY g.kind"))

    def _query(self, sql: str, **more: object) -> list[tuple]:
        with connection.cursor() as cursor:
            cursor.execute(sql, self._parameters | more)
            return cursor.fetchall()


_GAPS = """
  FROM (SELECT i.id, i.name, d.day::date AS day, CASE WHEN s.day IS NULL THEN 'missing' ELSE 'incomplete' END AS kind
          FROM instances_instance i
         CROSS JOIN LATERAL generate_series(
               greatest(%(first)s::date, (i.created_at AT TIME ZONE %(zone)s)::date),
               least(%(last)s::date, (i.retired_at AT TIME ZONE %(zone)s)::date - 1), interval '1 day') AS d(day)
          LEFT JOIN capacity_instancesize s ON s.instance_id = i.id AND s.day = d.day::date
         WHERE s.is_complete IS NOT TRUE AND (%(instances)s::bigint[] IS NULL OR i.id = ANY(%(instances)s::bigint[]))
       ) g
 WHERE %(kind)s IN ('', g.kind)
"""

#: Visits are looked up only for the rows of the page.
_PAGE = f"""
SELECT p.id, p.name, p.day, p.kind, coalesce(v.status, ''), coalesce(v.error_code, ''), coalesce(v.message, ''),
       coalesce(v.parameters, '{{}}')
  FROM (SELECT g.* {_GAPS} ORDER BY g.day DESC, g.name OFFSET %(offset)s LIMIT %(limit)s) p
  LEFT JOIN LATERAL (
       SELECT r.status, r.error_code, r.message, r.parameters
         FROM sync_syncrecord r JOIN sync_syncsession s ON s.id = r.session_id
        WHERE r.instance_id = p.id AND r.kind = 'capacity'
          AND s.created_at >= (p.day::timestamp AT TIME ZONE %(zone)s)
          AND s.created_at < ((p.day + 1)::timestamp AT TIME ZONE %(zone)s)
        ORDER BY r.id DESC LIMIT 1) v ON true
 ORDER BY p.day DESC, p.name
"""  # noqa: S608 -- the constant above
