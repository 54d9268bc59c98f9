"""The page "Rights matrix": what the accounts of instances may do with objects, as a table and as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import Account
from console.csv import csv_file
from console.permissions import needs

from . import wording
from .asking import chosen
from .exports import READ_COLUMNS, read_cells
from .forms import INPUT, AskForm, instance_names, refuse_unknown
from .matrix import Matrix, Object, Right, matrix
from .moments import parse_moment
from .where_page import where

#: Accounts and objects on a page.
SIZE = (16, 50)

#: Parameters of the question, in page and API.
WORDS = ("on", "instance", "tag", "account", "as_of")

_OF_PAGE = ("csv", "accounts_page", "objects_page")

#: Privilege → its letter: that of psql, where it has one.
LETTERS = {
    "SELECT": "r", "READ": "r", "INSERT": "a", "UPDATE": "w", "DELETE": "d", "TRUNCATE": "D", "REFERENCES": "x",
    "TRIGGER": "t", "MAINTAIN": "m", "EXECUTE": "X", "USAGE": "U", "CREATE": "C", "CONNECT": "c", "TEMPORARY": "T",
    "SET": "s", "ALTER SYSTEM": "A", "OWNER": "O", "SUPERUSER": "S", "SYSDBA": "S",
}  # fmt: skip

#: How a right can be used → its words.
USABLE: dict[str, Promise] = {
    "login": wording.USABLE["login"],
    "switch": wording.USABLE["switch"],
    "columns": _("on some columns only"),
    "blocked": wording.USABLE["blocked"],
}


class MatrixForm(AskForm):
    on = forms.CharField(
        label=_("Rights on the objects in"),
        required=False,
        widget=forms.TextInput(INPUT | {"placeholder": "shop.public", "size": 28, "autocomplete": "off"}),
        help_text=_("Path of a database or schema, or a pattern of paths with * and ?; empty for all objects."),
    )
    instance = forms.CharField(
        label=_("instance"),
        required=False,
        widget=forms.TextInput(INPUT | {"size": 16, "list": "instances"}),
        help_text=_("Name of an instance. Choose an instance or a tag."),
    )
    tag = forms.CharField(label=_("tag"), required=False, widget=forms.Select(INPUT))
    account = forms.CharField(
        label=_("account"),
        required=False,
        widget=forms.TextInput(INPUT | {"placeholder": _("all"), "size": 14}),
        help_text=_("* matches any characters, ? one; case-insensitive."),
    )
    as_of = forms.CharField(
        label=_("as of"),
        required=False,
        widget=forms.TextInput(INPUT | {"placeholder": "2026-05-03 14:00", "size": 18}),
    )


class Mark(NamedTuple):
    """Letters of the rights of a cell that can be used in the same way. Words are those of `title`."""

    usable: str
    letters: str


class Box(NamedTuple):
    """One cell of the table."""

    marks: list[Mark]
    title: str


def ask(on: str, instance: list[str], tag: str, account: str, as_of: Any, user: User | None) -> Matrix:
    """Return the matrix that page and API ask for. Raises ValueError, which says what to change."""
    instances = chosen(instance, tag.strip(), "", user)
    if instances is None:
        raise ValueError(gettext("Choose an instance or a tag."))
    accounts = None
    if account.strip():
        named = where(account.strip(), as_of, user).filter(instance__in=instances)
        accounts = list(named.order_by().values_list("pk", flat=True))
        if not accounts:
            raise ValueError(gettext("No account on these instances has the name “%s”.") % account.strip())
    return matrix(on, instances=instances, accounts=accounts, at=as_of, user=user)


@needs("accounts.view_grant", "accounts.view_account")
def matrix_page(request: HttpRequest) -> HttpResponseBase:
    """Show the form, and a page of the matrix; `csv=1` returns all of it as a file."""
    is_asked = any(request.GET.get(name) for name in WORDS)
    form = MatrixForm(request.GET if is_asked else None, request.user)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": _("Rights matrix"),
        "form": form,
        "instances": instance_names(request.user),
        "legend": legend(),
        "usable": USABLE,
    }
    status = 200
    try:
        found = _asked(request, form)
        if found is not None and "csv" in request.GET:
            return as_csv(found)
        if found is not None:
            context |= _shown(request, found)
    except ValueError as error:
        context["wrong"] = str(error)
        # A program that asks for a file must not take a page for it.
        status = 400 if "csv" in request.GET else 200
    return TemplateResponse(request, "access/matrix.html", context, status=status)


def _asked(request: HttpRequest, form: MatrixForm) -> Matrix | None:
    refuse_unknown(request.GET, (*WORDS, *_OF_PAGE))
    if not form.is_bound:
        if "csv" in request.GET:
            raise ValueError(gettext("Choose an instance or a tag."))
        return None
    data = form.checked()
    return ask(
        data["on"],
        request.GET.getlist("instance"),
        data["tag"],
        data["account"],
        parse_moment(data["as_of"]),
        request.user,
    )


def _shown(request: HttpRequest, found: Matrix) -> dict[str, Any]:
    numbers = [_number(request.GET.get(name, "1")) for name in ("accounts_page", "objects_page")]
    axes = found.axes(((numbers[0] - 1) * SIZE[0], (numbers[1] - 1) * SIZE[1]), SIZE)
    accounts = Account.objects.select_related("instance").in_bulk(axes.accounts)
    boxes = {(cell.object, cell.account.pk): box(cell.rights) for cell in found.of(axes.accounts).cells(axes.objects)}
    query = request.GET.copy()
    for name in _OF_PAGE:
        query.pop(name, None)
    return {
        "found": found,
        "unknown": found.unknown.items(),
        "accounts": [accounts[pk] for pk in axes.accounts],
        "several": len({one.instance_id for one in accounts.values()}) > 1 or len(found.reads) > 1,
        "rows": [(one, [boxes.get((one, pk)) for pk in axes.accounts]) for one in axes.objects],
        "turns": [
            _turn(_("accounts"), "accounts_page", "objects_page", numbers, 0, axes.n_accounts),
            _turn(_("objects"), "objects_page", "accounts_page", numbers, 1, axes.n_objects),
        ],
        "query": query.urlencode(),
    }


def _number(text: str) -> int:
    return min(int(text), 10**6) if text.isdecimal() and int(text) else 1


def _turn(label: Promise, name: str, other: str, numbers: list[int], axis: int, total: int) -> dict[str, Any]:
    """Return the links to the pages before and after, of accounts or of objects."""
    size = SIZE[axis]
    last = max(1, -(-total // size))
    number = min(numbers[axis], last)
    return {
        "label": label,
        "first": min(total, (number - 1) * size + 1),
        "last": min(total, number * size),
        "total": total,
        "before": f"{name}={number - 1}&{other}={numbers[1 - axis]}" if number > 1 else "",
        "after": f"{name}={number + 1}&{other}={numbers[1 - axis]}" if number < last else "",
    }


def box(rights: tuple[Right, ...]) -> Box:
    """Return the letters of a cell by how they can be used, "+n" for privileges without a letter, and all in words."""
    marks = []
    for usable in USABLE:
        of_use = [right for right in rights if right.usable == usable]
        letters = "".join(dict.fromkeys(LETTERS[one.privilege] for one in of_use if one.privilege in LETTERS))
        if n := sum(one.privilege not in LETTERS for one in of_use):
            letters += f"+{n}"
        if letters:
            marks.append(Mark(usable, letters))
    return Box(marks, "; ".join(words(right) for right in rights))


def words(right: Right) -> str:
    """Return a right in words: "SELECT: at login, may pass it on"."""
    text = f"{right.privilege}: {USABLE[right.usable]}"
    if right.columns and right.usable != "columns":
        text += f", {USABLE['columns']}"
    return gettext("%s, may pass it on") % text if right.grantable else text


def legend() -> list[tuple[str, str]]:
    """Return (letter, privileges)."""
    found: dict[str, list[str]] = {}
    for privilege, letter in LETTERS.items():
        found.setdefault(letter, []).append(privilege)
    return [(letter, ", ".join(privileges)) for letter, privileges in found.items()]


def as_csv(found: Matrix) -> HttpResponse:
    """Return one row for each cell and privilege, then one for each instance without; each with its basis."""
    header = ["instance", "account", "object", "kind", "all objects", "privilege", "usable", "some columns only"]
    header += ["may pass it on", "not known", *READ_COLUMNS]
    name = f"rights-{timezone.localtime(found.at):%Y%m%dT%H%M}"
    return csv_file(name, header, _lines(found))


def _lines(found: Matrix) -> Iterator[list[object]]:
    basis = {pk: [found.unknown.get(read.instance, ""), *read_cells(read)] for pk, read in found.reads.items()}
    named: set[int] = set()
    for account, object, rights in found.cells():
        named.add(account.instance_id)
        for right in rights:
            yield [
                account.instance.name,
                account,
                *_object_cells(object),
                right.privilege,
                USABLE[right.usable],
                "yes" if right.columns else "",
                "yes" if right.grantable else "",
                *basis[account.instance_id],
            ]
    for pk, read in found.reads.items():
        if pk not in named:
            yield [read.instance.name, *[""] * 8, *basis[pk]]


def _object_cells(object: Object) -> list[str]:
    return [object.path, object.kind, "yes" if object.every else ""]
