"""Tell objects, roles and privileges that no visit has seen from those that are there.

Visits list different things. On PostgreSQL, from read depth B on, every object has an OWNER grant. On MySQL and MariaDB
visits of capacity list the databases; tables are only seen where a grant names them. On Oracle the schemas are the
accounts of a container; objects in them are only seen where a grant names them. So the longest part of a path that
visits list decides: if an instance was read completely and that part was never seen there, the object is absent. If its
last read is stale, or left it out, nothing is known. Built-in objects and parameters count as present.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from django.db import OperationalError, connection
from django.db.models import QuerySet, Value

from accounts.freshness import LastRead
from accounts.models import Account, Grant, path_key
from capacity.models import Database
from console import suggestions
from engines.paths import name_of, segments
from engines.registry import ENGINES
from engines.semantics import Semantics

from .completion import continued, is_most
from .question import Question

#: Paths that a suggestion is chosen from.
CANDIDATES = 500


@dataclass(frozen=True)
class Presence:
    """Whether visits have seen an object: ids of instances where it is `present`, or surely `absent`, and where nothing
    is known → reason. On the instances `unlisted`, visits have not listed such objects: it may be there."""

    present: set[int] = field(default_factory=set)
    absent: set[int] = field(default_factory=set)
    unknown: dict[int, str] = field(default_factory=dict)
    unlisted: set[int] = field(default_factory=set)


def presence(question: Question, reads: Collection[LastRead]) -> Presence:
    """Look for the object of a question on the instances of these reads. Without one, or with wildcards in its path, it
    counts as present."""
    found = Presence()
    ids = {read.instance.pk for read in reads}
    if not question.is_exact:
        found.present.update(ids)
        return found
    path = ".".join(question.path)
    found.present.update(named(path, ids, [question.kind] if question.kind else []))
    by_engine: dict[str, list[LastRead]] = {}
    for read in reads:
        if read.instance.pk not in found.present:
            by_engine.setdefault(read.instance.engine, []).append(read)
    for engine, of_engine in by_engine.items():
        _judge(engine, _kinds(question, ENGINES[engine].semantics), question.path, of_engine, found)
    return found


def _kinds(question: Question, semantics: Semantics) -> Collection[str]:
    """Return the kinds that the question is about: those that can have the privilege, or all if none can."""
    kinds = question.kinds(semantics)
    return {kind for kind in kinds if semantics.carries(kind, question.fits)} or kinds


def _judge(engine: str, kinds: Sequence[str], parts: Sequence[str], reads: Sequence[LastRead], found: Presence) -> None:
    """Decide about instances of one engine where no grant names the object."""
    ids = {read.instance.pk for read in reads}
    if not kinds:
        if ENGINES[engine].semantics.host_is_database and len(parts) == 1:
            # A container is seen by its accounts.
            there = Account.objects.filter(instance__in=ids, host=name_of(parts[0]))
            found.present.update(there.values_list("instance", flat=True))
            found.unknown.update({read.instance.pk: read.reason for read in reads if read.is_stale})
        found.absent.update(ids - found.present - found.unknown.keys())
        return
    listed = {_listed(engine, one) for one in kinds} - {None}
    if not listed or any(ENGINES[engine].semantics.is_built_in(list(parts), one) for one in kinds):
        found.present.update(ids)
        return
    for one in listed:
        there = _HOW[one.how](parts[: one.length], one.kind, ids)
        found.present.update(there)
        if one.length < len(parts):
            found.unlisted.update(there)
    absent = ids - found.present
    never = _without_databases(absent) if any(one.how == "databases" for one in listed) else set()
    for read in reads:
        if (pk := read.instance.pk) not in absent:
            continue
        kinds = {one.kind for one in listed}
        if reason := read.reason if read.is_stale else read.missing(kinds, name_of(parts[0])):
            found.unknown[pk] = reason
        elif pk in never:
            found.unlisted.add(pk)
        else:
            found.absent.add(pk)


@dataclass(frozen=True)
class _Listed:
    """The kind and length of the longest part of a path that visits list, and how they list it."""

    how: str
    kind: str
    length: int


def _listed(engine: str, kind: str) -> _Listed | None:
    """Return what decides about an object of this kind; None if nothing does."""
    semantics = ENGINES[engine].semantics
    length = semantics.paths[kind]
    if "OWNER" in semantics.privileges.get(kind, ()):
        return _Listed("grants", kind, length)
    if semantics.patterns and length:
        return _Listed("databases", "database", 1)
    if semantics.owners and kind != "tablespace" and length > 1:
        return _Listed("accounts", "schema", 2)
    for container in semantics.containers.get(kind, ()):
        return _listed(engine, container)
    return None


def _by_grants(parts: Sequence[str], kind: str, ids: Collection[int]) -> set[int]:
    return named(".".join(parts), ids, [kind])


def _by_databases(parts: Sequence[str], _kind: str, ids: Collection[int]) -> set[int]:
    """Databases that visits of capacity list, or that a grant names, also by a pattern or a table."""
    name = name_of(parts[0])
    listed = Database.objects.filter(name=name)
    by_pattern = Grant.objects.filter(kind="database", database__in={name, name.replace("\\", "")})
    below = path_key(Value(f"{parts[0]}.")), path_key(Value(f"{parts[0]}/"))
    by_object = Grant.objects.alias(key=path_key("scope")).filter(key__gte=below[0], key__lt=below[1], database=name)
    return (
        _ids(listed, "instance") | _ids(by_pattern, "account__instance") | _ids(by_object, "account__instance")
    ).intersection(ids)


def _by_accounts(parts: Sequence[str], _kind: str, ids: Collection[int]) -> set[int]:
    """Schemas, each of which belongs to the account of its name."""
    owners = Account.objects.filter(host=name_of(parts[0]), name=name_of(parts[1]))
    return _ids(owners, "instance").intersection(ids)


_HOW = {"grants": _by_grants, "databases": _by_databases, "accounts": _by_accounts}


def _without_databases(ids: Collection[int]) -> set[int]:
    """Return the instances of which no visit has listed the databases."""
    return set(ids) - _ids(Database.objects.all(), "instance")


def _ids(rows: QuerySet, instance: str) -> set[int]:
    """Return the instances of these rows. A long list of instances is a slower condition than none."""
    return set(rows.order_by().values_list(instance, flat=True).distinct())


def named(path: str, instances: Iterable[int], kinds: Collection[str] = ()) -> set[int]:
    """Return the instances, among these ids, where a grant on this very path was ever seen."""
    rows = Grant.objects.alias(key=path_key("scope")).filter(key=path_key(Value(path)), scope=path)
    rows = rows.filter(kind__in=kinds) if kinds else rows
    return _ids(rows, "account__instance").intersection(instances)


def did_you_mean(parts: Sequence[str], ids: Sequence[int]) -> str:
    """Return "Did you mean …?" with the seen path that is most similar to this one, or ""."""
    return suggestions.did_you_mean(_spelled(parts, ids))


def _spelled(parts: Sequence[str], ids: Sequence[int]) -> str:
    """Return the seen path that is most similar to this one, or ""."""
    path: list[str] = []
    for part in parts:
        try:
            paths = continued(path, "", ids, CANDIDATES)
        except OperationalError:
            return ""
        known = {segments(one)[-1] for one in paths}
        if part not in known:
            part = suggestions.similar(part, known)
        if not part:
            return ""
        path.append(part)
    return ".".join(path) if path != [*parts] else ""


def privileges(ids: Sequence[int]) -> list[str]:
    """Return the privileges that visits of these instances have seen. Takes one query."""
    with connection.cursor() as cursor:
        cursor.execute(_WALK if is_most(ids) else _SEARCH, {"ids": list(ids)})
        return sorted(privilege for (privilege,) in cursor.fetchall())


_SEARCH = """
SELECT DISTINCT g.privilege FROM accounts_grant g JOIN accounts_account a ON a.id = g.account_id
 WHERE a.instance_id = ANY(%(ids)s)
"""
# From each privilege to the next, by the index.
_WALK = """
WITH RECURSIVE found(privilege) AS (
   (SELECT privilege FROM accounts_grant ORDER BY privilege LIMIT 1)
    UNION ALL
   SELECT (SELECT g.privilege FROM accounts_grant g WHERE g.privilege > f.privilege ORDER BY g.privilege LIMIT 1)
     FROM found f WHERE f.privilege IS NOT NULL
)
SELECT privilege FROM found
 WHERE (SELECT true FROM accounts_grant g
         WHERE g.privilege = found.privilege
           AND (SELECT a.instance_id FROM accounts_account a WHERE a.id = g.account_id) = ANY(%(ids)s) LIMIT 1)
"""
