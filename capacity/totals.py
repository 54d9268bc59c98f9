"""The sum of the sizes of instances by day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import accumulate
from typing import NamedTuple

from django.db import connection

from work.days import local_day

#: An instance that was not measured keeps its last size for so many days. After that, the sum is unknown.
BRIDGED = 7


class Total(NamedTuple):
    """`size` is the sum of the sizes of `n` instances on a day."""

    day: date
    size: int
    n: int


def totals(instances: Sequence[int], days: int) -> list[Total]:
    """Return the sums of the last `days` days, oldest first, of those of these instances that were measured completely
    in the last BRIDGED days. A day is left out if an instance is unknown that was known before. Takes one query."""
    today = local_day()
    first = today - timedelta(days=days - 1)
    values = {
        "instances": list(instances),
        "begin": first - timedelta(days=BRIDGED),
        "known": today - timedelta(days=BRIDGED),
        "bridged": BRIDGED + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(_STEPS, values)
        steps = {day: (size, n) for day, size, n in cursor.fetchall()}
    if not steps:
        return []
    every = [min(steps) + timedelta(days=number) for number in range((today - min(steps)).days + 1)]
    sums = accumulate((steps.get(day, (0, 0)) for day in every), lambda sum, step: (sum[0] + step[0], sum[1] + step[1]))
    found, most = [], 0
    for day, (size, n) in zip(every, sums, strict=True):
        most = max(most, n)
        if day >= first and n == most:
            found.append(Total(day, size, n))
    return found


# What each day adds to the sum and takes from it: a size counts until the next one.
_STEPS = """
WITH sizes AS (
    SELECT day, size, lead(day) OVER (PARTITION BY instance_id ORDER BY day) AS next,
           max(day) OVER (PARTITION BY instance_id) AS last
      FROM capacity_instancesize
     WHERE instance_id = ANY(%(instances)s) AND day >= %(begin)s AND is_complete
)
SELECT day, sum(size)::bigint, sum(n)::bigint FROM (
    SELECT day, size, 1 AS n, last FROM sizes
     UNION ALL
    SELECT least(next, day + %(bridged)s), -size, -1, last FROM sizes) steps
 WHERE last >= %(known)s GROUP BY day
"""
