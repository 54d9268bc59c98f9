"""Edit many instances at once: choose values, look at what would change, confirm."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from console.buttons import posted

from .destinations import check_password
from .models import Credential, Instance

if TYPE_CHECKING:
    from console.buttons import ButtonAdmin

#: Changes that the preview lists.
SHOWN = 500
INPUT = {"class": "tf-input"}
UNCHANGED = _("as it is")


def _number(name: str) -> forms.Field:
    field = Instance._meta.get_field(name)
    widget = forms.NumberInput(attrs=INPUT)
    return forms.IntegerField(label=field.verbose_name, required=False, widget=widget, validators=field.validators)


class ManyForm(forms.Form):
    """Values for all selected instances. An empty one leaves theirs as they are."""

    level = forms.ChoiceField(
        label=Instance._meta.get_field("level").verbose_name,
        choices=[("", UNCHANGED), *Instance._meta.get_field("level").choices],
        required=False,
        widget=forms.Select(attrs=INPUT),
    )
    credential = forms.ModelChoiceField(
        Credential.objects.all(),
        label=Instance._meta.get_field("credential").verbose_name,
        required=False,
        empty_label=UNCHANGED,
        widget=forms.Select(attrs=INPUT),
        help_text=_("One that lists the hosts of the instances, or that has no password."),
    )
    connect_timeout = _number("connect_timeout")
    statement_timeout = _number("statement_timeout")
    budget = _number("budget")

    def __init__(self, *args: Any, may_use_credentials: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not may_use_credentials:
            del self.fields["credential"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors and not self.values():
            raise forms.ValidationError(gettext("Enter what to change."))
        return cleaned

    def values(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if value not in (None, "")}


@dataclass(frozen=True)
class Edit:
    """Changed fields of an instance: label, value before, value after. `problem` says why it cannot be changed."""

    instance: Instance
    fields: list[tuple[str, Any, Any]]
    problem: str = ""


def edits_of(instances: Iterable[Instance], values: dict[str, Any]) -> list[Edit]:
    """Set the values on the instances, and return the edits of those that change. Nothing is saved."""
    edits = []
    for instance in instances:
        changed = [name for name, value in values.items() if getattr(instance, name) != value]
        fields = [(Instance._meta.get_field(n).verbose_name, getattr(instance, n), values[n]) for n in changed]
        for name in changed:
            setattr(instance, name, values[name])
        if changed:
            edits.append(Edit(instance, fields, _problem(instance) if "credential" in changed else ""))
    return edits


def _problem(instance: Instance) -> str:
    """Why the password of its new credential may not be sent to its host, or ""."""
    try:
        instance.clean()
        check_password(instance.credential, "")
    except ValidationError as error:
        return " ".join(error.messages)
    return ""


def _digest(edits: list[Edit]) -> str:
    """A digest of the edits, to compare a confirmed preview with what would change now."""
    return hashlib.sha256(repr([(edit.instance.pk, edit.fields) for edit in edits]).encode()).hexdigest()


def edit_many(pages: ButtonAdmin, request: HttpRequest, queryset: QuerySet[Instance]) -> HttpResponse | None:
    """The action: each step posts the selection again. All instances are changed, or none."""
    asked = "preview" in request.POST or "confirmed" in request.POST
    may_use = request.user.has_perm("instances.use_credential")
    form = ManyForm(request.POST if asked else None, may_use_credentials=may_use)
    rows = Instance.objects.filter(pk__in=queryset.order_by().values("pk")).select_related("credential")
    edits: list[Edit] = []
    if asked and form.is_valid():
        with transaction.atomic():
            edits = edits_of(rows.select_for_update(of=("self",)), form.values())
            refused = any(edit.problem for edit in edits)
            if "confirmed" in request.POST and not refused and request.POST.get("seen") == _digest(edits):
                _save(request, edits)
                return None
    context = {
        **admin.site.each_context(request),
        "title": gettext("Edit instances"),
        "opts": pages.opts,
        "form": form,
        "count": rows.count(),
        "edits": sorted(edits, key=lambda edit: not edit.problem)[:SHOWN],
        "n_edits": len(edits),
        "n_more": max(len(edits) - SHOWN, 0),
        "n_refused": sum(bool(edit.problem) for edit in edits),
        "previewed": asked and form.is_valid(),
        "is_stale": "confirmed" in request.POST and request.POST.get("seen") != _digest(edits),
        "seen": _digest(edits),
        "next": pages.back(request, None).url,
        "posted": posted(request, *form.fields, "confirmed", "preview", "seen"),
    }
    return TemplateResponse(request, "instances/edit_many.html", context)


def _save(request: HttpRequest, edits: list[Edit]) -> None:
    """Store the edits; triggers write each to the audit trail."""
    names = {field.verbose_name: field.name for field in Instance._meta.fields}
    for edit in edits:
        edit.instance.save(update_fields=[*(names[label] for label, *_values in edit.fields), "updated_at"])
    if edits:
        LogEntry.objects.log_actions(request.user.pk, [edit.instance for edit in edits], CHANGE, "Edited with others.")
    text = ngettext("%d instance changed.", "%d instances changed.", len(edits))
    messages.success(request, text % len(edits))
