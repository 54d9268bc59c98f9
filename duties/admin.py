"""The pages of duty pairs and of accepted conflicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import QuerySet, TextField
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextInputWidget

from console.buttons import Button, ButtonAdmin, answer_of, ask
from console.columns import Column
from console.display import badge
from console.files import FORMS, as_file, head, too_many
from console.templatetags.names import visible
from drift.admin import AcceptForm as AcceptDeviationForm

from . import rows, services
from .models import AcceptedConflict, DutyPair
from .services import Conflict, Found, conflicts_of

CONFLICTS_PER_PAGE = 100


class AcceptForm(forms.ModelForm):
    class Meta(AcceptDeviationForm.Meta):
        model = AcceptedConflict


def _counts(found: Found) -> Any:
    """The number of conflicts, and whether that is all that is known."""
    if found.error:
        return badge("unknown", gettext("unknown"))
    if n := len(found.conflicts):
        return badge("failed", gettext("at least %d") % n if found.unknown else n)
    if found.unknown or found.warnings or found.is_limited:
        return badge("unknown", gettext("none known"))
    return badge("completed", gettext("none"))


def _of_user(request: HttpRequest) -> Callable[[DutyPair], Any]:
    """The column with the conflicts that the user may see."""

    def conflicts(pair: DutyPair) -> Any:
        return _counts(conflicts_of(pair, request.user)) if pair.active else "–"

    conflicts.short_description = _("conflicts")  # type: ignore[attr-defined]
    return conflicts


@admin.register(DutyPair)
class DutyPairAdmin(ButtonAdmin):
    object_template = "duties/pair.html"
    formfield_overrides = {TextField: {"widget": UnfoldAdminTextInputWidget}}
    list_filter = ["active"]
    list_display = ["name", "first_side", "second_side", "reason", "active"]
    list_select_related = ["first_classification", "second_classification"]
    # Each row asks two questions.
    list_per_page = 20
    search_fields = ["name", "reason", "first_on", "second_on"]
    autocomplete_fields = ["first_classification", "second_classification"]
    fieldsets = [
        (None, {"fields": ["name", "reason", "active"]}),
        *(
            (title, {"fields": [f"{side}_{name}" for name in ("classification", "privilege", "on")]})
            for side, title in (("first", _("First side")), ("second", _("Second side")))
        ),
    ]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        name, first, second, *others = super().get_list_display(request)
        return [name, _of_user(request), first, second, *others]

    def get_buttons(self, request: HttpRequest) -> list[Button]:
        return [Button("accept", _("Accept"), "duties.add_acceptedconflict", self.accept)]

    def offered(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Accepting has its button below the rows that are chosen."""
        return []

    @admin.display(description=_("first side"))
    def first_side(self, pair: DutyPair) -> Any:
        return pair.first if pair.first_classification_id else visible(pair.first)

    @admin.display(description=_("second side"))
    def second_side(self, pair: DutyPair) -> Any:
        return pair.second if pair.second_classification_id else visible(pair.second)

    def accept(self, request: HttpRequest, pair: DutyPair) -> HttpResponse | None:
        chosen = set(request.POST.getlist("chosen"))
        if not chosen:
            messages.warning(request, gettext("Choose conflicts."))
            return None
        form = AcceptForm(answer_of(request))
        if form.is_valid():
            words = {name: form.cleaned_data[name] for name in ("reason", "ticket", "ends_on")}
            try:
                n = services.accept(pair, chosen, request.user, **words)
            except ValidationError as error:
                form.add_error(None, error)
            else:
                text = ngettext("%d conflict is accepted.", "%d conflicts are accepted.", n) % n
                messages.success(request, text)
                return None
        text = gettext(
            "An accepted conflict is listed apart. It comes back after its last day, or when another account gives a"
            " side."
        )
        return ask(self, request, form, len(chosen), gettext("Accept"), text, pair)

    def object_page(self, request: HttpRequest, row: DutyPair) -> HttpResponseBase:
        form = request.GET.get("file")
        if form not in FORMS:
            return super().object_page(request, row)
        found = conflicts_of(row, request.user)
        lines = list(rows.lines(row.name, found))
        if form == "xlsx" and (reason := too_many(len(lines))):
            messages.error(request, reason)
            return super().object_page(request, row)
        about = head([["pair", row.name], *rows.notes(found)], request.user.get_username(), len(lines))
        return as_file(form, f"duties-{row.pk}", rows.HEADER, lines, about)

    def page_context(self, request: HttpRequest, row: DutyPair | None) -> dict[str, Any]:
        if row is None:
            return {}
        found = conflicts_of(row, request.user)
        page = Paginator([*found.conflicts, *found.accepted], CONFLICTS_PER_PAGE).get_page(request.GET.get("page"))
        facts = [
            (capfirst(gettext("first side")), self.first_side(row)),
            (capfirst(gettext("second side")), self.second_side(row)),
            *self.facts(request, row, ["reason", "active"]),
        ]
        return {
            "found": found,
            "facts": facts,
            "page": page,
            "rows": _shown(found, list(page)),
            "unknown": list(found.unknown.items()),
            "may_accept": request.user.has_perm("duties.add_acceptedconflict"),
        }


def _shown(found: Found, conflicts: list[Conflict]) -> list[dict[str, Any]]:
    """The conflicts of a page. Each has its sides, with the tab of an account's page that has the evidence, and the
    accounts with how they hold the side."""
    paths = found.paths(conflicts)
    return [
        {
            "conflict": conflict,
            "sides": [
                (
                    side,
                    "classifications" if side.classification else "effective",
                    [(one, by.get(one.pk, "")) for one in accounts],
                )
                for side, accounts, by in zip(found.sides, conflict.sides, paths, strict=True)
            ],
        }
        for conflict in conflicts
    ]


@admin.register(AcceptedConflict)
class AcceptedConflictAdmin(ButtonAdmin):
    list_display = [
        Column("pair", _("duty pair")),
        Column("owner", _("owner")),
        Column("account", _("account")),
        "reason",
        "ticket",
        "ends_on",
        Column("accepted_by", _("accepted by")),
        "accepted_at",
    ]
    list_filter = ["ends_on"]
    list_select_related = ["pair", "owner", "account", "accepted_by"]
    search_fields = ["pair__name", "owner__name", "account__name", "reason", "ticket"]
    fields = ["pair", "owner", "account", "reason", "ticket", "ends_on"]
    readonly_fields = ["pair", "owner", "account"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AcceptedConflict]:
        return super().get_queryset(request).select_related("pair", "owner", "account")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """They are accepted on the page of the pair."""
        return False

    def save_model(self, request: HttpRequest, obj: AcceptedConflict, form: forms.ModelForm, change: bool) -> None:
        obj.accepted_by = request.user
        super().save_model(request, obj, form, change)
