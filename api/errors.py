"""Errors of the API all have one shape: {"detail": "…"}, or reasons by field (see api/schema.py)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import BadRequest, RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.views import defaults
from rest_framework.exceptions import APIException
from rest_framework.response import Response
from rest_framework.views import exception_handler

from console.units import bytes_label


def handle_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's handler, which answers with a bare list where reasons belong to no field."""
    response = exception_handler(error, context)
    if response is not None and isinstance(response.data, list):
        response.data = {"non_field_errors": response.data}
    return response


# Django's error handlers. Their texts do not quote the exception, which may hold secrets.


def _is_program(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def refused(request: HttpRequest, text: str, status: int) -> HttpResponse:
    """An error response that needs neither session nor templates."""
    if _is_program(request):
        return JsonResponse({"detail": text}, status=status)
    return HttpResponse(f"{text}\n", status=status, content_type="text/plain; charset=utf-8")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, RequestDataTooBig):
        text = _("The request is too large: at most %s without files.")
        return refused(request, text % bytes_label(settings.DATA_UPLOAD_MAX_MEMORY_SIZE), 413)
    if isinstance(exception, BadRequest):
        # Raised with a fixed text, by Taifish or Django.
        return refused(request, str(exception), 400)
    if _is_program(request):
        return JsonResponse({"detail": _("This request cannot be read.")}, status=400)
    return defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _is_program(request):
        return JsonResponse({"detail": _("This is not allowed.")}, status=403)
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _is_program(request):
        return JsonResponse({"detail": _("There is nothing here. See /api/docs/.")}, status=404)
    user = getattr(request, "user", None)
    if user is None or not admin.site.has_permission(request):
        return defaults.page_not_found(request, exception)
    try:
        search = reverse("search")
    except NoReverseMatch:
        search = reverse("admin:accounts_account_changelist")
    context = {**admin.site.each_context(request), "title": _("Not found"), "search": search}
    return TemplateResponse(request, "taifish/not_found.html", context, status=404).render()


def failed(request: HttpRequest) -> HttpResponse:
    if _is_program(request):
        return JsonResponse({"detail": _("Internal error. See the server log.")}, status=500)
    return defaults.server_error(request)


class Conflict(APIException):
    """The request conflicts with the current state."""

    status_code = 409
    default_code = "conflict"


class Unavailable(APIException):
    """Another service, which the request needs, gave no usable answer."""

    status_code = 503
    default_code = "unavailable"
