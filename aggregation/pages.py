"""Pages of growth: trends, and the form that aggregates a range again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console.charts import BAND, Chart, bytes_chart
from console.columns import list_url
from console.csv import csv_file
from console.permissions import needs
from console.units import bytes_label
from console.visibility import narrow_choices
from engines.registry import engine_choices
from instances.models import Instance
from instances.timeline import Event
from sync.models import SyncSession
from sync.pages import RUN, session_page
from tagging.models import Tag
from work.days import local_day, midnight

from . import reading, services
from .models import PERIODS, DatabaseAggregate
from .periods import Period, Span, last_closed, span_of

#: Number of periods in a trend.
LENGTHS = {Period.DAILY: 60, Period.WEEKLY: 26, Period.MONTHLY: 24, Period.QUARTERLY: 12}
GROWERS, LACKING, GROUPS = 20, 20, 12
#: Instances that the chart shows apart.
STACKED = 6
#: A day's change is a jump if it reaches both these bytes and this percentage, up or down.
JUMP, JUMP_PERCENT = 64 * 1024**2, 20

_INPUT = {"class": "tf-input"}
#: The format of <input type="date">, in every language.
_ISO = "%Y-%m-%d"


class TrendForm(forms.Form):
    period = forms.ChoiceField(label=_("period"), choices=PERIODS, widget=forms.Select(attrs=_INPUT))
    tag = forms.ModelChoiceField(
        label=_("tag"), required=False, queryset=Tag.objects.all(), widget=forms.Select(attrs=_INPUT)
    )
    engine = forms.ChoiceField(
        label=_("engine"),
        required=False,
        choices=[("", _("all")), *engine_choices()],
        widget=forms.Select(attrs=_INPUT),
    )


@needs("aggregation.view_instanceaggregate")
def trends_page(request: HttpRequest) -> HttpResponse:
    """Show growth by period for all instances, or by tag or engine. `csv=trend` and `csv=growers` return a file."""
    form = TrendForm({"period": Period.MONTHLY.value, **request.GET.dict()})
    narrow_choices(form, request.user)
    context: dict[str, Any] = {**admin.site.each_context(request), "title": _("Trends"), "form": form}
    if form.is_valid():
        period = Period(form.cleaned_data["period"])
        span = last_closed(period, local_day())
        instances = reading.chosen_instances(form.cleaned_data["tag"], form.cleaned_data["engine"], request.user)
        rows = reading.trend(period, instances, LENGTHS[period])
        may_see_databases = request.user.has_perm("aggregation.view_databaseaggregate")
        export = request.GET.get("csv")
        if export == "trend":
            return _trend_csv(period, rows)
        if export == "growers" and may_see_databases:
            return _growers_csv(span, reading.top_growers(span, instances, 10_000))
        lacking = reading.lacking(span, instances)
        query = request.GET.copy()
        query.pop("csv", None)
        # The list of aggregates has no filter for a tag.
        of = {"instance__engine__exact": form.cleaned_data["engine"]} if form.cleaned_data["engine"] else {}
        links = [] if form.cleaned_data["tag"] else [_rows_behind(period, row, **of) for row in rows]
        totals = [
            (label, reading.totals(by, span, instances)[:GROUPS])
            for by, label in (("engine", _("Per engine")), ("tag", _("Per tag")), ("instance", _("Per instance")))
        ]
        context |= {
            "span": span,
            "trend": _trend_chart(period, rows, links),
            "changes": _change_chart(period, rows, links),
            "stacked": _stacked_chart(period, rows, instances),
            "growers": list(reading.top_growers(span, instances, GROWERS)) if may_see_databases else None,
            "totals": totals,
            "aggregated": any(rows for _label, rows in totals),
            "lacking": lacking[:LACKING],
            "n_lacking": len(lacking),
            "query": query.urlencode(),
            "backfill": BackfillForm(initial={"period": "all", "first": span.first, "last": span.last})
            if request.user.has_perm(RUN)
            else None,
        }
    return TemplateResponse(request, "aggregation/trends.html", context)


def _rows_behind(period: Period, row: reading.Trend, **of: str) -> str:
    """The list of the aggregates that a point sums up."""
    return list_url(
        "aggregation_instanceaggregate", period=period.value, which="all", start=row.start.isoformat(), **of
    )


def _labels(period: Period, rows: list[reading.Trend]) -> list[str]:
    return [span_of(period, row.start).label for row in rows]


def _trend_chart(period: Period, rows: list[reading.Trend], links: list[str]) -> Chart | None:
    # The band: the area of the upper line is filled down to the lower line.
    smallest, largest, average = str(_("smallest")), str(_("largest")), str(_("average"))
    edge = {"borderColor": BAND, "borderWidth": 1, "pointRadius": 0}
    return bytes_chart(
        _labels(period, rows),
        {
            average: [round(row.avg_size) for row in rows],
            smallest: [row.min_size for row in rows],
            largest: [row.max_size for row in rows],
        },
        {smallest: edge, largest: edge | {"fill": "-1", "backgroundColor": BAND}},
        links=links,
    )


def _change_chart(period: Period, rows: list[reading.Trend], links: list[str]) -> Chart | None:
    change = str(_("change"))
    return bytes_chart(
        _labels(period, rows),
        {change: [row.change for row in rows]},
        {change: {"backgroundColor": "var(--color-primary-600)", "borderRadius": 2}},
        signed=True,
        links=links,
    )


def _stacked_chart(period: Period, rows: list[reading.Trend], instances: QuerySet[Instance]) -> Chart | None:
    """The largest instances one above the other, and above them the rest: the edge is the average of all."""
    largest = reading.largest_instances(period, instances, LENGTHS[period], STACKED)
    others = gettext("other instances") if largest else gettext("all instances")
    series: dict[str, list[int | None]] = {}
    styles = {}
    for instance, sizes in largest.items():
        name = f"{instance.name} ({instance.pk})" if instance.name == others else instance.name
        series[name] = [sizes.get(row.start) for row in rows]
        styles[name] = {"link": reverse("admin:instances_instance_change", args=[instance.pk])}
    known = [sum(sizes.get(row.start, 0) for sizes in largest.values()) for row in rows]
    # Each average is rounded, so that the rest may be a few bytes below zero.
    rest = [max(round(row.avg_size) - size, 0) for row, size in zip(rows, known, strict=True)]
    if any(rest) or not largest:
        series[others] = [*rest]
    return bytes_chart(_labels(period, rows), series, styles, stacked=True)


def _trend_csv(period: Period, rows: list[reading.Trend]) -> HttpResponse:
    header = ["from", "to", "average", "smallest", "largest", "last", "change", "instances", "whole"]
    cells = [
        [
            row.start,
            row.end,
            round(row.avg_size),
            row.min_size,
            row.max_size,
            row.last_size,
            row.change,
            row.n_instances,
            row.n_whole,
        ]
        for row in rows
    ]
    return csv_file(f"trend-{period}-{local_day()}", header, cells)


def _growers_csv(span: Span, rows: Any) -> HttpResponse:
    header = ["instance", "database", "from", "to", "size", "change", "percent", "days collected", "days expected"]
    cells = [
        [
            row.database.instance.name,
            row.database.name,
            row.start,
            row.end,
            row.last_size,
            row.change,
            row.change_percent,
            row.days_collected,
            row.days_expected,
        ]
        for row in rows
    ]
    return csv_file(f"growers-{span.period}-{span.first}", header, cells)


class BackfillForm(forms.Form):
    period = forms.ChoiceField(
        label=_("period"), choices=[("all", _("all")), *PERIODS], widget=forms.Select(attrs=_INPUT)
    )
    first = forms.DateField(label=_("from"), widget=forms.DateInput(_INPUT | {"type": "date"}, _ISO))
    last = forms.DateField(label=_("to"), widget=forms.DateInput(_INPUT | {"type": "date"}, _ISO))


@needs("aggregation.view_instanceaggregate", RUN)
def backfill_page(request: HttpRequest) -> HttpResponse:
    """Aggregate a range of days again for all active instances, and redirect to the session. POST only."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    form = BackfillForm(request.POST)
    try:
        if not form.is_valid():
            raise ValueError(" ".join(error for errors in form.errors.values() for error in errors))
        data = form.cleaned_data
        session = services.backfill(
            data["period"],
            data["first"],
            data["last"],
            trigger=SyncSession.Trigger.MANUAL,
            user=request.user,
        )
    except ValueError as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(reverse("trends"))
    return session_page(session)


def jump_events(instance: Instance, since: datetime, limit: int) -> Iterable[Event]:
    """Yield days on which a database grew or shrank by a jump, for the instance's timeline."""
    rows = DatabaseAggregate.objects.filter(
        Q(change__gte=JUMP) | Q(change__lte=-JUMP),
        Q(change_percent__gte=JUMP_PERCENT) | Q(change_percent__lte=-JUMP_PERCENT),
        database__instance=instance,
        period=Period.DAILY,
        start__gte=local_day(since),
    )
    for row in rows.select_related("database").order_by("-start", "pk")[:limit]:
        text = f"{row.database}: {bytes_label(row.change, signed=True)} ({row.change_percent:+.0f} %)"
        url = reverse("admin:capacity_database_change", args=[row.database_id])
        at = midnight(row.start + timedelta(days=1)) - timedelta(microseconds=1)
        yield Event(at, "privileges", gettext("size jump"), text, url)
