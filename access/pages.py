"""The page "Who can", its answer as CSV, and the tab "Effective" of an account's page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.evidence import granted_by
from accounts.freshness import LastRead
from accounts.models import Account, Grant
from accounts.pages import Tab
from console.csv import csv_file
from console.permissions import needs
from engines.facts import GRANT_KINDS

from .moments import aware, parse_moment
from .questions import Access, Answer, effective, who_can

ROWS_PER_PAGE = 200

#: Instances listed as the basis of the answer.
READS = 200


class QuestionForm(forms.Form):
    privilege = forms.CharField(
        label=_("Who may"), widget=forms.TextInput(attrs={"class": "tf-input", "placeholder": "SELECT", "size": 18})
    )
    scope = forms.CharField(
        label=_("on"),
        required=False,
        widget=forms.TextInput(attrs={"class": "tf-input", "placeholder": "shop.public.orders", "size": 40}),
        help_text=_("Path of the object; empty for the whole instance. Put special names in double quotes."),
    )
    kind = forms.ChoiceField(
        label=_("kind"),
        required=False,
        choices=[("", _("any that fits")), *((kind, kind) for kind in GRANT_KINDS)],
        widget=forms.Select(attrs={"class": "tf-input"}),
    )
    as_of = forms.CharField(
        label=_("as of"),
        required=False,
        widget=forms.TextInput(attrs={"class": "tf-input", "placeholder": "2026-05-03 14:00", "size": 18}),
    )


@needs("accounts.view_grant", "accounts.view_account")
def who_can_page(request: HttpRequest) -> HttpResponse:
    """Show the form, and the answer to its query; `csv=1` returns the whole answer as a file."""
    form = QuestionForm(request.GET if "privilege" in request.GET else None)
    context: dict[str, Any] = {**admin.site.each_context(request), "title": _("Who can"), "form": form}
    if form.is_valid():
        data = form.cleaned_data
        try:
            at = parse_moment(data["as_of"])
            answer = who_can(data["privilege"], data["scope"], kind=data["kind"], at=at, user=request.user)
        except ValueError as error:
            context["wrong"] = str(error)
        else:
            if "csv" in request.GET:
                return _as_csv(answer)
            query = request.GET.copy()
            query.pop("page", None)
            page = Paginator(answer.rows, ROWS_PER_PAGE).get_page(request.GET.get("page"))
            context |= {
                "answer": answer,
                "unknown": answer.unknown.items(),
                "page": page,
                "query": query.urlencode(),
                "reads": list(answer.reads.values())[:READS],
                "n_more_reads": max(0, len(answer.reads) - READS),
            }
    return TemplateResponse(request, "access/who_can.html", context)


def _as_csv(answer: Answer) -> HttpResponse:
    header = [
        "instance",
        "account",
        "through",
        "right",
        "usable",
        "since",
        "session",
        "not observed since",
        "granted by",
        "evidence",
        "not known",
        *READ_COLUMNS,
    ]
    rows: Iterable[list[object]] = [
        *(_cells(row, answer.reads[row.account.instance_id]) for row in answer.rows),
        *(_taken(grant, answer.reads[grant.account.instance_id]) for grant in answer.taken_away),
        *(
            [instance.name, *[""] * 9, reason, *read_cells(answer.reads[instance.pk])]
            for instance, reason in answer.unknown.items()
        ),
    ]
    return csv_file(f"who-can-{timezone.localtime(answer.at):%Y%m%dT%H%M}", header, rows)


def _cells(row: Access, read: LastRead) -> list[object]:
    return [
        row.account.instance.name,
        row.account,
        " → ".join(str(role) for role in row.path),
        row.grant or gettext("by its nature"),
        gettext("at once") if row.at_once else gettext("after switching to a role"),
        row.since and timezone.localtime(row.since).isoformat(timespec="seconds"),
        row.session,
        row.grant and row.grant.unobserved_since and timezone.localtime(row.grant.unobserved_since).isoformat(),
        row.grant and granted_by(row.grant.grantors),
        " | ".join(link.words for link in row.links),
        read.reason,
        *read_cells(read),
    ]


def _taken(grant: Grant, read: LastRead) -> list[object]:
    since = timezone.localtime(grant.held_since).isoformat(timespec="seconds")
    cells = [grant.account.instance.name, grant.account, "", grant, gettext("taken away"), since]
    return [*cells, *[""] * 4, read.reason, *read_cells(read)]


#: Columns with the basis of a CSV row.
READ_COLUMNS = ["last read", "read by session", "read depth"]


def read_cells(read: LastRead) -> list[object]:
    return [
        read.read_at and timezone.localtime(read.read_at).isoformat(timespec="seconds"),
        read.session,
        read.level,
    ]


class EffectiveRows:
    """Grants in effect now, or at the local time `as_of`. For an invalid time those of now, and `wrong` says so."""

    def __init__(self, request: HttpRequest, account: Account) -> None:
        self.as_of = self.wrong = ""
        at = None
        if text := request.GET.get("as_of"):
            try:
                at = parse_datetime(text)
                at = at and aware(at)
                self.effective = effective(account, at)
                self.wrong = "" if at else gettext("“%s” is not a time.") % text
            except ValueError as error:
                at, self.wrong = None, str(error)
                self.effective = effective(account)
        else:
            self.effective = effective(account)
        self.as_of = text if at else ""

    def count(self) -> int:
        return self.effective.grants.count()

    def __getitem__(self, part: slice) -> list[dict[str, Any]]:
        grants = list(self.effective.grants[part])
        links = self.effective.links(grants)
        return [
            {
                "grant": grant,
                "links": links[grant.pk],
                "since": max(link.since for link in links[grant.pk]),
                "path": self.effective.path_of(grant),
                "use": gettext("at once") if self.effective.at_once(grant) else gettext("after switching to a role"),
            }
            for grant in grants
        ]


EFFECTIVE = Tab("effective", _("Effective"), "accounts.view_grant", EffectiveRows, template="access/effective.html")
