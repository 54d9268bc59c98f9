"""Complete paths of objects from what visits have read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet

from capacity.models import Database
from console.visibility import ids_shown_to
from engines.paths import dotted, name_of
from engines.registry import ENGINES
from instances.models import Instance

from .sql import PART

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: Paths in one answer.
LIMIT = 20

#: The time for one search in milliseconds: people wait for it while they type.
PATIENCE = 1000

#: For more than this part of the instances, the index of paths is walked; for less, their paths are searched.
MANY = 1 / 3


def complete(
    text: str, instances: QuerySet[Instance] | None = None, user: User | None = None, limit: int = LIMIT
) -> list[str]:
    """Return paths that continue `text` by at most one part, in order: for "shop.pub" shop.public, not its tables.

    Upper and lower case are the same; the paths are spelled as visits read them, among what `user` may see on active
    instances. Gives up after PATIENCE and returns none.
    """
    parts, begun = _split(text)
    ids = ids_shown_to(user, (Instance.objects.all() if instances is None else instances).active())
    try:
        found = continued(parts, begun, ids, limit)
    except OperationalError:
        return []
    if not parts and (user is None or user.has_perm("capacity.view_database")):
        found |= _databases(name_of(begun) if begun.endswith('"') else begun.lstrip('"'), ids, limit)
    return sorted(found, key=lambda path: (path.lower(), path))[:limit]


def continued(parts: Sequence[str], begun: str, ids: Sequence[int], limit: int) -> set[str]:
    """Return at most `limit` paths on these instances of which the part after `parts` starts with `begun`.

    Raises OperationalError after PATIENCE.
    """
    before = "".join(f"{part}." for part in parts)
    # The part may need quotes.
    starts = [before + begun] if begun.startswith('"') or not begun else [before + begun, f'{before}"{begun}']
    child = rf"^(?:{PART}\.){{{len(parts)}}}{PART}(?:\(.*\)$)?"
    values = {"child": child, "ids": list(ids), "limit": limit}
    sql = _WALK if is_most(ids) else _SEARCH
    found: set[str] = set()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(PATIENCE)])
        for start in starts:
            cursor.execute(sql, values | {"begin": start})
            found |= {path for (path,) in cursor.fetchall()}
    return found


def is_most(ids: Sequence[int]) -> bool:
    """Whether a walk over an index of all grants soon meets one of these instances."""
    return len(ids) > MANY * Instance.objects.active().count()


def _split(text: str) -> tuple[list[str], str]:
    """Return the complete parts of a path that a person types, and the part that has begun."""
    parts, position = [], 0
    while found := _COMPLETE.match(text, position):
        parts.append(dotted(name_of(found[1])))
        position = found.end()
    return parts, text[position:]


_COMPLETE = re.compile(rf"({PART})\.")


# A grant on a database may name a pattern, which is no path.
_ROW = """coalesce(substring(g.scope FROM %(child)s), g.scope) AS child, lower("left"(g.scope, 200)) COLLATE "C" AS key
     FROM accounts_grant g"""
_KEY = 'lower("left"(g.scope, 200)) COLLATE "C"'
_IN_RANGE = rf"""{_KEY} >= lower(%(begin)s) COLLATE "C" AND {_KEY} < lower(%(begin)s) || U&'\+10FFFF' COLLATE "C"
      AND g.scope <> '' AND g.until IS NULL AND g.kind <> 'default'
      AND NOT (g.kind = 'database' AND g.scope ~ '[\\%%]')"""
_SHOWN = "(SELECT a.instance_id FROM accounts_account a WHERE a.id = g.account_id) = ANY(%(ids)s)"

_SEARCH = f"""
SELECT coalesce(substring(scope FROM %(child)s), scope) AS child FROM (
   SELECT DISTINCT g.scope FROM accounts_grant g JOIN accounts_account a ON a.id = g.account_id
    WHERE a.instance_id = ANY(%(ids)s) AND {_IN_RANGE}) x
 GROUP BY child ORDER BY min(lower(scope) COLLATE "C") LIMIT %(limit)s
"""  # noqa: S608 -- constants of this module

# From each path to the next that is not below it: with an index, as many steps as there are answers. The keys below a
# path lie between that path with a dot and with a slash, the character after the dot.
_WALK = f"""
WITH RECURSIVE found AS (
   (SELECT {_ROW} WHERE {_IN_RANGE} AND {_SHOWN} ORDER BY key LIMIT 1)
    UNION ALL
   SELECT n.* FROM found f CROSS JOIN LATERAL (
      (SELECT {_ROW} WHERE {_IN_RANGE} AND {_SHOWN}
          AND {_KEY} > f.key AND {_KEY} < lower("left"(f.child, 200)) || '.' ORDER BY key LIMIT 1)
       UNION ALL
      (SELECT {_ROW} WHERE {_IN_RANGE} AND {_SHOWN}
          AND {_KEY} > f.key AND {_KEY} >= lower("left"(f.child, 200)) || '/' ORDER BY key LIMIT 1)
       LIMIT 1) n
)
SELECT child FROM found LIMIT %(limit)s
"""  # noqa: S608 -- constants of this module


def _databases(begun: str, ids: Sequence[int], limit: int) -> set[str]:
    """Return databases that begin like this, which no grant need name."""
    engines = [name for name, engine in ENGINES.items() if engine.semantics.paths.get("database") == 1]
    rows = Database.objects.filter(instance__in=ids, instance__engine__in=engines, gone_at=None)
    rows = rows.filter(name__istartswith=begun)
    return {dotted(name) for name in rows.order_by("name").values_list("name", flat=True).distinct()[:limit]}
