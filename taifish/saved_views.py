"""Saved views of the admin's lists: filters, order and columns under a name, one's own or shared."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from console.columns import ColumnAdmin, column_name
from console.list_files import ListFiles

from .models import SavedView

#: Key in the session: list → the saved view that is open there.
OPEN = "open_views"
#: Views of a user for one list.
MOST = 50
#: Parameters of a list that are not part of a view: the page.
_LEFT_OUT = ("p",)


def views_of(request: HttpRequest, name: str) -> list[SavedView]:
    """The views of a list that the user sees, and the one with the user's columns. One query per request and list."""
    found = request.__dict__.setdefault("_saved_views", {})
    if name not in found:
        found[name] = list(SavedView.objects.of(request.user).filter(list_name=name)) if request.user.pk else []
    return found[name]


def columns(request: HttpRequest, name: str) -> Collection[str]:
    """For `console.columns.CHOSEN`: those of the open view, else those that the user has chosen."""
    opened = request.session.get(OPEN, {}).get(name) if hasattr(request, "session") else None
    views = views_of(request, name)
    view = next((view for view in views if view.pk == opened), None) or _own(views, request)
    return view.columns if view else ()


def _own(views: list[SavedView], request: HttpRequest) -> SavedView | None:
    return next((view for view in views if not view.name and view.user_id == request.user.pk), None)


def tools(request: HttpRequest, pages: ColumnAdmin) -> dict[str, Any]:
    """For `console.list_files.TOOLS`: the views and the columns of a list."""
    if not isinstance(pages, ListFiles):
        return {}
    name = pages.list_name
    shown = {column_name(item) for item in pages.columns_shown(request, pages.get_list_display(request))}
    _first, *others = pages.get_list_display(request)
    query = request.GET.copy()
    for parameter in _LEFT_OUT:
        query.pop(parameter, None)
    opened = request.session.get(OPEN, {}).get(name)
    return {
        "list_name": name,
        "query": query.urlencode(),
        "views": [
            {
                "view": view,
                "is_own": view.user_id == request.user.pk,
                "is_open": view.pk == opened and view.query == query.urlencode(),
            }
            for view in views_of(request, name)
            if view.name
        ],
        "columns": [
            (column_name(item), label, column_name(item) in shown) for item in others if (label := _label(pages, item))
        ],
    }


def _label(pages: ColumnAdmin, item: Any) -> str:
    return capfirst(str(admin.utils.label_for_field(item, pages.model, pages)))


def _pages(request: HttpRequest, name: str) -> ListFiles:
    """The pages of a list that the user may open. Raises Http404, PermissionDenied."""
    for pages in admin.site._registry.values():
        if isinstance(pages, ListFiles) and pages.list_name == name:
            if not pages.has_view_or_change_permission(request):
                raise PermissionDenied
            return pages
    raise Http404


def _to(name: str, query: str = "") -> HttpResponseRedirect:
    url = reverse(f"admin:{name}_changelist")
    return HttpResponseRedirect(f"{url}?{query}" if query else url)


def _remember(request: HttpRequest, name: str, view: SavedView | None) -> None:
    request.session[OPEN] = {**request.session.get(OPEN, {}), name: view and view.pk}


def saved_views_page(request: HttpRequest) -> HttpResponse:
    """GET opens the view `id`; POST keeps what the list `list` shows under a `name`, or deletes the view `delete`."""
    if request.method == "GET":
        pk = request.GET.get("id", "")
        view = get_object_or_404(SavedView.objects.of(request.user).exclude(name=""), pk=pk if pk.isdecimal() else 0)
        _pages(request, view.list_name)
        _remember(request, view.list_name, view)
        # With a parameter, so that the default view does not take its place.
        return _to(view.list_name, view.query or "q=")
    if request.method != "POST":
        return HttpResponseNotAllowed(["GET", "POST"])
    if pk := request.POST.get("delete", ""):
        view = get_object_or_404(_deletable(request), pk=pk if pk.isdecimal() else 0)
        view.delete()
        messages.success(request, _("Deleted."))
        return _to(view.list_name)
    pages = _pages(request, request.POST.get("list", ""))
    return _keep(request, pages)


def _deletable(request: HttpRequest) -> Any:
    views = SavedView.objects.exclude(name="")
    return views if request.user.is_superuser else views.filter(user=request.user)


def _keep(request: HttpRequest, pages: ListFiles) -> HttpResponse:
    name = " ".join(request.POST.get("name", "").split())
    query = request.POST.get("query", "")
    if not name or len(name) > 100 or not name.isprintable() or len(query) > 4000:
        raise BadRequest(_("Enter a name of at most 100 characters."))
    if SavedView.objects.filter(user=request.user, list_name=pages.list_name).count() > MOST:
        raise BadRequest(_("You have too many views of this list. Delete some."))
    query = QueryDict(query).urlencode()
    is_default = "is_default" in request.POST
    with transaction.atomic():
        if is_default:
            SavedView.objects.filter(user=request.user, list_name=pages.list_name).update(is_default=False)
        view, _made = SavedView.objects.update_or_create(
            user=request.user,
            list_name=pages.list_name,
            name=name,
            defaults={
                "query": query,
                "columns": list(columns(request, pages.list_name)),
                "shared": "shared" in request.POST,
                "is_default": is_default,
            },
        )
    _remember(request, pages.list_name, view)
    messages.success(request, _("Saved: %s.") % view)
    return _to(pages.list_name, query or "q=")


def list_columns_page(request: HttpRequest) -> HttpResponse:
    """POST chooses the `columns` of the list `list` for the user; `all` shows all of them again."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    pages = _pages(request, request.POST.get("list", ""))
    _first, *others = map(column_name, pages.get_list_display(request))
    wanted = request.POST.getlist("columns")
    chosen = [] if "all" in request.POST else [name for name in others if name in wanted]
    if not chosen and "all" not in request.POST:
        # None but the first.
        chosen = [_first]
    SavedView.objects.update_or_create(
        user=request.user, list_name=pages.list_name, name="", defaults={"columns": chosen}
    )
    _remember(request, pages.list_name, None)
    query = QueryDict(request.POST.get("query", "")[:4000], mutable=True)
    # The order is by the number of a column.
    query.pop("o", None)
    return _to(pages.list_name, query.urlencode())


def open_default(request: HttpRequest, pages: ColumnAdmin) -> HttpResponse | None:
    """For `console.list_files.FIRST`: the user's default view where the address has no filters. Another that is open no
    longer is."""
    if not isinstance(pages, ListFiles) or request.GET or request.method != "GET":
        return None
    own = (view for view in views_of(request, pages.list_name) if view.is_default and view.user_id == request.user.pk)
    view = next(own, None)
    if request.session.get(OPEN, {}).get(pages.list_name) != (view and view.pk):
        _remember(request, pages.list_name, view)
    return _to(view.list_name, view.query) if view and view.query else None
