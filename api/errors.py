"""Refusals of the API have one shape, whoever refuses: {"detail": "…"}, or reasons by field (api/schema.py)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest, RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from django.views import defaults
from rest_framework.exceptions import APIException
from rest_framework.response import Response
from rest_framework.views import exception_handler

from console.units import bytes_label


def told(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's own answer, which tells reasons that belong to no field as a bare list."""
    response = exception_handler(error, context)
    if response is not None and isinstance(response.data, list):
        response.data = {"non_field_errors": response.data}
    return response


# What no view answers: Django's handlers. The text says nothing of the error, which may hold anything.


def _is_program(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def refused(request: HttpRequest, told: str, status: int) -> HttpResponse:
    """An answer that needs neither session nor templates."""
    if _is_program(request):
        return JsonResponse({"detail": told}, status=status)
    return HttpResponse(f"{told}\n", status=status, content_type="text/plain; charset=utf-8")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, RequestDataTooBig):
        told = _("The request is too large: at most %s without files.")
        return refused(request, told % bytes_label(settings.DATA_UPLOAD_MAX_MEMORY_SIZE), 413)
    if isinstance(exception, BadRequest):
        # Its text is ours, or Django's, and fixed.
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
    return defaults.page_not_found(request, exception)


def failed(request: HttpRequest) -> HttpResponse:
    if _is_program(request):
        return JsonResponse({"detail": _("Taifish made a mistake; its log tells more.")}, status=500)
    return defaults.server_error(request)


class Conflict(APIException):
    """What is asked for does not fit the state things are in."""

    status_code = 409
    default_code = "conflict"
