"""The page "Who can", its completion, and the tab "Effective" of an account's page."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import Account
from accounts.pages import Tab
from console.permissions import needs
from console.visibility import shown_to
from engines.facts import GRANT_KINDS
from engines.registry import engine_choices
from instances.models import Instance

from .asking import WORDS, Answered, Asked, ask, chosen
from .completion import complete
from .exports import as_csv, as_xlsx, effective_as_file
from .forms import INPUT, AskForm, instance_names, refuse_unknown
from .moments import aware, parse_moment
from .questions import effective
from .rights import Rights
from .seen import privileges
from .wording import BROAD, Holders, by_database, summary, usable_at_once

#: Accounts on a page.
ACCOUNTS_PER_PAGE = 100

#: Instances listed as the basis of the answer.
READS = 200

#: Parameters of the page beside those of the question.
_OF_PAGE = ("scope", "csv", "xlsx", "page")


class QuestionForm(AskForm):
    no_tag = _("all")

    privilege = forms.CharField(
        label=_("Who may"),
        widget=forms.TextInput(INPUT | {"placeholder": "SELECT", "size": 18, "list": "privileges"}),
        help_text=_("A privilege as the engine names it, any-write, or all-powerful."),
    )
    on = forms.CharField(
        label=_("on"),
        required=False,
        widget=forms.TextInput(
            INPUT | {"placeholder": "shop.public.orders", "size": 40, "list": "paths", "autocomplete": "off"}
        ),
        help_text=_("Path of the object or column; empty for the whole instance. Put special names in double quotes."),
    )
    kind = forms.ChoiceField(
        label=_("kind"),
        required=False,
        choices=[("", _("any that fits")), *((kind, kind) for kind in GRANT_KINDS)],
        widget=forms.Select(INPUT),
    )
    instance = forms.CharField(
        label=_("instance"),
        required=False,
        widget=forms.TextInput(INPUT | {"placeholder": _("all"), "size": 16, "list": "instances"}),
        help_text=_("Name of an instance; empty for all."),
    )
    tag = forms.CharField(label=_("tag"), required=False, widget=forms.Select(INPUT))
    engine = forms.CharField(
        label=_("engine"),
        required=False,
        widget=forms.Select(INPUT, choices=[("", _("all")), *engine_choices()]),
    )
    as_of = forms.CharField(
        label=_("as of"),
        required=False,
        widget=forms.TextInput(INPUT | {"placeholder": "2026-05-03 14:00", "size": 18}),
    )

    def __init__(self, data: QueryDict, user: User) -> None:
        # The earlier name of the parameter.
        data = data.copy()
        scope = data.get("scope", "")
        data.setdefault("on", scope)
        super().__init__(data if "privilege" in data else None, user)
        self.fields["on"].widget.attrs["data-complete"] = reverse("who-can-paths")


@needs("accounts.view_grant", "accounts.view_account")
def who_can_page(request: HttpRequest) -> HttpResponse:
    """Show the form, and the answer to its query; `csv=1` and `xlsx=1` return the whole answer as a file."""
    form = QuestionForm(request.GET, request.user)
    answer: dict[str, Any] = {}
    status = 200
    try:
        if answered := _answered(request, form):
            for name, as_file in (("csv", as_csv), ("xlsx", as_xlsx)):
                if name in request.GET:
                    return as_file(answered, request.user.get_username())
            answer = _shown(request, answered)
    except ValueError as error:
        answer = {"wrong": str(error)}
        # A program that asks for a file must not take a page for it.
        status = 400 if {"csv", "xlsx"} & request.GET.keys() else 200
    ids = list(shown_to(Instance.objects.active(), request.user).order_by().values_list("pk", flat=True))
    context = {
        **admin.site.each_context(request),
        "title": _("Who can"),
        "form": form,
        "privileges": [*BROAD.items(), *((name, "") for name in privileges(ids))],
        "instances": instance_names(request.user),
        **answer,
    }
    return TemplateResponse(request, "access/who_can.html", context, status=status)


def _answered(request: HttpRequest, form: QuestionForm) -> Answered | None:
    """Return the answer, or None without a question. Raises ValueError, which says what to change."""
    refuse_unknown(request.GET, (*WORDS, *_OF_PAGE))
    if not form.is_bound and request.GET.keys() & {*WORDS, "scope"}:
        raise ValueError(_("Say which privilege."))
    if not form.is_bound:
        return None
    data = form.checked()
    return ask(
        Asked(
            data["privilege"],
            # The form shows the earlier name of the parameter as "on".
            on=request.GET.get("on", ""),
            scope=request.GET.get("scope", ""),
            kind=data["kind"],
            instance=request.GET.getlist("instance"),
            tag=data["tag"],
            engine=data["engine"],
            at=parse_moment(data["as_of"]),
            user=request.user,
        )
    )


def _shown(request: HttpRequest, answered: Answered) -> dict[str, Any]:
    answer = answered.answer
    query = request.GET.copy()
    query.pop("page", None)
    found = Holders(answer.rows)
    reads = list(answer.reads.values())
    return {
        "answer": answer,
        "answered": answered,
        "unknown": answer.unknown.items(),
        "summary": summary(answered, len(found)),
        "page": Paginator(found, ACCOUNTS_PER_PAGE).get_page(request.GET.get("page")),
        "query": query.urlencode(),
        "reads": reads[:READS],
        "n_more_reads": max(0, len(reads) - READS),
    }


@needs("accounts.view_grant", "accounts.view_account")
def complete_page(request: HttpRequest) -> JsonResponse:
    """Return paths that continue the parameter `on`, on the instances that the others choose, as JSON."""
    query = request.GET
    try:
        instances = chosen(query.getlist("instance"), query.get("tag", ""), query.get("engine", ""), request.user)
    except ValueError:
        # Half a name of an instance: the question itself is refused, and says why.
        return JsonResponse({"paths": []})
    return JsonResponse({"paths": complete(query.get("on", ""), instances, request.user)})


class EffectiveRows:
    """The rows of a tab: grants in effect now, or at the local time `as_of`, by object: of objects and privileges that
    contain `q`, and of the `kind`, one of GRANT_KINDS, or "" for all. For an invalid time those of now, and `wrong`
    says so."""

    kinds = sorted(GRANT_KINDS)

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
        self.q = request.GET.get("q", "").strip()
        self.kind = request.GET.get("kind", "")
        asked = {"account": account.pk, "as_of": self.as_of, "q": self.q, "kind": self.kind}
        self.file = f"{reverse('effective')}?{urlencode(asked)}"
        grants = self.effective.grants
        if self.q:
            grants = grants.filter(Q(scope__icontains=self.q) | Q(privilege__icontains=self.q))
        if self.kind:
            grants = grants.filter(kind=self.kind)
        self.rights = Rights(self.effective, grants)

    def count(self) -> int:
        return self.rights.count()

    def by_database(self) -> str:
        return by_database()

    def natures(self) -> list[dict[str, Any]]:
        """Return what the account may do without a grant, in words."""
        return [
            {
                "path": [str(role) for role in nature.path],
                "use": usable_at_once(nature.at_once),
                "powers": [(kind, sorted(privileges)) for kind, privileges in nature.powers.items()],
            }
            for nature in self.effective.natures()
        ]

    def __getitem__(self, part: slice) -> list[dict[str, Any]]:
        return self.rights[part]


@needs("accounts.view_grant", "accounts.view_account")
def effective_page(request: HttpRequest) -> HttpResponse:
    """Return the rights of an `account`, by its id, as CSV, or with `xlsx=1` as XLSX: at the moment and with the search
    of the tab."""
    accounts, pk = shown_to(Account.objects.select_related("instance"), request.user), request.GET.get("account", "")
    account = get_object_or_404(accounts, pk=pk if pk.isdecimal() and len(pk) < 19 else None)
    rows = EffectiveRows(request, account)
    if rows.wrong:
        return HttpResponse(rows.wrong, status=400, content_type="text/plain; charset=utf-8")
    xlsx, by = "xlsx" in request.GET, request.user.get_username()
    return effective_as_file(account, rows.effective, rows.rights.read_all(), by, xlsx=xlsx)


EFFECTIVE = Tab("effective", _("Effective"), "accounts.view_grant", EffectiveRows, template="access/effective.html")
