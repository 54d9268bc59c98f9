"""Search the fleet by name: what a user may see of each kind, with the number of all that match."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from accounts.models import Account, AccountQuerySet
from alerts.models import AlertRule
from capacity.models import Database
from classification.models import Classification, ClassificationRule
from console.columns import list_url
from console.permissions import needs
from console.searching import containing, name_key, words
from console.visibility import shown_to
from instances.models import Instance
from sync.models import SyncSession
from tagging.models import Tag

#: Rows of each kind in an answer.
SHOWN = 10

#: So many rows are sorted.
FEW = 1000

#: Characters of a search.
LONGEST = 200

_SESSION = re.compile(r"\s*#?([0-9]{1,18})\s*")


@dataclass(frozen=True)
class Kind:
    """One kind of rows. `fields` are those that its list searches, so that the list with `query` shows the same rows;
    the first is the name, which gives the order. Without fields, rows are found by number.

    `is_many`: there are so many that an index of their names is needed. `marks(row)` says what sets a row apart.
    `tab` is a tab of its page that the answer leads to as well: name, title, and the permission for it.
    """

    name: str
    title: str | Promise
    all: Callable[[], QuerySet[Any]]
    fields: Sequence[str]
    query: tuple[tuple[str, str], ...] = ()
    related: Sequence[str] = ()
    is_many: bool = False
    marks: Callable[[Any], list[str]] = lambda row: []
    tab: tuple[str, str | Promise, str] | None = None

    @property
    def model(self) -> str:
        return self.all().model._meta.label_lower.replace(".", "_")

    @property
    def permission(self) -> str:
        return self.model.replace("_", ".view_", 1)

    def shown_to(self, user: User | None) -> QuerySet[Any]:
        return shown_to(self.all(), user).select_related(*self.related)

    def list_url(self, text: str) -> str:
        return list_url(self.model, q=text, **dict(self.query))


@dataclass(frozen=True)
class Found:
    """The first rows of a kind, and the number of all."""

    kind: Kind
    rows: list[Any]
    count: int

    def as_dict(self) -> dict[str, Any]:
        """The answer of API and command."""
        rows = [
            {
                "id": row.pk,
                "name": label(row),
                "instance": getattr(row, "instance_id", None),
                "instance_name": row.instance.name if hasattr(row, "instance_id") else None,
                "marks": self.kind.marks(row),
            }
            for row in self.rows
        ]
        return {"kind": self.kind.name, "count": self.count, "rows": rows}


def _marks_of_account(account: Account) -> list[str]:
    kinds = {Account.Kind.ROLE: gettext_noop("role"), Account.Kind.PUBLIC: gettext_noop("everyone")}
    superuser = [gettext_noop("superuser")] if account.is_superuser else []
    return [*filter(None, [kinds.get(account.kind)]), *superuser, *_marks_of_hideable(account)]


def _marks_of_hideable(row: Account | Database) -> list[str]:
    marks = {
        gettext_noop("gone"): row.gone_at,
        gettext_noop("filtered"): row.is_filtered,
        gettext_noop("retired"): row.instance.retired_at,
    }
    return [word for word, holds in marks.items() if holds]


def _inactive(row: Tag | ClassificationRule | AlertRule) -> list[str]:
    return [] if row.active else [gettext_noop("inactive")]


_EVERYTHING = (("gone", "all"), ("filtered", "all"))

KINDS = [
    Kind(
        "instances",
        _("Instances"),
        Instance.objects.all,
        ("name", "host", "note"),
        (("state", "all"),),
        marks=lambda row: [gettext_noop("retired")] if row.retired_at else [],
    ),
    Kind(
        "accounts",
        _("Accounts and roles"),
        Account.objects.all,
        Account.SEARCHED,
        _EVERYTHING,
        ["instance"],
        is_many=True,
        marks=_marks_of_account,
        tab=("effective", _("effective rights"), "accounts.view_grant"),
    ),
    Kind(
        "databases",
        _("Databases"),
        Database.objects.all,
        ("name",),
        _EVERYTHING,
        ["instance"],
        is_many=True,
        marks=_marks_of_hideable,
    ),
    Kind("sessions", _("Sessions"), SyncSession.objects.all, (), marks=lambda row: [row.status]),
    Kind("tags", _("Tags"), Tag.objects.all, ("label", "slug"), marks=_inactive),
    Kind("classifications", _("Classifications"), Classification.objects.all, ("name", "code", "note")),
    Kind(
        "classification-rules",
        _("Classification rules"),
        ClassificationRule.objects.present,
        ("name", "code", "expression", "mapping"),
        marks=_inactive,
    ),
    Kind("alert-rules", _("Alert rules"), AlertRule.objects.all, ("name", "note"), marks=_inactive),
]


def search(text: str, user: User | None = None) -> list[Found]:
    """Return what contains each word of `text`, by kind, without empty kinds; blanks in quotes belong to a word.

    Names that begin with the first word come first. "#17" is the session with that number. Takes four queries for
    each kind at most.
    """
    if not words(text):
        return []
    kinds = [kind for kind in KINDS if user is None or user.has_perm(kind.permission)]
    return [found for kind in kinds if (found := _found(kind, text, user)).rows]


def _found(kind: Kind, text: str, user: User | None) -> Found:
    rows = kind.shown_to(user)
    if not kind.fields:
        number = _SESSION.fullmatch(text)
        first = list(rows.filter(pk=number[1])) if number else []
        return Found(kind, first, len(first))
    rows = rows.alias(key=name_key(kind.fields[0]))
    begins = Q(key__startswith=words(text)[0].upper())
    found = rows.containing(text) if isinstance(rows, AccountQuerySet) else rows.filter(containing(text, kind.fields))
    if not kind.is_many:
        first = list(found.alias(begins=begins).order_by("-begins", "key", "pk")[: SHOWN + 1])
        return Found(kind, first[:SHOWN], len(first) if len(first) <= SHOWN else found.count())
    order = ("key", F("gone_at").asc(nulls_first=True), "pk")
    # Sorting very many takes too long: then those that begin with the word, which the index has in order, and some.
    few = list(found.order_by().values_list("pk", flat=True)[: FEW + 1])
    is_all = len(few) <= FEW
    first = [] if is_all or len(words(text)) > 1 else list(rows.filter(begins).order_by(*order)[:SHOWN])
    if few and len(first) < SHOWN:
        others = rows.filter(pk__in=few).exclude(pk__in=[row.pk for row in first]).alias(begins=begins)
        first += others.order_by("-begins", *order)[: SHOWN - len(first)]
    return Found(kind, first, len(few) if is_all else found.count())


def label(row: Any) -> str:
    """The name of a row. A rule of classification is shown by its title, not by its code."""
    return str(getattr(row, "title", "") or row)


class SearchForm(forms.Form):
    q = forms.CharField(label=_("Search"), max_length=LONGEST)


@needs()
def search_page(request: HttpRequest) -> HttpResponse:
    form = SearchForm(request.GET if request.GET.get("q", "").strip() else None)
    context: dict[str, Any] = {**admin.site.each_context(request), "title": _("Search"), "form": form}
    if form.is_valid():
        text = form.cleaned_data["q"]
        context |= {"text": text, "groups": [_group(found, text, request.user) for found in search(text, request.user)]}
    return TemplateResponse(request, "taifish/search.html", context)


def _group(found: Found, text: str, user: User) -> dict[str, Any]:
    tab = found.kind.tab if found.kind.tab and user.has_perm(found.kind.tab[2]) else None
    return {
        "tab": tab,
        "title": found.kind.title,
        "count": found.count,
        "url": found.kind.list_url(text) if found.kind.fields else "",
        "rows": [
            {
                "name": label(row),
                "instance": getattr(row, "instance", None),
                "marks": found.kind.marks(row),
                "url": reverse(f"admin:{found.kind.model}_change", args=[row.pk]),
            }
            for row in found.rows
        ],
    }
