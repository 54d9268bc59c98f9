"""Buttons on admin pages: POST only, each with its own permission.

unfold renders its actions as links, fetched by GET, which another site could trigger in a user's name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IS_POPUP_VAR, IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import DataError
from django.db.models import QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from .columns import Column
from .list_files import ListFiles
from .list_filters import by_type
from .visibility import ShownRows, shown_to


@dataclass(frozen=True)
class Button:
    """One button of a row's page, or of the list with `on_list`.

    `run(request, row)` does the work and returns a response, or None to redirect back; `row` is None on a list.
    `shown(row)` returns whether the button is available. `confirm(row)` returns the sentences of a confirmation page.
    """

    name: str
    label: str
    permission: str
    run: Callable[[HttpRequest, Any], HttpResponse | None]
    icon: str = "play_arrow"
    shown: Callable[[Any], bool] = lambda row: True
    confirm: Callable[[Any], list[str]] | None = None
    on_list: bool = False
    main: bool = False


def posted(request: HttpRequest, *but: str) -> list[tuple[str, str]]:
    """Return the posted fields for a page that posts them again, without that page's own fields."""
    return [
        (name, value)
        for name, values in request.POST.lists()
        for value in values
        if name not in ("csrfmiddlewaretoken", "next", *but)
    ]


def ask(
    pages: ButtonAdmin, request: HttpRequest, form: Form, count: int, title: str, text: str = "", row: Any = None
) -> HttpResponse:
    """The page that asks for a form before something is done with `count` chosen rows of a list, or parts of one row.
    It posts what was posted again, with the form and `confirmed`."""
    context = {
        **pages.admin_site.each_context(request),
        "title": title,
        "subtitle": row,
        "opts": pages.opts,
        "form": form,
        "count": count,
        "text": text,
        "next": pages.back(request, row).url,
        "posted": posted(request, *form.fields, "confirmed"),
    }
    return TemplateResponse(request, "taifish/many.html", context)


def answer_of(request: HttpRequest) -> Any:
    """The data of the form that `ask` shows; None before it was shown."""
    return request.POST if "confirmed" in request.POST else None


class CheckedListAdmin(ListFiles):
    """Lists that reject invalid filters and selections."""

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_file"
        return [path("list.<str:form>", self.admin_site.admin_view(self.list_file), name=name), *super().get_urls()]

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Reject filter values that do not fit the column; Django checks only the names.

        Raises IncorrectLookupParameters: Django then shows the list without filters, and a message.
        """
        try:
            return super().get_changelist_instance(request)
        except (DataError, ValueError) as error:
            raise IncorrectLookupParameters(error) from error

    def response_action(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse | None:
        if not all(pk.isdecimal() for pk in request.POST.getlist(ACTION_CHECKBOX_NAME)):
            raise BadRequest(_("A selected row has no valid id. Go back to the list and select rows again."))
        return super().response_action(request, queryset)

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> HttpResponse:
        """Answer 404, for rows that the user may not see as well; Django redirects to the home page."""
        raise Http404


class ButtonAdmin(ShownRows, CheckedListAdmin):
    """A ModelAdmin with `buttons` on its pages; templates show those that the user may press.

    With an `object_template`, which extends taifish/object.html, the page of a row shows the row, and the form stands
    behind *Edit*: the same address with `?edit=1`.
    """

    object_template = ""
    change_form_template = "taifish/change_form.html"
    change_list_template = "taifish/change_list.html"
    buttons: Sequence[Button] = ()
    list_filter_submit = True
    show_history = True
    # Facet counts take a query that grows with the store.
    show_facets = ShowFacets.NEVER

    def get_buttons(self, request: HttpRequest) -> Sequence[Button]:
        return self.buttons

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        return [by_type(self.model, item) for item in super().get_list_filter(request)]

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        view = self.admin_site.admin_view(self.press)
        return [
            path("do/<slug:button>/", view, name=f"{name}_do_on_list"),
            path("<int:object_id>/do/<slug:button>/", view, name=f"{name}_do"),
            *super().get_urls(),
        ]

    def press(self, request: HttpRequest, button: str, object_id: int | None = None) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        on_list = object_id is None
        pressed = next((b for b in self.get_buttons(request) if (b.name, b.on_list) == (button, on_list)), None)
        if pressed is None:
            raise Http404
        if not (self.has_view_permission(request) and request.user.has_perm(pressed.permission)):
            raise PermissionDenied
        row = (
            None
            if on_list
            else get_object_or_404(shown_to(self.model._default_manager.all(), request.user), pk=object_id)
        )
        if not pressed.shown(row):
            messages.warning(request, _("“%s” is no longer available here.") % pressed.label)
            return self.back(request, row)
        if pressed.confirm and "confirmed" not in request.POST:
            return self.ask(request, pressed.label, pressed.confirm(row), row)
        return pressed.run(request, row) or self.back(request, row)

    def ask(self, request: HttpRequest, label: str, sentences: list[str], row: Any = None) -> TemplateResponse:
        """Show the confirmation page, which posts the same fields again."""
        context = {
            **self.admin_site.each_context(request),
            "title": label,
            "subtitle": row,
            "opts": self.opts,
            "sentences": sentences,
            "label": label,
            "next": self.back(request, row).url,
            "posted": posted(request),
        }
        return TemplateResponse(request, "taifish/confirm.html", context)

    def back(self, request: HttpRequest, row: Any) -> HttpResponseRedirect:
        """Redirect to the page of the button."""
        url = request.POST.get("next", "")
        if url and url_has_allowed_host_and_scheme(url, {request.get_host()}, request.is_secure()):
            return HttpResponseRedirect(url)
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}"
        return HttpResponseRedirect(reverse(f"{name}_change", args=[row.pk]) if row else reverse(f"{name}_changelist"))

    def offered(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return the buttons of a row, or of the list with None, as template context."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_do"
        return [
            {
                "label": button.label,
                "icon": button.icon,
                "main": button.main,
                "url": reverse(name, args=[row.pk, button.name])
                if row
                else reverse(f"{name}_on_list", args=[button.name]),
            }
            for button in self.get_buttons(request)
            if button.on_list == (row is None) and request.user.has_perm(button.permission) and button.shown(row)
        ]

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the template of a row's page shows besides the form; `row` is None on the page that adds one."""
        return {}

    # The object before its form

    def facts(self, request: HttpRequest, row: Any, names: Sequence[str]) -> list[tuple[str, Any]]:
        """Labels and values of fields of the row and of methods of this class."""
        parts = [getattr(self, name, None) or self.column(Column(name, empty="–"), request) for name in names]
        return [(capfirst(part.short_description), part(row)) for part in parts]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if self.object_template and object_id and request.method != "POST" and IS_POPUP_VAR not in request.GET:
            if not self.has_view_permission(request):
                raise PermissionDenied
            row = self.get_object(request, unquote(object_id))
            if row is None:
                raise Http404
            if "edit" not in request.GET or not self.has_change_permission(request, row):
                return self.object_page(request, row)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def object_page(self, request: HttpRequest, row: Any) -> HttpResponse:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}"
        context = {
            **self.admin_site.each_context(request),
            "title": str(row),
            "opts": self.opts,
            "original": row,
            "has_add_permission": self.has_add_permission(request),
            "buttons": self.offered(request, row),
            **self.page_context(request, row),
        }
        links = list(context.get("links", []))
        if self.has_change_permission(request, row):
            query = "&".join(filter(None, ["edit=1", self.get_preserved_filters(request)]))
            links.append({"url": f"?{query}", "icon": "edit", "label": _("Edit")})
        if self.show_history:
            links.append({"url": reverse(f"{name}_history", args=[row.pk]), "icon": "history", "label": _("History")})
        if self.has_delete_permission(request, row):
            links.append({"url": reverse(f"{name}_delete", args=[row.pk]), "icon": "delete", "label": _("Delete")})
        return TemplateResponse(request, self.object_template, context | {"links": links})

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """“Save and continue editing” stays on the form."""
        response = super().response_change(request, obj)
        if self.object_template and "_continue" in request.POST:
            return HttpResponseRedirect(f"{response.url}{'&' if '?' in response.url else '?'}edit=1")
        return response

    def response_post_save_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        return self.back(request, obj) if self.object_template else super().response_post_save_change(request, obj)

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        """What the template of the list shows besides the rows."""
        return {}

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if not self.show_history:
            context["show_history"] = False
        if not (self.object_template and obj):
            context["buttons"] = self.offered(request, obj) if obj else []
            context |= self.page_context(request, obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        action = request.POST.get("action")
        if action and action not in self.get_actions(request):
            raise PermissionDenied
        context = {"buttons": self.offered(request, None), **self.list_context(request), **(extra_context or {})}
        return super().changelist_view(request, context)


class InspectOnlyAdmin(ButtonAdmin):
    """Read-only pages of what visits write. There are no edits, so no history."""

    show_add_link = False
    show_history = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
