"""Pages that set limits and volumes of many instances or databases: the actions of lists, and the import of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console.buttons import answer_of, ask
from console.csv import csv_file, uploaded
from console.forms import SizeField
from console.visibility import shown_to
from instances.models import Instance

from . import bulk
from .models import SizeLimit, Volume

if TYPE_CHECKING:
    from console.buttons import ButtonAdmin

#: Changes that the preview of an import lists.
SHOWN = 500
TEXT = forms.TextInput(attrs={"class": "tf-input"})


class LimitsForm(forms.Form):
    size = SizeField(label=_("Limit"), widget=TEXT, help_text=_("For example 500 GiB, or a number of bytes."))
    note = forms.CharField(
        label=_("Note"),
        required=False,
        max_length=bulk.LONGEST_NOTE,
        widget=TEXT,
        help_text=_("Empty: stored notes stay."),
    )


class LieOnForm(forms.Form):
    volume = forms.ModelChoiceField(
        Volume.objects.filter(mount=""),
        label=_("Volume"),
        required=False,
        empty_label=_("a new one:"),
        widget=forms.Select(attrs={"class": "tf-input"}),
    )
    name = forms.CharField(label=_("Name"), required=False, max_length=400, widget=TEXT)
    size = SizeField(label=_("Size"), required=False, widget=TEXT, help_text=_("For example 500 GiB."))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        name, size = cleaned.get("name"), cleaned.get("size")
        if cleaned.get("volume"):
            if name or size:
                self.add_error("volume", gettext("Either choose a volume or enter a new one."))
        elif not (name and size):
            self.add_error("volume", gettext("Choose a volume, or enter the name and the size of a new one."))
        elif not self.errors:
            cleaned["volume"] = Volume(name=name, size=size)
            cleaned["volume"].full_clean()
        return cleaned


def _log(request: HttpRequest, rows: list[Any], message: str) -> None:
    if rows:
        LogEntry.objects.log_actions(request.user.pk, rows, CHANGE, message)


def _set(request: HttpRequest, plan: bulk.Plan) -> None:
    """Store a plan without problems, and say so."""
    _log(request, plan.save(request.user), "Set with others.")
    text = gettext("Limits: %(new)d new, %(changed)d changed, %(unchanged)d as they were.")
    messages.success(request, text % plan.counts)


@admin.action(description=_("Set a size limit …"))
def set_limits(pages: ButtonAdmin, request: HttpRequest, queryset: QuerySet[Model]) -> HttpResponse | None:
    """Set one limit for each of the chosen instances or databases."""
    form = LimitsForm(answer_of(request))
    if not form.is_valid():
        return ask(pages, request, form, queryset.count(), gettext("Set a size limit"))
    size, note = form.cleaned_data["size"], form.cleaned_data["note"] or None
    ids = queryset.order_by().values_list("pk", flat=True)
    rows = [bulk.Wanted(number, pages.opts.model_name, pk, size, note) for number, pk in enumerate(ids, 1)]
    plan = bulk.plan(rows, request.user)
    if plan.problems:
        raise PermissionDenied(plan.problems[0].message)
    _set(request, plan)
    return None


@admin.action(description=_("Lie on one volume …"))
def lie_on(pages: ButtonAdmin, request: HttpRequest, queryset: QuerySet[Instance]) -> HttpResponse | None:
    """Put the chosen instances on a volume, and take them off other volumes that were typed in."""
    form = LieOnForm(answer_of(request))
    if not form.is_valid():
        text = gettext("They leave other volumes, except those that are read from Prometheus.")
        return ask(pages, request, form, queryset.count(), gettext("Lie on one volume"), text)
    volume, ids = form.cleaned_data["volume"], list(queryset.order_by().values_list("pk", flat=True))
    if volume.pk is None and not request.user.has_perm("planning.add_volume"):
        raise PermissionDenied
    with transaction.atomic():
        if volume.pk is None:
            volume.save()
        Volume.instances.through.objects.filter(instance__in=ids, volume__mount="").delete()
        volume.instances.add(*ids)
    _log(request, [volume], "Instances put on it.")
    text = gettext("%(count)d instances lie on %(volume)s now.")
    messages.success(request, text % {"count": len(ids), "volume": volume})
    return None


def import_limits(pages: ButtonAdmin, request: HttpRequest) -> HttpResponse | None:
    """Upload a file, preview what it would change, then store all of it or nothing."""
    plan, text, error = None, request.POST.get("csv", ""), ""
    try:
        if file := request.FILES.get("file"):
            text = _read(file)
        if text:
            plan = bulk.read_csv(text, request.user)
    except ValueError as wrong:
        error = str(wrong)
    if plan and not plan.problems and "confirmed" in request.POST:
        _set(request, plan)
        return None
    context = {
        **admin.site.each_context(request),
        "title": gettext("Import size limits"),
        "opts": pages.opts,
        "columns": ", ".join(bulk.COLUMNS),
        "error": error,
        "plan": plan,
        "csv": text,
        "shown": [change for change in plan.changes if change.is_changed][:SHOWN] if plan else [],
        "next": pages.back(request, None).url,
    }
    return TemplateResponse(request, "planning/import.html", context)


def _read(file: Any) -> str:
    # The preview posts it again as a field.
    if file.size > settings.DATA_UPLOAD_MAX_MEMORY_SIZE // 2:
        raise ValueError(gettext("The file is too large. Split it, or use manage.py size_limits."))
    return uploaded(file)


def export_limits(request: HttpRequest) -> HttpResponse:
    limits = shown_to(SizeLimit.objects.all(), request.user)
    return csv_file(f"size-limits-{timezone.localdate()}", bulk.COLUMNS, bulk.exported(limits))
