"""Contexts of the classification pages, and the classification tab of an account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import Count, Max, OuterRef, Q, QuerySet, Subquery, Sum
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.freshness import unknown_instances
from accounts.models import Account
from accounts.pages import Tab
from console.columns import list_url
from console.visibility import limit_of, shown_to
from instances.admin import Figure, Part
from instances.models import Instance
from instances.timeline import Event

from .explain import Line, explain
from .models import Assignment, Classification, ClassificationRule, RuleResult
from .rules import RuleError
from .vocabulary import GRAMMAR, WORDS

ROWS_PER_PAGE = 200
#: Days of the chart.
DAYS = 90
#: Classifications named at the top of an instance's page.
RISKS = 6
#: Instances listed on the page of a rule.
INSTANCES = 50


def classification_badge(classification: Classification) -> SafeString:
    return format_html(
        '<span class="tf-badge tf-tag" style="--tf-tag: {}">{}</span>', classification.colour, classification
    )


def risk_badge(classification: Classification) -> SafeString:
    return format_html(
        '<span class="tf-badge tf-{}">{}</span>', f"risk-{classification.risk}", classification.get_risk_display()
    )


def classification_page(request: HttpRequest, classification: Classification) -> dict[str, Any]:
    """Context of a classification's page: its accounts, its rules, and the number of accounts by day."""
    context: dict[str, Any] = {"badge": classification_badge(classification)}
    if request.user.has_perm("classification.view_classificationrule"):
        context["rules"] = classification.rules.present().order_by("code")
    if request.user.has_perm("classification.view_assignment"):
        rows = shown_to(classification.assignments.current(), request.user)
        rows = rows.select_related("account", "instance", "rule", "assigned_by")
        rows = rows.order_by("instance__name", "account__name", "account__host", "pk")
        context["page"] = Paginator(rows, ROWS_PER_PAGE).get_page(request.GET.get("page"))
        context["unknown"] = unknown_instances(shown_to(Instance.objects.all(), request.user)).items()
        # Counts by day cover the whole fleet, so only users without a limit see them.
        context["chart"] = _chart(classification) if limit_of(request.user) is None else None
    return context


def _chart(classification: Classification) -> dict[str, Any] | None:
    counts = list(classification.counts.order_by("-day")[:DAYS])[::-1]
    if not counts:
        return None
    most = max(1, *(count.accounts for count in counts))
    first = counts[0].day
    days = max(1, (counts[-1].day - first).days)
    points = [f"{100 * (count.day - first).days / days:.2f},{38 - 36 * count.accounts / most:.2f}" for count in counts]
    # Draw a line for a single day too.
    points = points if len(points) > 1 else [points[0], f"100,{points[0].partition(',')[2]}"]
    return {"points": " ".join(points), "first": counts[0], "last": counts[-1], "most": most}


def rule_page(request: HttpRequest, rule: ClassificationRule) -> dict[str, Any]:
    """Context of a rule's page: its versions, and the result of its last run per instance."""
    results = shown_to(rule.results.select_related("instance"), request.user)
    totals = {name: sum(getattr(row, name) for row in results) for name in ("matched", "unknown", "examined")}
    return {
        "versions": rule.versions.select_related("by")[:20],
        "results": sorted(results, key=lambda row: (not row.error, -row.unknown, row.instance.name))[:INSTANCES],
        "n_more": max(0, len(results) - INSTANCES),
        "totals": totals if results else None,
    }


def syntax_help() -> dict[str, Any]:
    """Return the words of the language, as the editor lists them."""
    return {"grammar": GRAMMAR, "words": [(_written(name), word.help) for name, word in WORDS.items()]}


def _written(name: str) -> str:
    word = WORDS[name]
    if word.is_number:
        return f"{name} > 90"
    if not word.takes:
        return name
    examples = {int: "24", bool: "True", str: '"…"'}
    needed = [f"{option}={examples[word.options[option]]}" for option in sorted(word.needed)]
    texts = ['"…"'] if word.takes == "one" else ['"…"', "…"]
    return f"{name}({', '.join([*texts, *needed])})"


def assignments_of(account: Account) -> QuerySet[Assignment]:
    """Return an account's assignments, current ones first."""
    rows = account.assignments.select_related("classification", "rule", "assigned_by")
    return rows.order_by("-until", "classification__priority", "classification__name", "pk")


def _lines(request: HttpRequest, account: Account, page: Page) -> Iterator[dict[str, Any]]:
    selected = request.GET.get("why", "")
    for assignment in page:
        line: dict[str, Any] = {"assignment": assignment}
        if assignment.rule and selected == str(assignment.pk) and assignment.until is None:
            line |= why(assignment.rule, account)
        yield line


def why(rule: ClassificationRule, account: Account) -> dict[str, Any]:
    """Return the explanation of a rule as template context."""
    try:
        lines: list[Line] = explain(rule, account)
    except RuleError as error:
        return {"wrong": str(error)}
    return {"why": lines} if lines else {"wrong": str(_("The rule does not apply to this account."))}


def badges_of(request: HttpRequest, account: Account) -> str:
    """Return the account's current classifications with their risk levels, by priority."""
    if not request.user.has_perm("classification.view_assignment"):
        return ""
    held = Classification.objects.filter(pk__in=account.assignments.current().order_by().values("classification"))
    return format_html_join("", "{}{}", ((classification_badge(one), risk_badge(one)) for one in held))


def visit_in_words(summary: Mapping[str, Any]) -> str:
    """What a run of the rules did: "3 assignments began, 1 ended; 33 answers unknown"."""
    n = {name: summary.get(name, 0) for name in ("gained", "lost", "unknown")}
    began = ngettext("%d assignment began", "%d assignments began", n["gained"]) % n["gained"]
    did = gettext("%(began)s, %(lost)d ended") % {"began": began, "lost": n["lost"]}
    unknown = ngettext("%d answer unknown", "%d answers unknown", n["unknown"]) % n["unknown"]
    return f"{did}; {unknown}" if n["unknown"] else did


def risks_part(request: HttpRequest, instance: Instance) -> Part:
    """The classifications of the instance's accounts, the riskiest first, and how many accounts are at high risk."""
    current = Assignment.objects.current().filter(instance=instance, account__gone_at=None)
    risky = [Classification.Risk.CRITICAL, Classification.Risk.HIGH]
    n_risky = current.filter(classification__risk__in=risky).aggregate(n=Count("account", distinct=True))["n"]
    held = current.filter(classification=OuterRef("pk")).order_by().values("classification")
    found = Classification.objects.annotate(n=Subquery(held.annotate(n=Count("account", distinct=True)).values("n")))
    ranks = list(Classification.Risk)
    rows = sorted(found.exclude(n=None), key=lambda one: (ranks.index(one.risk), one.priority, one.name))
    in_force = Q(rule__active=True, rule__retired_at=None)
    ran = RuleResult.objects.filter(instance=instance).aggregate(
        at=Max("at"),
        unknown=Sum("unknown", filter=in_force),
        failed=Count("pk", filter=in_force & ~Q(message="")),
    )
    of = {"instance__id__exact": instance.pk}
    context = {
        "rows": [
            (
                classification_badge(one),
                risk_badge(one),
                one.n,
                list_url("classification_assignment", **of, classification__id__exact=one.pk),
            )
            for one in rows[:RISKS]
        ],
        "n_more": len(rows) - RISKS,
        "all": list_url("classification_assignment", **of),
        "ran_at": ran["at"],
        "n_unknown": ran["unknown"] or 0,
    }
    # Without a run and without an assignment by hand nothing is known.
    count: Any = n_risky if ran["at"] or rows else "–"
    if ran["unknown"] or ran["failed"] or (rows and not ran["at"]):
        count = gettext("%d or more") % n_risky
    figure = Figure(_("Accounts at high risk"), count, context["all"], is_alarm=n_risky > 0)
    state = SafeString(render_to_string("classification/risks_of_instance.html", context, request))
    return Part(state=state, figures=[figure])


TAB = Tab(
    "classifications",
    _("Classifications"),
    "classification.view_assignment",
    lambda request, account: assignments_of(account),
    _lines,
    "classification/tab.html",
)


def assignment_events(instance: Instance, since: datetime, limit: int) -> Iterator[Event]:
    """Yield accounts that gained or lost a classification, for the instance's timeline."""
    rows = Assignment.objects.filter(instance=instance).select_related("account", "classification", "rule")
    events = [
        (row.since, "held", _("classified"), row) for row in rows.filter(since__gte=since).order_by("-since")[:limit]
    ]
    events += [
        (row.until, "left", _("no longer classified"), row)
        for row in rows.filter(until__gte=since).order_by("-until")[:limit]
    ]
    for at, badge, label, row in sorted(events, key=lambda item: item[0], reverse=True)[:limit]:
        text = f"{row.account}: {row.classification}{f' ({row.rule.code})' if row.rule else ''}"
        yield Event(at, badge, str(label), text, reverse("admin:accounts_account_change", args=[row.account_id]))
