"""The pages of limits, and what they add to the pages of instances."""

from __future__ import annotations

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from console.buttons import ButtonAdmin
from console.columns import Column
from console.forms import SizeField
from instances.admin import Addition

from .models import SizeLimit
from .pages import forecast_section


class LimitForm(forms.ModelForm):
    size = SizeField(label=_("Limit"), help_text=_("For example 500 GiB, or a number of bytes."))


@admin.register(SizeLimit)
class SizeLimitAdmin(ButtonAdmin):
    form = LimitForm
    list_display = [
        "instance",
        Column("size", _("limit")),
        "note",
        Column("set_by", _("set by"), ordering="set_by__username"),
        "set_at",
    ]
    list_select_related = ["instance", "set_by"]
    search_fields = ["instance__name", "note"]
    autocomplete_fields = ["instance"]
    fields = ["instance", "size", "note"]

    def save_model(self, request: HttpRequest, obj: SizeLimit, form: forms.ModelForm, change: bool) -> None:
        obj.set_by = request.user
        super().save_model(request, obj, form, change)


OF_INSTANCES = [Addition("planning.view_sizelimit", section=forecast_section)]
