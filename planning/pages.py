"""Pages of forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from django import forms
from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from capacity.models import Database
from console.charts import BAND, Chart, bytes_chart
from console.csv import csv_file
from console.permissions import needs
from console.units import bytes_label
from console.visibility import narrow_choices
from engines.registry import engine_choices
from instances.admin import Figure, Part
from instances.models import Instance
from tagging.models import Tag
from work.days import local_day

from . import reading
from .answers import AHEAD, WINDOW, Forecast, NoForecast
from .models import KINDS as LIMITED
from .models import Projection, SizeLimit, Volume
from .reading import Answer, Ceiling
from .report import Line, report
from .serializers import FillingSerializer, ReportSerializer

ROWS_PER_PAGE = 50

#: Rows of each list of what fills up; its file has all.
ROWS = 200

#: Rows of growth on the page, and in its file.
GROWING, GROWING_IN_FILE = 50, 10_000

#: Days of a chart: known, and ahead.
KNOWN, CHARTED = 180, 90

#: The kinds of `reading.KINDS`.
KINDS = {**dict(LIMITED), "volume": _("volume")}

_INPUT = {"class": "tf-input"}


@needs("planning.view_sizelimit")
def forecasts_page(request: HttpRequest) -> HttpResponse:
    """Show when everything with a limit will reach it, nearest first."""
    found = reading.forecasts(reading.ceilings(request.user))
    page = Paginator(found, ROWS_PER_PAGE).get_page(request.GET.get("page"))
    context = {
        **admin.site.each_context(request),
        "title": _("Forecasts"),
        "computed_at": reading.computed_at(),
        "page": page,
        "rows": [forecast_row(*pair) for pair in page],
        "may_add": request.user.has_perm("planning.add_sizelimit"),
        "may_change": request.user.has_perm("planning.change_sizelimit"),
    }
    return TemplateResponse(request, "planning/forecasts.html", context)


MODELS = {
    "last": _("stays as it is"),
    "mean": _("stays around its median"),
    "straight": _("line since the last change"),
    "line": _("line through the last %s days"),
    "damped": _("line that flattens"),
    "drift": _("average growth over %s days"),
    "exponential": _("growth by a percentage, over %s days"),
    "week": _("pattern of a week"),
    "weekday": _("line and pattern of a week"),
    "month": _("pattern of a month"),
}


def model_label(model: str) -> str:
    """Return the label of a model of `forecast.MODELS`."""
    name = model.rstrip("0123456789")
    label = str(MODELS[name])
    return label % model.removeprefix(name) if "%s" in label else label


class FillingForm(forms.Form):
    days = forms.TypedChoiceField(
        label=_("within"),
        coerce=int,
        choices=[
            (7, _("7 days")),
            (30, _("30 days")),
            (90, _("90 days")),
            (180, _("180 days")),
            (365, _("365 days")),
        ],
        widget=forms.Select(attrs=_INPUT),
    )
    kind = forms.ChoiceField(
        label=_("kind"), required=False, choices=[("", _("all")), *KINDS.items()], widget=forms.Select(attrs=_INPUT)
    )
    tag = forms.ModelChoiceField(
        label=_("tag"), required=False, queryset=Tag.objects.all(), widget=forms.Select(attrs=_INPUT)
    )
    engine = forms.ChoiceField(
        label=_("engine"),
        required=False,
        choices=[("", _("all")), *engine_choices()],
        widget=forms.Select(attrs=_INPUT),
    )


@needs("planning.view_sizelimit")
def filling_page(request: HttpRequest) -> HttpResponse:
    """Show what may be full soon, and what grows without a limit. `csv=full` and `csv=growing` return a file; `of`
    shows one row with its chart."""
    if "of" in request.GET:
        return _detail(request, request.GET["of"])
    form = FillingForm({"days": 90, **request.GET.dict()})
    narrow_choices(form, request.user)
    context: dict[str, Any] = {**admin.site.each_context(request), "title": _("Filling up"), "form": form}
    if form.is_valid():
        selection = {name: form.cleaned_data[name] for name in ("tag", "engine", "kind")}
        found = reading.filling(form.cleaned_data["days"], request.user, **selection)
        growing = None
        if request.user.has_perm("capacity.view_database") and selection["kind"] in ("", *reading.SIZED):
            growing = reading.growing(request.user, **selection)
        if request.GET.get("csv") == "full":
            return _csv("filling-up", FillingSerializer(reading.as_rows(found.rows), many=True).data)
        if request.GET.get("csv") == "growing" and growing is not None:
            rows = reading.as_rows(reading.named(list(growing[:GROWING_IN_FILE])))
            return _csv("growing", FillingSerializer(rows, many=True).data)
        query = request.GET.copy()
        query.pop("csv", None)
        context |= {
            "rows": [forecast_row(*pair) for pair in found.rows[:ROWS]],
            "n_rows": len(found.rows),
            "unknown": [forecast_row(*pair) for pair in found.unknown[:ROWS]],
            "n_unknown": len(found.unknown),
            "growing": None if growing is None else _growing_rows(growing),
            "query": query.urlencode(),
            "computed_at": reading.computed_at(),
            "may_add": request.user.has_perm("planning.add_sizelimit"),
            "may_change": request.user.has_perm("planning.change_sizelimit"),
        }
    return TemplateResponse(request, "planning/filling.html", context)


def _growing_rows(growing: QuerySet[Projection]) -> list[dict[str, Any]]:
    """The first rows as template context."""
    return [forecast_row(*pair) for pair in reading.named(list(growing[:GROWING]))]


def _detail(request: HttpRequest, of: str) -> HttpResponse:
    """Show one of what has a limit, by "kind-id"."""
    found = [ceiling for ceiling in reading.ceilings(request.user) if f"{ceiling.kind}-{ceiling.pk or 0}" == of]
    if not found:
        raise Http404
    (pair,) = reading.forecasts(found)
    context = {
        **admin.site.each_context(request),
        "title": pair[0].name,
        "rows": [forecast_row(*pair)],
        "chart": forecast_chart(*pair),
        "may_change": request.user.has_perm("planning.change_sizelimit"),
    }
    return TemplateResponse(request, "planning/forecast.html", context)


@needs("planning.view_sizelimit", whole_fleet=True)
def report_page(request: HttpRequest) -> HttpResponse:
    """Show what to buy by when, by tag. `csv=1` returns a file."""
    lines = report()
    if request.GET.get("csv"):
        return _csv("planning-report", ReportSerializer(lines, many=True).data)
    context = {
        **admin.site.each_context(request),
        "title": _("Planning report"),
        "computed_at": reading.computed_at(),
        "rows": [_report_row(line) for line in lines],
    }
    return TemplateResponse(request, "planning/report.html", context)


def _report_row(line: Line) -> dict[str, Any]:
    row: dict[str, Any] = {
        "line": line,
        "forecast": line.forecast,
        "limit": bytes_label(line.limit),
        "buy": bytes_label(line.buy),
    }
    row["size"] = size_label(line.forecast)
    if isinstance(line.forecast, NoForecast):
        return row | {"reason": line.forecast.reason}
    return row | {"sizes": _ranges(line.forecast, (90, 180, 365))}


def _csv(name: str, rows: Sequence[Mapping[str, Any]]) -> HttpResponse:
    cells = [flat(row) for row in rows]
    header = list(cells[0]) if cells else []
    return csv_file(f"{name}-{local_day()}", header, [row.values() for row in cells])


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a serializer as cells: a column for each bound of a range."""
    cells = {}
    for name, value in row.items():
        if name.startswith("in_"):
            cells |= {f"{name}_{bound}": value and value[bound] for bound in ("low", "expected", "high")}
        else:
            cells[name] = value
    return cells


def size_label(forecast: Forecast | NoForecast) -> str:
    """The size; of a total "22 MiB of 1 of 13 instances". Empty without one."""
    size = "" if forecast.size is None else bytes_label(forecast.size)
    if not size or not forecast.n_parts:
        return size
    counts = {"size": size, "sized": forecast.n_sized, "parts": forecast.n_parts}
    return gettext("%(size)s of %(sized)d of %(parts)d instances") % counts


def forecast_row(ceiling: Ceiling, forecast: Any) -> dict[str, Any]:
    """Return a forecast as template context."""
    row: dict[str, Any] = {
        "ceiling": ceiling,
        "kind": KINDS.get(ceiling.kind, ceiling.kind),
        "url": _url(ceiling),
        "limit_url": None if ceiling.row is None else _change(ceiling.row),
        "limit_label": bytes_label(ceiling.limit),
        "forecast": forecast,
    }
    row["size"] = size_label(forecast)
    if isinstance(forecast, NoForecast):
        return row | {"reason": forecast.reason}
    return row | {
        "part": None if forecast.limit is None else round(100 * forecast.size / forecast.limit),
        "earliest": forecast.earliest_on,
        "latest": forecast.latest_on,
        "sizes": _ranges(forecast, (30, 90, 365)),
        "grown": [bytes_label(forecast.grown[days], signed=True) for days in (7, 30)],
        "model": model_label(forecast.model),
        "error": None if forecast.error is None else bytes_label(round(forecast.error)),
        "is_near": forecast.earliest is not None and forecast.earliest <= 30,
    }


def _ranges(forecast: Forecast, ahead: Sequence[int]) -> list[dict[str, str]]:
    return [
        {name: bytes_label(getattr(forecast.ahead[days], name)) for name in ("low", "expected", "high")}
        for days in ahead
    ]


def _url(ceiling: Ceiling) -> str:
    """The page that shows the forecast."""
    if ceiling.kind == "instance":
        return reverse("admin:instances_instance_change", args=[ceiling.pk])
    if ceiling.kind == "database":
        return reverse("admin:capacity_database_change", args=[ceiling.pk])
    return f"{reverse('filling-up')}?of={ceiling.kind}-{ceiling.pk or 0}"


def _change(row: SizeLimit | Volume) -> str:
    """The form of the limit."""
    return reverse(f"admin:planning_{row._meta.model_name}_change", args=[row.pk])


def forecast_chart(ceiling: Ceiling, forecast: Forecast | NoForecast) -> Chart | None:
    """Draw the sizes of the last days, and the range of the days ahead."""
    sizes = reading.series([ceiling])[0]
    today = local_day()
    days = [today - timedelta(days=n) for n in range(KNOWN - 1, -1, -1)]
    known: list[int | None] = [None if np.isnan(size) else int(size) for size in sizes[WINDOW - KNOWN :]]
    if isinstance(forecast, NoForecast):
        return bytes_chart([day.isoformat() for day in days], {str(_("size")): known})
    ahead = range(CHARTED + 1)
    last = max((forecast.as_of - days[0]).days, 0)
    labels = [(days[0] + timedelta(days=n)).isoformat() for n in range(last + CHARTED + 1)]
    lines: dict[str, list[int | None]] = {str(_("size")): (known + [None] * len(labels))[: len(labels)]}
    for name, bound in ((_("low (p10)"), "low"), (_("high (p90)"), "high"), (_("expected"), "expected")):
        bounds = [forecast.size, *(getattr(forecast.ahead[days_ahead], bound) for days_ahead in AHEAD)]
        lines[str(name)] = [None] * last + np.interp(ahead, [0, *AHEAD], bounds).astype(int).tolist()
    edge = {"borderColor": BAND, "borderWidth": 1, "pointRadius": 0}
    styles = {
        str(_("low (p10)")): edge,
        str(_("high (p90)")): edge | {"fill": "-1", "backgroundColor": BAND},
        str(_("expected")): {"borderDash": [4, 4], "pointRadius": 0},
    }
    if forecast.limit is not None and forecast.limit <= 2 * forecast.ahead[CHARTED].high:
        lines[str(_("limit"))] = [forecast.limit] * len(labels)
        styles[str(_("limit"))] = {"pointRadius": 0, "borderWidth": 1}
    return bytes_chart(labels, lines, styles)


def forecast_part(request: HttpRequest, instance: Instance) -> Part:
    """The forecast of an instance: how full it is, and the section."""
    ceiling, forecast = pair = reading.one("instance", instance)
    figures = []
    if ceiling.limit is not None:
        row = forecast_row(*pair)
        part = row.get("part")
        detail = row.get("reason") or _reached(forecast)
        full = "–" if part is None else f"{part} %"
        figures = [Figure(_("Full"), full, detail=detail, is_alarm=bool(row.get("is_near")))]
    return Part(_section(request, pair), figures=figures)


def _reached(forecast: Forecast) -> str:
    """When a limit is reached."""
    if forecast.days is None:
        return gettext("not within a year")
    if forecast.days == 0:
        return gettext("it is reached")
    words = ngettext("in %(days)d day, on %(on)s", "in %(days)d days, on %(on)s", forecast.days)
    return words % {"days": forecast.days, "on": forecast.on and forecast.on.isoformat()}


def database_section(request: HttpRequest, database: Database) -> SafeString:
    """Render the forecast section of a database's page."""
    return _section(request, reading.one("database", database))


def _section(request: HttpRequest, pair: Answer) -> SafeString:
    ceiling = pair[0]
    aggregates = reverse(f"admin:aggregation_{ceiling.kind}aggregate_changelist")
    add = f"{reverse('admin:planning_sizelimit_add')}?{ceiling.kind}={ceiling.pk}"
    context = {
        "rows": [forecast_row(*pair)],
        "has_limit": ceiling.limit is not None,
        "chart": forecast_chart(*pair),
        "add": add if request.user.has_perm("planning.add_sizelimit") else None,
        "may_change": request.user.has_perm("planning.change_sizelimit"),
        "aggregates": f"{aggregates}?which=all&{ceiling.kind}__id__exact={ceiling.pk}",
    }
    return SafeString(render_to_string("planning/forecast_section.html", context, request))
