"""Explain a rule for one account: each part with its verdict, and the path to each grant or role it found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from access.chains import nearest_roles
from access.questions import rows_of
from accounts.freshness import LastRead, last_read
from accounts.models import Account, Membership
from console.wildcards import like
from engines.registry import ENGINES

from .models import ClassificationRule
from .privileges import question_of
from .queries import Query, compiled
from .rules import And, Not, Or, Part, Term, parse
from .unseen import OF_PRIVILEGES

#: Paths listed per word.
MAX_PATHS = 5


@dataclass(frozen=True)
class Line:
    """One part of a rule: its depth, source text, verdict (None: unknown) and reasons."""

    depth: int
    text: str
    verdict: bool | None
    because: list[str] = field(default_factory=list)


def explain(rule: ClassificationRule, account: Account, at: datetime | None = None) -> list[Line]:
    """Explain a rule for one account, now or as of a moment: one line per part, the whole rule first.

    Empty if the rule does not apply: another engine, or no such account then. Raises RuleError.
    """
    tree = parse(rule.expression)
    read = last_read(account.instance, at)
    query = compiled(tree, rule.engine, at, [account.instance_id] if read.is_stale else ())
    verdicts = _verdicts(query, account)
    if verdicts is None:
        return []
    reasons = _Reasons(account, at, read)
    return list(_lines(tree, 0, verdicts, reasons))


def _verdicts(query: Query, account: Account) -> dict[Part, bool | None] | None:
    columns = ", ".join(query.parts.values())
    # Column names come from the compiler, not from users.
    sql = f"{query.with_clause()} SELECT {columns} {query.source} AND a.id = %(account)s"
    with connection.cursor() as cursor:
        cursor.execute(sql, query.parameters | {"instances": [account.instance_id], "account": account.pk})
        row = cursor.fetchone()
    return row and dict(zip(query.parts, row, strict=True))


def _lines(part: Part, depth: int, verdicts: dict[Part, bool | None], reasons: _Reasons) -> Iterator[Line]:
    verdict = verdicts[part]
    match part:
        case And(parts=parts) | Or(parts=parts):
            yield Line(depth, part.text, verdict)
            for one in parts:
                yield from _lines(one, depth + 1, verdicts, reasons)
        case Not(part=one):
            yield Line(depth, part.text, verdict)
            yield from _lines(one, depth + 1, verdicts, reasons)
        case Term():
            yield Line(depth, part.text, verdict, reasons.of(part, verdict))


def why_unknown(term: Term, read: LastRead) -> list[str]:
    """Return why a word is unknown on an instance: what its last read lacks."""
    if not read.is_visited:
        return [_("no visit had read the instance by then")]
    reasons = [read.reason] if read.is_stale else []
    if term.word not in OF_PRIVILEGES | {"member_of"}:
        if reasons:
            return reasons
        if term.word == "unused_days":
            return [_("no login is recorded, or the engine does not show logins")]
        return [_("the engine does not show it, or visits could not read it")]
    engine, needed, database = read.instance.engine, {"memberships"}, ""
    if term.word in OF_PRIVILEGES:
        question = question_of(term)
        needed, database = question.needed(ENGINES[engine].semantics), question.database
    gaps = (gap for gap in read.gaps if gap["scope"] in {*needed, "accounts"})
    reasons += [gap["message"] for gap in gaps if not database or gap["database"] in ("", database)]
    if left_out := read.left_out(needed):
        reasons.append(left_out)
    if term.word in OF_PRIVILEGES and engine in question_of(term).built_in():
        reasons.append(_("on built-in objects, the rights that the engine ships with are not recorded"))
    return reasons or [_("visits had not read it by then")]


class _Reasons:
    def __init__(self, account: Account, at: datetime | None, read: LastRead) -> None:
        self.account, self.at, self.read = account, at, read

    def of(self, term: Term, verdict: bool | None) -> list[str]:
        if verdict is None:
            return why_unknown(term, self.read)
        if term.word == "member_of":
            return self._roles(term)
        return self._grants(term) if term.word in OF_PRIVILEGES else []

    def _grants(self, term: Term) -> list[str]:
        """Return what gives the account the privilege, each with its path, the shortest first."""
        everyone = Account.objects.filter(instance=self.account.instance_id, kind=Account.Kind.PUBLIC)
        accounts = [self.account.pk, *everyone.filter(host__in=["", self.account.host]).values_list("pk", flat=True)]
        found = []
        for row in rows_of(question_of(term), self.account.instance, self.at, accounts):
            path = [str(role) for role in row.path]
            if row.account != self.account:
                path.append(str(row.account))
            words = [str(row.grant) if row.grant else _("by its nature")]
            if path:
                words.append(_("through %s") % " → ".join(path))
            if not row.at_once:
                words.append(_("after switching to a role"))
            if row.since:
                words.append(_("since %s") % timezone.localtime(row.since).strftime("%Y-%m-%d %H:%M"))
            found.append((len(path), ", ".join(words)))
        found.sort()
        return [words for _length, words in found[:MAX_PATHS]]

    def _roles(self, term: Term) -> list[str]:
        """Return the matching roles that the account reaches, each with its path."""
        steps = nearest_roles(self.account.pk, self.at or timezone.now())
        names = {role.pk: role for role in Account.objects.filter(pk__in=list(steps))}
        ways = [pk for pk in steps if pk != self.account.pk and like(term.texts[0], names[pk].name)]
        paths = [(len(steps[pk]), " → ".join(str(names[step]) for step in steps[pk])) for pk in ways]
        if term.options.get("admin"):
            rows = Membership.objects.at(self.at or timezone.now()).filter(role__in=ways, admin_option=True)
            passing = {
                str(row.role) for row in rows.filter(member__in=[self.account.pk, *steps]).select_related("role")
            }
            paths = [(length, path) for length, path in paths if path.rpartition(" → ")[2] in passing]
        return [_("through %s") % path for _length, path in sorted(paths)[:MAX_PATHS]]
