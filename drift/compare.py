"""How instances deviate from a reference: accounts, attributes, memberships and grants that are missing, extra or
different.

The facts of all instances are compared in one statement. What one side has not read is unknown, not missing, and what
versions have by their nature is not a deviation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import QuerySet
from django.utils.translation import gettext

from access.moments import iso
from accounts.freshness import LastRead, last_reads, moment
from accounts.models import account_label, describe_grant
from console.visibility import shown_to
from engines.facts import KNOWN_STATES
from engines.paths import split_path
from engines.registry import ENGINES
from engines.versions import OnlyIn, version_of
from instances.models import Instance

from .models import AcceptedDeviation, Baseline
from .states import VERSION
from .wording import FIELDS, OPTIONS, VALUES, WHAT

#: The kinds of item that are no grants.
ACCOUNT, ATTRIBUTE, MEMBERSHIP = "account", "field", "membership"

#: Version of these rules: stored counts of another one are counted again.
COMPARES = 1

#: Stands for a saved state among the ids of instances.
STATE = 0


class Deviation(NamedTuple):
    """One item that an instance has otherwise than the reference. `expected` and `found` are the values of the item;
    None where there is no such item."""

    instance_id: int
    account: str
    host: str
    kind: str
    database: str
    scope: str
    item: str
    expected: str | None
    found: str | None

    @property
    def what(self) -> str:
        return "missing" if self.found is None else "extra" if self.expected is None else "different"

    @property
    def label(self) -> str:
        return account_label(self.account, self.host)

    @property
    def key(self) -> str:
        """A digest of all but the instance."""
        return hashlib.md5(json.dumps(self[1:]).encode(), usedforsecurity=False).hexdigest()

    @property
    def text(self) -> str:
        """What the item is: "SELECT on table shop.public.orders"."""
        if self.kind == ACCOUNT:
            return gettext("account exists")
        if self.kind == ATTRIBUTE:
            return str(FIELDS[self.item])
        if self.kind == MEMBERSHIP:
            return gettext("member of %s") % account_label(self.scope, self.item)
        privilege = self.item.removeprefix("no ")
        return describe_grant(privilege, self.kind, self.scope, False, privilege != self.item)

    @property
    def sentence(self) -> str:
        """ "missing: SELECT on table shop.public.orders", with both values where they differ."""
        words = f"{WHAT[self.what]}: {self.text}"
        if self.what != "different":
            return words
        values = {"found": self.value(self.found), "expected": self.value(self.expected)}
        return words + gettext(" (%(found)s instead of %(expected)s)") % values

    @property
    def expected_words(self) -> str:
        return self.value(self.expected)

    @property
    def found_words(self) -> str:
        return self.value(self.found)

    def value(self, value: str | None) -> str:
        """What one side has, in words."""
        if value is None:
            return gettext("no")
        if self.kind == ATTRIBUTE:
            return str(VALUES.get(value, value))
        return ", ".join(str(OPTIONS.get(word, word)) for word in value.split(",") if word) or gettext("yes")


@dataclass
class Compared:
    """One instance. `unknown` says why it is not compared, and `parts` what of it is not; both may be empty."""

    read: LastRead
    unknown: str = ""
    parts: list[str] = field(default_factory=list)
    deviations: list[Deviation] = field(default_factory=list)
    accepted: list[tuple[Deviation, AcceptedDeviation]] = field(default_factory=list)

    @property
    def instance(self) -> Instance:
        return self.read.instance

    @property
    def is_unknown(self) -> bool:
        return bool(self.unknown or self.parts)


@dataclass(frozen=True)
class Drift:
    """`reference` is its name; "" for a user who may not see it."""

    reference: str
    compared: list[Compared]

    @property
    def count(self) -> int:
        return sum(len(one.deviations) for one in self.compared)

    @property
    def accepted(self) -> int:
        return sum(len(one.accepted) for one in self.compared)

    @property
    def unknown(self) -> int:
        return sum(one.is_unknown for one in self.compared)


@dataclass(frozen=True)
class _Side:
    """What the facts of an instance, or of a saved state, stand on. `gaps` have scope, database, code and message."""

    engine: str
    version: tuple[int, ...]
    level: str
    beyond: Collection[str]
    gaps: list[dict[str, str]]


def drift_of(baseline: Baseline, user: Any = None) -> Drift:
    """Compare the instances of a baseline that the user may see. Takes a fixed number of queries."""
    found = compare(
        shown_to(baseline.group(), user),
        baseline.reference,
        baseline.state if baseline.reference is None else None,
        baseline.ignored_regex,
        shown_reference=baseline.reference is not None
        and shown_to(Instance.objects.filter(pk=baseline.reference_id), user).exists(),
    )
    _set_apart(found, baseline)
    return found


def compare(
    group: QuerySet[Instance],
    reference: Instance | None,
    state: Mapping[str, Any] | None = None,
    ignored: str = r"^(?!)",
    shown_reference: bool = True,
) -> Drift:
    """Compare instances with a reference, which is an instance or a saved state. `ignored` is a regular expression that
    matches the names of accounts that are left out."""
    ids = [*group.order_by().values_list("pk", flat=True), *([reference.pk] if reference else [])]
    reads = {read.instance.pk: read for read in last_reads(Instance.objects.filter(pk__in=ids))}
    versions = dict(Instance.objects.filter(pk__in=reads).values_list("pk", "version"))
    sides = {pk: _side(read, versions[pk]) for pk, read in reads.items()}
    if reference:
        name = str(reference) if shown_reference else ""
        base, missing = sides[reference.pk], _why_not(reads.pop(reference.pk), shown_reference)
    elif state:
        name, missing = gettext("saved state of %s") % _read_at(state), ""
        base = _Side(
            state["engine"], version_of(state["version"]), state["level"], {*state["beyond"]}, [*state["gaps"]]
        )
    else:
        name, base, missing = "", None, gettext("The baseline has neither a reference instance nor a saved state.")
    compared, unread = {}, []
    for pk, read in sorted(reads.items(), key=lambda one: one[1].instance.name):
        one = compared[pk] = Compared(read)
        one.unknown = missing or _unknown(read, base)
        if not one.unknown:
            one.parts, left_out = _parts(base, sides[pk], shown_reference)
            unread += [{"side": pk, "kind": kind, "database": database} for kind, database in left_out]
    known = [pk for pk, one in compared.items() if not one.unknown]
    if known:
        for deviation in _deviations(known, reference.pk if reference else STATE, state, unread, ignored):
            compared[deviation.instance_id].deviations.append(deviation)
        for pk in known:
            one = compared[pk]
            one.deviations = _without_nature(one.deviations, base, sides[pk])
    return Drift(name, [*compared.values()])


def _read_at(state: Mapping[str, Any]) -> str:
    try:
        return moment(datetime.fromisoformat(state["read_at"]))
    except (ValueError, OverflowError):
        return str(state["read_at"])


def _side(read: LastRead, version: str) -> _Side:
    gaps = [{name: gap[name] for name in ("scope", "database", "code", "message")} for gap in read.gaps]
    return _Side(read.instance.engine, version_of(version), read.level, {*read.beyond}, gaps)


def _why_not(read: LastRead, is_named: bool) -> str:
    """Why an instance cannot be the reference; "" if it can."""
    incomplete = any(gap["scope"] == "accounts" for gap in read.gaps)
    if not (read.is_stale or incomplete):
        return ""
    if not is_named:
        return gettext("The reference is not known.")
    why = read.reason or gettext("the list of accounts is incomplete")
    return gettext("The reference %(name)s is not known: %(why)s") % {"name": read.instance, "why": why}


def _unknown(read: LastRead, base: _Side | None) -> str:
    if read.is_stale:
        return read.reason
    if incomplete := next((gap["message"] for gap in read.gaps if gap["scope"] == "accounts"), ""):
        return incomplete
    if base and read.instance.engine != base.engine:
        return gettext("The reference is of another engine: %s.") % ENGINES[base.engine].label
    return ""


#: Scope of a gap → kind of item.
_KINDS = {"memberships": MEMBERSHIP, "account fields": ATTRIBUTE}


def _parts(base: _Side, side: _Side, is_named: bool) -> tuple[list[str], set[tuple[str, str]]]:
    """What cannot be compared, in words, and as kinds with their database ("": all).

    What neither side should read is not compared, and not unknown either: kinds beyond the depth of both, databases
    that are closed on both.
    """
    words, left_out = [], set()
    for kind in sorted({*base.beyond, *side.beyond}):
        left_out.add((_KINDS.get(kind, kind), ""))
        if not (kind in base.beyond and kind in side.beyond):
            level, text = (
                (side.level, gettext("read depth %(level)s leaves out: %(kinds)s"))
                if kind in side.beyond
                else (base.level, gettext("read depth %(level)s of the reference leaves out: %(kinds)s"))
            )
            words.append(text % {"level": level, "kinds": kind})
    for one, other, text in (
        (side, base, "%s"),
        (base, side, gettext("of the reference: %s")),
    ):
        alike = {(gap["scope"], gap["database"]) for gap in other.gaps if gap["code"] in KNOWN_STATES}
        for gap in one.gaps:
            # A field that was not read has no value, which is compared with nothing.
            if gap["scope"] != "account fields":
                left_out.add((_KINDS.get(gap["scope"], gap["scope"]), gap["database"]))
            if gap["code"] not in KNOWN_STATES or (gap["scope"], gap["database"]) not in alike:
                # The message may name what only those who see the reference may know.
                words.append(
                    text % (gap["message"] if one is side or is_named else gettext("a part of it could not be read"))
                )
    return [*dict.fromkeys(words)], left_out


def _without_nature(found: list[Deviation], base: _Side, side: _Side) -> list[Deviation]:
    """Leave out what one side has by the nature of its version, and the other does not know."""
    rules = [rule for rule in ENGINES[base.engine].only_in if rule.has(base.version) != rule.has(side.version)]
    if not rules:
        return found

    def by_nature(one: Deviation) -> bool:
        # A difference in options is none of the version.
        holder = base if one.what == "missing" else side
        return one.what != "different" and any(rule.has(holder.version) and _matches(rule, one) for rule in rules)

    kept = [one for one in found if not by_nature(one)]
    # The owner of such an object holds all rights on it.
    owned = {(one.account, one.host, one.kind, one.scope, one.what) for one in found if by_nature(one)}
    owner = {
        (one.account, one.host, one.kind, one.scope, one.what)
        for one in found
        if one.item == "OWNER" and (one.account, one.host, one.kind, one.scope, one.what) in owned
    }
    return [one for one in kept if (one.account, one.host, one.kind, one.scope, one.what) not in owner]


def _matches(rule: OnlyIn, one: Deviation) -> bool:
    return (
        rule.kind in ("", one.kind)
        and rule.privilege in ("", one.item)
        and rule.account in ("", one.account)
        and (not rule.last or split_path(one.scope)[-1] == rule.last)
    )


def _set_apart(found: Drift, baseline: Baseline) -> None:
    """Move the deviations that are accepted today from `deviations` to `accepted`."""
    rows = AcceptedDeviation.objects.current().filter(baseline=baseline).select_related("accepted_by")
    accepted = {(row.instance_id, row.key): row for row in rows}
    if not accepted:
        return
    for one in found.compared:
        left = []
        for deviation in one.deviations:
            row = accepted.get((one.instance.pk, deviation.key)) or accepted.get((None, deviation.key))
            if row:
                one.accepted.append((deviation, row))
            else:
                left.append(deviation)
        one.deviations = left


# SQL

#: Of instances: the columns of `states.COLUMNS`.
#:
#: What is derived from others is left out: PostgreSQL's LOGIN is the kind of the account, `can_login` and
#: `is_superuser` follow from kind, lock and grants. Large objects have no names. Of a time until which an account is
#: valid it matters whether there is one: each password has its own.
_ITEMS = """
    people AS (
        SELECT a.* FROM accounts_account a
         WHERE a.instance_id = ANY(%(ids)s) AND a.gone_at IS NULL AND a.name !~ %(ignored)s
    ), coverage AS (
        SELECT instance_id, unread FROM accounts_coverage WHERE instance_id = ANY(%(ids)s) AND until IS NULL
    ), items(instance_id, account, host, kind, database, scope, item, value, shipped) AS (
        SELECT instance_id, name, host, 'account', '', '', '', '', false
          FROM people WHERE NOT is_system AND kind IS DISTINCT FROM 'public'
         UNION ALL
        SELECT p.instance_id, p.name, p.host, 'field', '', '', f.name,
               CASE WHEN f.value IS NOT NULL THEN f.value WHEN f.name = ANY(c.unread) THEN NULL ELSE '' END, false
          FROM people p JOIN coverage c USING (instance_id)
         CROSS JOIN LATERAL (VALUES
               ('kind', p.kind::text), ('is_locked', p.is_locked::text),
               ('connection_limit', p.connection_limit::text), ('auth_method', p.auth_method::text),
               ('valid_until', CASE WHEN p.valid_until IS NOT NULL THEN 'true' END)) f(name, value)
         WHERE NOT p.is_system AND p.kind IS DISTINCT FROM 'public'
         UNION ALL
        SELECT p.instance_id, p.name, p.host, 'membership', '', r.name, r.host,
               concat_ws(',', CASE WHEN m.admin_option THEN 'admin' END, CASE WHEN NOT m.inherit THEN 'noinherit' END,
                         CASE WHEN NOT m.set_option THEN 'noset' END), r.is_system
          FROM accounts_membership m
          JOIN people p ON p.id = m.member_id
          JOIN people r ON r.id = m.role_id
         WHERE m.until IS NULL AND NOT (p.is_system AND r.is_system)
         UNION ALL
        SELECT p.instance_id, p.name, p.host, g.kind, g.database, g.scope,
               CASE WHEN g.denied THEN 'no ' ELSE '' END || g.privilege,
               CASE WHEN g.grantable THEN 'grantable' ELSE '' END, false
          FROM accounts_grant g
          JOIN people p ON p.id = g.account_id
         WHERE g.until IS NULL AND NOT p.is_system AND g.kind <> 'large_object'
           AND (g.kind, g.privilege) <> ('attribute', 'LOGIN')
    )
"""

_DEVIATIONS = f"""
WITH {_ITEMS}, reference AS MATERIALIZED (
    SELECT account, host, kind, database, scope, item, value, shipped FROM items WHERE instance_id = %(reference)s
     UNION ALL
    SELECT i->>0, i->>1, i->>2, i->>3, i->>4, i->>5, i->>6, (i->>7)::boolean
      FROM jsonb_array_elements(%(state)s::jsonb) i
     WHERE i->>0 !~ %(ignored)s AND NOT (i->>2 = 'membership' AND i->>4 ~ %(ignored)s)
), expected AS (
    SELECT side, r.* FROM unnest(%(group)s) side CROSS JOIN reference r
), others AS (
    SELECT * FROM items WHERE instance_id = ANY(%(group)s)
), unread AS (
    SELECT * FROM jsonb_to_recordset(%(unread)s::jsonb) AS u(side integer, kind text, database text)
), roles AS (
    SELECT instance_id, name FROM accounts_account
     WHERE instance_id = ANY(%(ids)s) AND gone_at IS NULL AND is_system
     UNION ALL
    SELECT 0, name FROM jsonb_array_elements_text(%(roles)s::jsonb) name
), found AS (
    SELECT coalesce(r.side, o.instance_id) AS side, coalesce(r.account, o.account) AS account,
           coalesce(r.host, o.host) AS host, coalesce(r.kind, o.kind) AS kind,
           coalesce(r.database, o.database) AS database, coalesce(r.scope, o.scope) AS scope,
           coalesce(r.item, o.item) AS item, r.value AS expected, o.value AS found,
           coalesce(r.shipped, o.shipped) AS shipped, r.side IS NULL AS extra, o.instance_id IS NULL AS missing
      FROM expected r
      FULL JOIN others o
        ON o.instance_id = r.side AND o.account = r.account AND o.host = r.host AND o.kind = r.kind
       AND o.database = r.database AND o.scope = r.scope AND o.item = r.item
     WHERE r.side IS NULL OR o.instance_id IS NULL OR r.value <> o.value
)
SELECT side, account, host, kind, database, scope, item, expected, found
  FROM found d
 WHERE (kind <> 'field' OR NOT (extra OR missing))
   AND NOT EXISTS (SELECT FROM unread u WHERE u.side = d.side AND u.kind = d.kind AND u.database IN ('', d.database))
   -- A role that the engine ships, and the version of the other side does not have.
   AND (NOT shipped OR NOT (extra OR missing) OR EXISTS (
        SELECT FROM roles s
         WHERE s.name = d.scope AND s.instance_id = CASE WHEN extra THEN %(reference)s ELSE d.side END))
 ORDER BY side, account COLLATE "C", host COLLATE "C", kind <> 'account', kind <> 'field', kind <> 'membership', kind,
          scope COLLATE "C", item COLLATE "C"
"""  # noqa: S608 -- constants of this module


def _deviations(
    group: list[int],
    reference: int,
    state: Mapping[str, Any] | None,
    unread: list[dict[str, Any]],
    ignored: str,
) -> list[Deviation]:
    parameters = {
        "ids": [*group, reference],
        "group": group,
        "reference": reference,
        "ignored": ignored,
        "state": json.dumps(state["items"] if state else []),
        "roles": json.dumps(state["system_roles"] if state else []),
        "unread": json.dumps(unread),
    }
    with connection.cursor() as cursor:
        cursor.execute(_DEVIATIONS, parameters)
        return [Deviation(*row) for row in cursor.fetchall()]


_STATE = f"""
WITH {_ITEMS} SELECT account, host, kind, database, scope, item, value, shipped FROM items
 ORDER BY account COLLATE "C", host COLLATE "C", kind, scope COLLATE "C", item COLLATE "C"
"""  # noqa: S608 -- constants of this module


def state_of(instance: Instance) -> dict[str, Any]:
    """The document of an instance as its last visit read it. Raises ValueError if that is not known."""
    instance.refresh_from_db()
    (read,) = last_reads(Instance.objects.filter(pk=instance.pk))
    if why := _why_not(read, True):
        raise ValueError(why)
    side = _side(read, instance.version)
    with connection.cursor() as cursor:
        cursor.execute(_STATE, {"ids": [instance.pk], "ignored": r"^(?!)"})
        items = [[*row] for row in cursor.fetchall()]
        cursor.execute(
            "SELECT name FROM accounts_account WHERE instance_id = %s AND is_system AND gone_at IS NULL ORDER BY 1",
            [instance.pk],
        )
        roles = [name for (name,) in cursor.fetchall()]
    return {
        "taifish_state": VERSION,
        "engine": side.engine,
        "product": instance.product,
        "version": instance.version,
        "read_at": iso(read.read_at),
        "level": side.level,
        "beyond": sorted(side.beyond),
        "gaps": side.gaps,
        "system_roles": roles,
        "items": items,
    }
