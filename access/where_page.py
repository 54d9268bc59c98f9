"""The page "Where is": instances on which an account exists, now or at a moment, and SQL to lock and revoke it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from hashlib import md5
from itertools import chain
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db.models import Exists, OuterRef, Q, QuerySet, Window
from django.db.models.functions import MD5, RowNumber
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.filters import BY_NAME
from accounts.freshness import LastRead, last_reads, unknown_instances
from accounts.models import Account, Grant, Membership
from console.csv import csv_file
from console.permissions import needs
from console.visibility import shown_to
from console.wildcards import regex
from engines import revocation as remedies
from engines.paths import segments
from engines.statements import Held, Subject
from instances.models import Instance

from .exports import READ_COLUMNS, read_cells
from .moments import parse_moment

ROWS_PER_PAGE = 50

#: Grants of an account with revoke statements.
GRANTS = 20


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


def take_away(accounts: list[Account]) -> dict[int, dict[str, Any]]:
    """Return account id → `statements` that lock it and revoke its current roles and direct grants, what remains
    `by_hand`, and `is_cut` if it has more grants. Takes three queries."""
    ids = [account.pk for account in accounts]
    roles: dict[int, list[tuple[str, str]]] = defaultdict(list)
    memberships = Membership.objects.filter(member__in=ids, until=None).order_by("role__name")
    for member, name, host in memberships.values_list("member_id", "role__name", "role__host"):
        roles[member].append((name, host))
    number = Window(RowNumber(), partition_by="account_id", order_by=["kind", "scope", "privilege", "id"])
    grants: dict[int, list[Held]] = defaultdict(list)
    rows = Grant.objects.filter(account__in=ids, until=None).annotate(number=number).filter(number__lte=GRANTS + 1)
    rows = rows.order_by("account_id", "number").select_related("account")
    owners = _owners(rows)
    for row in rows:
        owner = owners.get((row.account.instance_id, *_owned(row)))
        grantors = tuple(name for name in row.grantors or () if name != owner)
        held = Held(row.kind, row.privilege, row.scope, row.database, row.denied, row.grantable, grantors)
        grants[row.account_id].append(held)
    return {
        account.pk: {
            **remedies.take_away(_subject(account), grants[account.pk][:GRANTS], roles[account.pk])._asdict(),
            "is_cut": len(grants[account.pk]) > GRANTS,
        }
        # SQL names accounts: for one that is gone, it would hit another that has the name now.
        for account in accounts
        if account.gone_at is None
    }


def _owned(grant: Grant) -> tuple[str, str]:
    """Return kind and scope of the object with the owner: of a column, its table."""
    if grant.kind == "column":
        return "table", ".".join(segments(grant.scope)[:-1])
    return grant.kind, grant.scope


def _owners(grants: Iterable[Grant]) -> dict[tuple[int, str, str], str]:
    """Return (instance id, kind, scope) → the name of the owner, for the objects of these grants."""
    objects = {_owned(grant) for grant in grants}
    rows = Grant.objects.alias(digest=MD5("scope")).filter(
        until=None,
        privilege="OWNER",
        kind__in={kind for kind, _scope in objects},
        digest__in=[md5(scope.encode(), usedforsecurity=False).hexdigest() for _kind, scope in objects],
        account__instance__in={grant.account.instance_id for grant in grants},
    )
    found = rows.order_by().values_list("account__instance", "kind", "scope", "account__name")
    return {(instance, kind, scope): name for instance, kind, scope, name in found}


def _subject(account: Account) -> Subject:
    instance = account.instance
    return Subject(instance.engine, account.name, account.host, account.kind, account.native_id, instance.product)


def _locking(account: Account) -> str:
    """Return the text of one cell: the statements, or why there are none."""
    if account.gone_at:
        return ""
    locking = remedies.lock(_subject(account))
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
