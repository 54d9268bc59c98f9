"""Pages of sizes: of a database, of an instance, and the days without a size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Count, F, Q
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from console.charts import Chart, bytes_chart, every_day, size_chart
from console.columns import list_url
from console.permissions import needs
from console.units import bytes_label
from console.visibility import ids_shown_to, narrow_choices
from engines.statements import printable
from instances.admin import Figure, Part
from instances.models import Instance
from tagging.models import Tag
from work.days import local_day

from .gaps import MissingDays
from .growth import GrowthOfTables, table_growth
from .models import Database, DatabaseSize, InstanceSize, Tablespace, TablespaceQuerySet

#: What apps above add to the page of a database: permission, and a function of request and database that renders it.
SECTIONS: list[tuple[str, Callable[[HttpRequest, Database], SafeString]]] = []

#: Days that a chart can show; the first is the default.
PERIODS = (90, 30, 365, 800)
ROWS_PER_PAGE = 200
LARGEST = 10
#: Databases of an instance that its chart shows apart.
STACKED = 6
#: What a visit did, by the name of its number in the summary.
DID = {
    "appeared": _("%d appeared"),
    "reappeared": _("%d appeared again"),
    "disappeared": _("%d disappeared"),
    "renamed": _("%d renamed"),
    "recreated": _("%d dropped and created anew"),
}


def period(request: HttpRequest) -> int:
    days = request.GET.get("days", "")
    return int(days) if days.isdecimal() and int(days) in PERIODS else PERIODS[0]


def _days(count: int) -> list[date]:
    today = local_day()
    return every_day(today - timedelta(days=count - 1), today)


def database_page(request: HttpRequest, database: Database) -> dict[str, Any]:
    """Context of a database's page: facts, and the chart of its sizes."""
    days = _days(period(request))
    rows = list(database.sizes.since(len(days)).values_list("day", "size", "data_size", "index_size", "log_size"))
    parts = {_("size"): 1, _("data"): 2, _("indexes"): 3, _("log"): 4}
    series = {name: {row[0]: row[number] for row in rows if row[number] is not None} for name, number in parts.items()}
    facts = [
        (_("Size"), bytes_label(database.size)),
        (_("Measured on"), database.size_day),
        (_("Growth in 30 days"), database.growth_label),
        (_("Maintained by the engine"), database.is_system),
        (_("Filtered"), database.is_filtered),
        (_("Native id"), database.native_id),
        (_("First seen"), database.first_seen_at),
        (_("Last seen"), database.last_seen_at),
        (_("Gone"), database.gone_at),
    ]
    elsewhere = database.elsewhere or {}
    return {
        "facts": [(label, value) for label, value in facts if value not in (None, "")],
        "same_name": database.instance.databases.named(database.name).exclude(pk=database.pk)[:LARGEST],
        "counted_in": [(part, count) for part, count in elsewhere.items() if part],
        "unmeasured": elsewhere.get("", 0),
        "tablespaces": _tablespaces(Tablespace.objects.filter(database=database)),
        "growth": _growth_table(table_growth(database)) if request.user.has_perm("capacity.view_tablesize") else None,
        "chart": size_chart(days, {name: sizes for name, sizes in series.items() if sizes}),
        "days": len(days),
        "periods": sorted(PERIODS),
        "sections": [section(request, database) for needed, section in SECTIONS if request.user.has_perm(needed)],
    }


def _tablespaces(tablespaces: TablespaceQuerySet) -> list[Tablespace]:
    return list(tablespaces.present().order_by(F("size").desc(nulls_last=True), "name")[:LARGEST])


def _growth_table(growth: GrowthOfTables) -> dict[str, Any] | None:
    """Context of the section on tables; None if none were read."""
    if growth.day is None:
        return None
    notes = {
        "new": _("new"),
        "gone": _("dropped"),
        "not_before": _("not among the largest tables then"),
        "not_now": _("no longer among the largest tables: size unknown"),
    }
    rows = [(table, notes.get(table.state, "")) for table in growth.tables]
    return {"earlier_day": growth.earlier_day, "day": growth.day, "rows": rows}


def databases_of(instance: Instance, **query: str) -> str:
    return list_url("capacity_database", instance__id__exact=instance.pk, **query)


def visit_in_words(summary: Mapping[str, Any]) -> str:
    """What a capacity visit found: "99.8 MiB in 10 databases: 1 appeared"."""
    n = {name: number for name, number in summary.items() if isinstance(number, int)}
    databases = ngettext("%d database", "%d databases", n.get("measured", 0)) % n.get("measured", 0)
    text = gettext("%(size)s in %(databases)s") % {"size": bytes_label(n.get("bytes")), "databases": databases}
    if n.get("appeared") and n["appeared"] == n.get("databases"):
        return gettext("first visit: %s") % text
    did = ", ".join(words % n[name] for name, words in DID.items() if n.get(name))
    incomplete = gettext("some sizes could not be read") if summary.get("complete") else ""
    return "; ".join(filter(None, [f"{text}: {did}" if did else text, incomplete]))


def sizes_part(request: HttpRequest, instance: Instance) -> Part:
    """The capacity of an instance: figures, the chart of its total, its largest databases."""
    rows = list(instance.sizes.since(PERIODS[0]))
    latest = rows[0] if rows else InstanceSize.objects.filter(instance=instance).first()
    counts = Database.objects.present().filter(instance=instance)
    counts = counts.aggregate(
        shown=Count("pk", filter=Q(is_filtered=False)), filtered=Count("pk", filter=Q(is_filtered=True))
    )
    gaps = MissingDays(instances=[instance.pk])
    largest = list(
        Database.objects.present()
        .visible()
        .with_growth()
        .filter(instance=instance)
        .order_by(F("size").desc(nulls_last=True), "name")[:LARGEST]
    )
    context = {
        "latest": latest,
        "figures": [
            (_("of which shared"), bytes_label(latest.shared_size if latest else None), ""),
            (_("Databases"), counts["shown"], databases_of(instance)),
            (_("Filtered"), counts["filtered"], databases_of(instance, filtered="yes")),
            (_("Gaps in 30 days"), len(gaps), f"{reverse('capacity-gaps')}?instance={instance.pk}"),
        ],
        "chart": _stacked_chart(_days(PERIODS[0]), {row.day: row.size for row in rows}, largest[:STACKED]),
        "largest": largest,
        "tablespaces": _tablespaces(Tablespace.objects.filter(instance=instance, database=None)),
        "all_of_them": databases_of(instance, o="-3"),
        "today": local_day(),
    }
    as_of = latest.day.isoformat() if latest else ""
    if latest and not latest.is_complete:
        as_of = gettext("%s, incomplete") % as_of
    size = Figure(_("Size"), bytes_label(latest.size if latest else None), databases_of(instance, o="-3"), as_of)
    section = render_to_string("capacity/sizes_of_instance.html", context, request)
    return Part(SafeString(section), figures=[size])


def _stacked_chart(days: list[date], totals: Mapping[date, int], largest: list[Database]) -> Chart | None:
    """The largest databases one above the other, and above them the rest: the edge is the size of the instance."""
    sizes: dict[int, dict[date, int]] = {database.pk: {} for database in largest}
    known = DatabaseSize.objects.filter(database__in=sizes).since(len(days))
    for pk, day, size in known.values_list("database", "day", "size"):
        sizes[pk][day] = size
    rest = gettext("other databases and shared parts") if largest else gettext("size")
    series: dict[str, list[int | None]] = {}
    styles = {}
    for database in largest:
        name = printable(database.name)
        # Hidden characters are escaped, so that two names may look the same.
        name = f"{name} ({database.pk})" if name in (*series, rest) else name
        series[name] = [sizes[database.pk].get(day) for day in days]
        styles[name] = {"link": reverse("admin:capacity_database_change", args=[database.pk])}
    series[rest] = [
        totals[day] - sum(of_one.get(day, 0) for of_one in sizes.values()) if day in totals else None for day in days
    ]
    return bytes_chart([day.isoformat() for day in days], series, styles, stacked=True)


class GapForm(forms.Form):
    days = forms.TypedChoiceField(
        label=_("in the last"),
        coerce=int,
        empty_value=30,
        required=False,
        choices=[(30, _("30 days")), (7, _("7 days")), (1, _("day")), (90, _("90 days")), (365, _("365 days"))],
        widget=forms.Select(attrs={"class": "tf-input"}),
    )
    kind = forms.ChoiceField(
        label=_("kind"),
        required=False,
        choices=[("", _("missing and incomplete")), ("missing", _("missing")), ("incomplete", _("incomplete"))],
        widget=forms.Select(attrs={"class": "tf-input"}),
    )
    tag = forms.ModelChoiceField(
        label=_("tag"),
        required=False,
        queryset=Tag.objects.all(),
        widget=forms.Select(attrs={"class": "tf-input"}),
    )
    instance = forms.ModelChoiceField(
        label=_("instance"), required=False, queryset=Instance.objects.all(), widget=forms.HiddenInput()
    )


@needs("capacity.view_instancesize")
def gaps_page(request: HttpRequest) -> HttpResponse:
    """List the days without a size, or with an incomplete one, newest first."""
    form = GapForm(request.GET or None)
    narrow_choices(form, request.user)
    data = form.cleaned_data if form.is_valid() else {"days": 30, "kind": "", "tag": None, "instance": None}
    if data["instance"]:
        chosen = [data["instance"].pk]
    else:
        chosen = ids_shown_to(request.user, data["tag"].instances.all() if data["tag"] else None)
    since = local_day() - timedelta(days=data["days"] or 30)
    gaps = MissingDays(since, None, chosen, data["kind"])
    query = request.GET.copy()
    query.pop("page", None)
    context = {
        **admin.site.each_context(request),
        "title": _("Days without a size"),
        "form": form,
        "only": data["instance"],
        "page": Paginator(gaps, ROWS_PER_PAGE).get_page(request.GET.get("page")),
        "query": query.urlencode(),
    }
    return TemplateResponse(request, "capacity/gaps.html", context)
