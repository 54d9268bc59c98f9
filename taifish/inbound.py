"""Checks of every request before its view; reading the rest of its body, and what pages may not use, afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.utils.translation import gettext as _

from api.errors import refused
from console.units import bytes_label

#: What no page uses. A second factor may be a security key.
POLICY = (
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), "
    "midi=(), payment=(), usb=()"
)

#: Bytes of the largest request: a file of 50,000 instances.
LARGEST = 16 * 1024**2

#: Limits for reading an unused body, in bytes and seconds.
DRAINED, DRAINING = 64 * 1024**2, 10


def middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Refuse addresses with NUL, which the store cannot store, and too large requests, and read the rest of a body.

    A server that closes a connection with unread data resets it, and the client may not receive the answer.
    """

    def answer(request: HttpRequest) -> HttpResponse:
        # The API checks its parameters itself, and names the invalid one.
        query = "" if request.path_info.startswith("/api/") else request.META.get("QUERY_STRING", "")
        if "%00" in query or "\0" in request.path_info:
            response = refused(request, _("The address contains the character NUL (%00). Leave it out."), 400)
        # gunicorn admits digits only. A body without a stated length is empty to Django.
        elif int(request.META.get("CONTENT_LENGTH") or 0) > LARGEST:
            text = _("The request is too large: at most %s. Split the file.")
            response = refused(request, text % bytes_label(LARGEST), 413)
        elif request.method == "TRACE":
            response = HttpResponse(status=405)
        else:
            response = get_response(request)
        response.headers.setdefault("Permissions-Policy", POLICY)
        if request.path_info.startswith("/api/"):
            response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        drain(request)
        return response

    return answer


def drain(request: HttpRequest) -> None:
    end, left = time.monotonic() + DRAINING, DRAINED
    try:
        while left > 0 and time.monotonic() < end and (read := request.read(65536)):
            left -= len(read)
    except UnreadablePostError:
        # The client has gone.
        pass
