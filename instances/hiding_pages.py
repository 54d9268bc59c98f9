"""The admin pages of filters, with a preview of the effect before saving."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse

from console.buttons import ButtonAdmin, InspectOnlyAdmin
from console.visibility import narrow_choices

from .hiding import Filter, apply_filters, effect_of

#: The maximum number of matching rows to list.
PREVIEW = 100


class HideableAdmin(InspectOnlyAdmin):
    """A list that by default omits gone and filtered rows, with links to show them."""

    list_before_template = "taifish/what_is_left_out.html"

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        def linked(**changed: str) -> str:
            query = request.GET.copy()
            query.pop("p", None)
            for name, value in changed.items():
                query[name] = value
            return f"?{query.urlencode()}"

        chosen = (request.GET.get("gone") or "no", request.GET.get("filtered") or "no")
        left_out = {
            "gone": chosen[0],
            "filtered": chosen[1],
            "show_gone": linked(gone="all"),
            "show_filtered": linked(filtered="all"),
            "hide_all": linked(gone="no", filtered="no"),
        }
        return super().list_context(request) | {"left_out": left_out}


class FilterAdmin(ButtonAdmin):
    """The admin for a model derived from `Filter`."""

    change_form_template = "taifish/filter_form.html"
    list_display = ["pattern", "action", "engine", "instance", "system_only", "active", "note"]
    list_filter = ["action", "engine", "instance", "active"]
    list_select_related = ["instance"]
    search_fields = ["pattern", "note"]
    fields = ["action", "pattern", "system_only", ("engine", "instance"), "active", "note"]

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_preview"
        return [path("preview/", self.admin_site.admin_view(self.preview), name=name), *super().get_urls()]

    def may_preview(self, request: HttpRequest) -> bool:
        hidden = self.model.hides._meta
        return request.user.has_perm(f"{hidden.app_label}.view_{hidden.model_name}")

    def preview(self, request: HttpRequest) -> HttpResponse:
        """The effect of the filter in the form, as HTML."""
        if not (self.has_view_permission(request) and self.may_preview(request)):
            raise PermissionDenied
        pk = request.GET.get("id", "")
        stored = self.get_queryset(request).filter(pk=pk).first() if pk.isdecimal() else None
        fields = ["action", "engine", "instance", "pattern", "system_only", "active", "note"]
        form = forms.modelform_factory(self.model, fields=fields)(request.GET, instance=stored)
        narrow_choices(form, request.user)
        html = self.shown_preview(request, form.instance) if form.is_valid() else ""
        return HttpResponse(html)

    def shown_preview(self, request: HttpRequest, candidate: Filter) -> str:
        hidden = self.model.hides._meta
        context = {
            "effect": effect_of(candidate, PREVIEW, request.user),
            "candidate": candidate,
            "noun": hidden.verbose_name,
            "nouns": hidden.verbose_name_plural,
            "page": f"admin:{hidden.app_label}_{hidden.model_name}_change",
        }
        return render_to_string("taifish/filter_preview.html", context)

    def page_context(self, request: HttpRequest, row: Filter | None) -> dict[str, Any]:
        if not self.may_preview(request):
            return {}
        url = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_preview")
        return {"preview_url": url, **({"preview": self.shown_preview(request, row)} if row else {})}

    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: Filter, form: forms.ModelForm, change: bool) -> None:
        before = list(self.model.objects.get(pk=obj.pk).concerned()) if change else []
        super().save_model(request, obj, form, change)
        apply_filters(self.model, {*before, *obj.concerned()})

    @transaction.atomic
    def delete_model(self, request: HttpRequest, obj: Filter) -> None:
        concerned = list(obj.concerned())
        super().delete_model(request, obj)
        apply_filters(self.model, concerned)

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Filter]) -> None:
        concerned = {instance for item in queryset for instance in item.concerned()}
        super().delete_queryset(request, queryset)
        apply_filters(self.model, concerned)
