"""Why an account is what it is: every part of a rule with its answer, and the way to what it found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import access
from accounts.access import Effective
from accounts.freshness import LastRead, last_read
from accounts.holders import edges
from accounts.models import Account, Membership
from accounts.paths import Graph

from .models import ClassificationRule
from .queries import Query, compiled
from .rules import Ask, Every, Opposite, Part, Some, like, parse

#: Ways told of one word.
WAYS = 5
#: Words that no engine has an answer to, and why.
UNSHOWN = {"unused_days": gettext_lazy("no engine shows the last login yet")}


@dataclass(frozen=True)
class Line:
    """One part of a rule: how deep it lies, how it is written, what it says (None: unknown), and because of what."""

    depth: int
    text: str
    verdict: bool | None
    because: list[str] = field(default_factory=list)


def explain(rule: ClassificationRule, account: Account, at: datetime | None = None) -> list[Line]:
    """The parts of a rule, from the whole down to its words, for one account, now or as of a moment.

    Empty where the rule is not about the account: another engine, or no such account then. Raises RuleError.
    """
    tree = parse(rule.expression)
    read = last_read(account.instance, at)
    query = compiled(tree, rule.engine, at, [account.instance_id] if read.is_stale else ())
    verdicts = _verdicts(query, account)
    if verdicts is None:
        return []
    reasons = _Reasons(query, account, at, read)
    return list(_lines(tree, 0, verdicts, reasons))


def _verdicts(query: Query, account: Account) -> dict[Part, bool | None] | None:
    columns = ", ".join(query.parts.values())
    # Names of columns are ours.
    sql = f"{query.with_clause()} SELECT {columns} {query.source} AND a.id = %(account)s"
    with connection.cursor() as cursor:
        cursor.execute(sql, query.parameters | {"instances": [account.instance_id], "account": account.pk})
        row = cursor.fetchone()
    return row and dict(zip(query.parts, row, strict=True))


def _lines(part: Part, depth: int, verdicts: dict[Part, bool | None], reasons: _Reasons) -> Iterator[Line]:
    verdict = verdicts[part]
    match part:
        case Every(parts=parts) | Some(parts=parts):
            yield Line(depth, part.text, verdict)
            for one in parts:
                yield from _lines(one, depth + 1, verdicts, reasons)
        case Opposite(part=one):
            yield Line(depth, part.text, verdict)
            yield from _lines(one, depth + 1, verdicts, reasons)
        case Ask():
            yield Line(depth, part.text, verdict, reasons.of(part, verdict))


class _Reasons:
    def __init__(self, query: Query, account: Account, at: datetime | None, read: LastRead) -> None:
        self.query, self.account, self.at, self.read = query, account, at, read
        self._effective: Effective | None = None

    def of(self, ask: Ask, verdict: bool | None) -> list[str]:
        if ask.word == "member_of":
            return self._unknown() if verdict is None else self._roles(ask)
        if ask in self.query.grants:
            return self._unknown() if verdict is None else self._grants(ask)
        if verdict is None:
            if self.read.is_visited and self.read.is_stale and ask.word not in UNSHOWN:
                return [self.read.reason]
            return [str(UNSHOWN.get(ask.word) or _("the engine does not show it, or visits could not read it"))]
        return []

    def _unknown(self) -> list[str]:
        """What visits had not read."""
        read = self.read
        if not read.is_visited:
            return [_("no visit had read the instance by then")]
        told = [read.reason] if read.is_stale else []
        told += [gap["message"] for gap in read.gaps]
        if read.beyond:
            told.append(
                _("read depth %(level)s leaves out: %(kinds)s") % {"level": read.level, "kinds": ", ".join(read.beyond)}
            )
        return told or [_("visits had not read it by then")]

    def _grants(self, ask: Ask) -> list[str]:
        """The grants that were found, each with the way to it."""
        if self._effective is None:
            self._effective = access.effective(self.account, self.at)
        effective = self._effective
        stand_ins = effective.grants.filter(database__in=list(effective.owners)).values_list("account", flat=True)
        holders = {*effective.ways, *(stand_ins if effective.owners else ())}
        found = self.query.grants[ask]
        sql = f"{self.query.with_clause()} SELECT grant_id FROM {found} WHERE account_id = ANY(%(holders)s)"  # noqa: S608
        values = {"instances": [self.account.instance_id], "holders": list(holders)}
        with connection.cursor() as cursor:
            cursor.execute(sql, self.query.parameters | values)
            ids = [row[0] for row in cursor.fetchall()]
        if ask.word == "attribute" or ask.options.get("direct"):
            grants = effective.grants.filter(pk__in=ids, account=self.account)
        else:
            grants = effective.grants.filter(pk__in=ids)
        names = effective.names()
        told = []
        for grant in grants:
            way = effective.way(grant)
            if not way.is_open:
                continue
            words = [str(grant)]
            if way.path:
                words.append(_("through %s") % " → ".join(names[pk] for pk in way.path))
            if not effective.at_once(grant):
                words.append(_("after switching to a role"))
            since = max(filter(None, (grant.since, way.since)))
            words.append(_("since %s") % timezone.localtime(since).strftime("%Y-%m-%d %H:%M"))
            told.append((len(way.path), ", ".join(words)))
        told.sort()
        return [words for _length, words in told[:WAYS]]

    def _roles(self, ask: Ask) -> list[str]:
        """The roles of that name that it reaches, each with the way there."""
        graph = Graph(edges([self.account.pk], self.at or timezone.now(), up=True))
        ways = graph.from_member(self.account.pk)
        names = {role.pk: role for role in Account.objects.filter(pk__in=list(ways))}
        told = [
            (len(way.path), " → ".join(str(names[step]) for step in way.path))
            for pk, way in ways.items()
            if way.path and pk != self.account.pk and like(ask.texts[0], names[pk].name)
        ]
        if ask.options.get("admin"):
            held = Membership.objects.at(self.at or timezone.now()).filter(role__in=list(ways), admin_option=True)
            passing = {str(row.role) for row in held.filter(member__in=list(ways)).select_related("role")}
            told = [(length, path) for length, path in told if path.rpartition(" → ")[2] in passing]
        return [_("through %s") % path for _length, path in sorted(told)[:WAYS]]
