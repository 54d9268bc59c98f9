"""The page "Compare": rights that two sides, or the instances with a tag, do not have alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console.csv import csv_file
from console.permissions import needs

from .compare import Asked, Comparison, Difference, compare, counts
from .exports import READ_COLUMNS, read_cells
from .forms import INPUT, AskForm, instance_names, refuse_unknown
from .matrix import Right
from .matrix_page import USABLE
from .moments import parse_moment

ROWS_PER_PAGE = 100

#: Parameters of the question, in page, API and command.
WORDS = ("instance", "account", "as_of", "other_instance", "other_account", "other_as_of", "tag")

_OF_PAGE = ("csv", "page")


def _text(label: Any, **attributes: Any) -> forms.CharField:
    return forms.CharField(label=label, required=False, widget=forms.TextInput(INPUT | {"size": 16} | attributes))


class CompareForm(AskForm):
    instance = _text(_("Instance"), list="instances")
    account = _text(_("account"), placeholder=_("all"))
    as_of = _text(_("as of"), placeholder=_("now"))
    other_instance = _text(_("with instance"), list="instances", placeholder=_("the same"))
    other_account = _text(_("account"), placeholder=_("the same"))
    other_as_of = _text(_("as of"), placeholder=_("the same"))
    tag = forms.CharField(label=_("or on all instances with the tag"), required=False, widget=forms.Select(INPUT))


@needs("accounts.view_grant", "accounts.view_account")
def compare_page(request: HttpRequest) -> HttpResponseBase:
    """Show the form, and what differs; `csv=1` returns all of it as a file."""
    is_asked = bool(request.GET.keys() & {*WORDS})
    form = CompareForm(request.GET if is_asked else None, request.user)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": _("Compare"),
        "form": form,
        "instances": instance_names(request.user),
    }
    status = 200
    try:
        refuse_unknown(request.GET, (*WORDS, *_OF_PAGE))
        if is_asked:
            found = _compared(form, request.user)
            if "csv" in request.GET:
                return _as_csv(found)
            context |= _shown(request, found)
        elif "csv" in request.GET:
            raise ValueError(gettext("Choose an instance or a tag."))
    except ValueError as error:
        context["wrong"] = str(error)
        # A program that asks for a file must not take a page for it.
        status = 400 if "csv" in request.GET else 200
    return TemplateResponse(request, "access/compare.html", context, status=status)


def _compared(form: CompareForm, user: User) -> Comparison:
    words = {name: text.strip() for name, text in form.checked().items()}
    at, other_at = (parse_moment(words.pop(name)) for name in ("as_of", "other_as_of"))
    return compare(Asked(**words, at=at, other_at=other_at, user=user))


def _shown(request: HttpRequest, found: Comparison) -> dict[str, Any]:
    query = request.GET.copy()
    query.pop("page", None)
    differences = list(found.differences())
    page = Paginator(differences, ROWS_PER_PAGE).get_page(request.GET.get("page"))
    return {
        "found": found,
        "unknown": list({found.reads[name].instance: reason for name, reason in found.unknown.items()}.items()),
        "counts": counts(differences),
        "page": page,
        "rows": [(one, sides(one), without(one, found)) for one in page],
        "query": query.urlencode(),
    }


def sides(difference: Difference) -> str:
    """Return the sides with the right, and how each can use it: "one: at login; two, three: blocked"."""
    by_words: dict[str, list[str]] = {}
    for name, right in difference.sides.items():
        by_words.setdefault(usable(right), []).append(name)
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in by_words.items())


def without(difference: Difference, found: Comparison) -> str:
    """Return the sides without the right. Those without a complete answer may have it."""
    names = difference.without
    return ", ".join(f"{name} ({gettext('unknown')})" if name in found.unknown else name for name in names)


def usable(right: Right) -> str:
    """Return how the right can be used: "at login, may pass it on"."""
    text = str(USABLE[right.usable])
    if right.columns and right.usable != "columns":
        text += f", {USABLE['columns']}"
    return gettext("%s, may pass it on") % text if right.grantable else text


def _as_csv(found: Comparison) -> HttpResponse:
    return csv_file(f"compare-{timezone.localtime():%Y%m%dT%H%M}", *as_rows(found))


def as_rows(found: Comparison) -> tuple[list[str], Iterator[list[object]]]:
    """Return the header, and one row for each side of each difference, then one for each side without; each with its
    basis."""
    header = ["account", "object", "kind", "all objects", "privilege", "side", "has it", "usable", "may pass it on"]
    return [*header, "not known", *READ_COLUMNS], _lines(found)


def _lines(found: Comparison) -> Iterator[list[object]]:
    basis = {name: [found.unknown.get(name, ""), *read_cells(read)] for name, read in found.reads.items()}
    for one in found.differences():
        what = [one.account, one.object.path, one.object.kind, "yes" if one.object.every else "", one.what]
        for name, right in one.sides.items():
            yield [*what, name, "yes", USABLE[right.usable], "yes" if right.grantable else "", *basis[name]]
        for name in one.without:
            yield [*what, name, "unknown" if name in found.unknown else "no", "", "", *basis[name]]
    for name in [*found.absent, *(name for name in found.unknown if name not in found.absent)]:
        yield [*[""] * 5, name, "", "", "", *basis[name]]
