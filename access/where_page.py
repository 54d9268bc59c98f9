"""The page "Where is": instances on which an account exists, now or at a moment, and SQL to lock and revoke it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.filters import BY_NAME
from accounts.freshness import LastRead, last_reads, unknown_instances
from accounts.models import Account
from console.csv import csv_file
from console.permissions import needs
from console.visibility import shown_to
from console.wildcards import regex
from engines import revocation as remedies
from instances.models import Instance

from .exports import READ_COLUMNS, read_cells
from .moments import parse_moment
from .revoking import subject_of, take_away

ROWS_PER_PAGE = 50


class WhereForm(forms.Form):
    name = forms.CharField(
        label=_("Where does"),
        widget=forms.TextInput(attrs={"class": "tf-input", "placeholder": "alice*", "size": 24}),
        help_text=_("* matches any characters, ? one; case-insensitive."),
    )
    as_of = forms.CharField(
        label=_("exist as of"),
        required=False,
        widget=forms.TextInput(attrs={"class": "tf-input", "placeholder": "2026-05-03 14:00", "size": 18}),
    )


def where(pattern: str, at: datetime | None = None, user: User | None = None) -> QuerySet[Account]:
    """Return the accounts with a matching name, on active instances that the user may see, that exist now or existed at
    the moment. An account that disappeared and came back counts as present since it was first seen. Without a moment,
    accounts that are gone follow the present one that has their name."""
    found = Account.objects.filter(instance__retired_at=None, name__iregex=f"^{regex(pattern)}$")
    if at is None:
        same = {name: OuterRef(name) for name in ("instance", "name", "host")}
        found = found.filter(Q(gone_at=None) | Exists(Account.objects.present().filter(**same)))
    else:
        found = found.at(at)
    return shown_to(found, user).select_related("instance").order_by(*BY_NAME)


@needs("accounts.view_account")
def where_page(request: HttpRequest) -> HttpResponse:
    """Show the form and the answer; `csv=1` returns the whole answer as a file."""
    form = WhereForm(request.GET if "name" in request.GET else None)
    context: dict[str, Any] = {**admin.site.each_context(request), "title": _("Where is"), "form": form}
    if form.is_valid():
        try:
            at = parse_moment(form.cleaned_data["as_of"])
        except ValueError as error:
            context["wrong"] = str(error)
        else:
            accounts = where(form.cleaned_data["name"], at, request.user).with_counts().with_last_seen()
            instances = shown_to(Instance.objects.all(), request.user)
            if "csv" in request.GET:
                return _as_csv(accounts, last_reads(instances, at), at)
            query = request.GET.copy()
            query.pop("page", None)
            page = Paginator(accounts, ROWS_PER_PAGE).get_page(request.GET.get("page"))
            offered = take_away(list(page)) if request.user.has_perm("accounts.view_grant") else {}
            context |= {
                "page": page,
                "rows": [(account, offered.get(account.pk)) for account in page],
                "unknown": list(unknown_instances(instances, at).items()),
                "at": at or timezone.now(),
                "query": query.urlencode(),
            }
    return TemplateResponse(request, "access/where.html", context)


def _locking(account: Account) -> str:
    """Return the text of one cell: the statements, or why there are none."""
    if account.gone_at:
        return ""
    locking = remedies.lock(subject_of(account))
    return "\n".join([*locking.statements, *locking.by_hand])


def _as_csv(accounts: QuerySet[Account], reads: list[LastRead], at: datetime | None) -> HttpResponse:
    name = f"where-is-{timezone.localtime(at or timezone.now()):%Y%m%dT%H%M}"
    return csv_file(name, *as_rows(accounts, reads))


def as_rows(accounts: QuerySet[Account], reads: list[LastRead]) -> tuple[list[str], Iterator[list[object]]]:
    """Return the header, and each account with the basis of its row, then the unknown instances without a match. Takes
    `with_counts()` and `with_last_seen()`."""
    header = ["instance", "engine", "account", "kind", "superuser", "can log in", "locked", "grants now", "roles now"]
    header += ["first seen", "last seen", "gone", "not known", *READ_COLUMNS, "SQL that locks it"]
    read_of = {read.instance.pk: read for read in reads}
    found = set(accounts.order_by().values_list("instance", flat=True).distinct())
    rows = (
        [
            account.instance.name,
            account.instance.engine,
            account,
            *(
                "unknown" if account.is_unread(field) else getattr(account, field)
                for field in ("kind", "is_superuser", "can_login", "is_locked")
            ),
            account.n_grants,
            account.n_roles,
            *(
                moment and timezone.localtime(moment).isoformat(timespec="seconds")
                for moment in (account.first_seen_at, account.last_seen_at, account.gone_at)
            ),
            read_of[account.instance_id].reason,
            *read_cells(read_of[account.instance_id]),
            _locking(account),
        ]
        for account in accounts.iterator(2000)
    )
    unknown = (
        [read.instance.name, read.instance.engine, *[""] * 10, read.reason, *read_cells(read), ""]
        for read in reads
        if read.is_stale and read.instance.pk not in found
    )
    return header, chain(rows, unknown)
