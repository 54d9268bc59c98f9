"""The pages of end dates and of people who leave."""

from __future__ import annotations

from itertools import chain
from typing import Any

from django import forms
from django.contrib import admin
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console.csv import csv_file
from console.permissions import needs
from console.visibility import shown_to
from work.days import local_day

from .end_dates import SOON, STATES, Dated, dated
from .leavers import leavers
from .models import EndDate
from .serializers import DatedSerializer, LeaverSerializer, as_rows

ROWS_PER_PAGE = 100
_INPUT = {"class": "tf-input"}


class EndDatesForm(forms.Form):
    state = forms.ChoiceField(
        label=_("State"),
        required=False,
        choices=[("", _("any")), *STATES.items()],
        widget=forms.Select(attrs=_INPUT),
    )
    days = forms.IntegerField(
        label=_("Due soon within days"),
        required=False,
        min_value=0,
        max_value=3650,
        widget=forms.NumberInput(attrs=_INPUT),
    )


@needs("owners.view_enddate")
def end_dates_page(request: HttpRequest) -> HttpResponseBase:
    """All end dates with their state; `csv=1` returns the rows as a file."""
    form = EndDatesForm(request.GET)
    asked: dict[str, Any] = form.cleaned_data if form.is_valid() else {}
    days = asked.get("days")
    found = dated(shown_to(EndDate.objects.all(), request.user), SOON if days is None else days)
    rows = [one for one in found if asked.get("state") in (None, "", one.state)]
    if "csv" in request.GET:
        return _as_csv(rows)
    context = {
        **admin.site.each_context(request),
        "title": gettext("End dates"),
        "form": form,
        "counts": [(name, label, sum(one.state == name for one in found)) for name, label in STATES.items()],
        "page": Paginator(rows, ROWS_PER_PAGE).get_page(request.GET.get("page")),
        "carried": asked.get("state", ""),
        "add_url": reverse("admin:owners_enddate_add") if request.user.has_perm("owners.add_enddate") else "",
        "may_open": request.user.has_perm("accounts.view_account"),
    }
    return TemplateResponse(request, "owners/end_dates.html", context)


def _as_csv(rows: list[Dated]) -> HttpResponseBase:
    header = list(DatedSerializer().fields)
    return csv_file(f"end-dates-{local_day()}", header, (list(row.values()) for row in as_rows(rows)))


class LeaversForm(forms.Form):
    people = forms.CharField(
        label=_("People"),
        max_length=20_000,
        widget=forms.Textarea(attrs=_INPUT | {"rows": 3}),
        help_text=_("External ids, mails or names of accounts, one a line."),
    )


@needs("accounts.view_account", "accounts.view_grant", "owners.view_person", "owners.view_ownership")
def leavers_page(request: HttpRequest) -> HttpResponseBase:
    """Everything that people who leave have; `csv=1` returns it as a file."""
    form = LeaversForm(request.GET if "people" in request.GET else None)
    context: dict[str, Any] = {**admin.site.each_context(request), "title": gettext("Leavers"), "form": form}
    if form.is_valid():
        try:
            found = leavers(form.cleaned_data["people"].splitlines(), request.user)
        except ValueError as error:
            context["wrong"] = str(error)
        else:
            if "csv" in request.GET:
                rows = LeaverSerializer(found.rows, many=True).data
                header = list(LeaverSerializer().fields)
                lines = ([_cell(value) for value in row.values()] for row in rows)
                notes = (["", "", read.instance.name, "", "", "", "unknown", read.reason] for read in found.unknown)
                return csv_file(f"leavers-{local_day()}", header, chain(lines, notes))
            context |= {
                "found": found,
                "unknown": [(read.instance, read.reason) for read in found.unknown],
                "query": urlencode({"people": form.cleaned_data["people"]}),
            }
    return TemplateResponse(request, "owners/leavers.html", context)


def _cell(value: Any) -> Any:
    return "\n".join(value) if isinstance(value, list) else value
