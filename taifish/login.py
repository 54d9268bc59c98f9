"""The door: who knocks, and what they are told who knocked too often. django-axes counts."""

from __future__ import annotations

import ipaddress
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import ngettext
from rest_framework.authentication import BasicAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request


def client_address(request: HttpRequest) -> str | None:
    """Where a request comes from: the address that connected, or behind a proxy the one that it wrote down last.

    What stands before that in `X-Forwarded-For` anybody may have made up. None for a Unix socket.
    """
    told = request.META.get("REMOTE_ADDR", "")
    if settings.TAIFISH_BEHIND_PROXY:
        told = request.META.get("HTTP_X_FORWARDED_FOR", told).rpartition(",")[2].strip()
    try:
        return str(ipaddress.ip_address(told))
    except ValueError:
        return None


def locked(request: HttpRequest, response: HttpResponse | None, credentials: dict[str, Any]) -> HttpResponse:
    """The answer to one try too many, by a page or a program; whether the password was right is not told."""
    minutes = int(settings.AXES_COOLOFF_TIME.total_seconds() // 60)
    told = (
        ngettext(
            "Too many wrong passwords. Try again in %d minute.",
            "Too many wrong passwords. Try again in %d minutes.",
            minutes,
        )
        % minutes
    )
    if request.path.startswith("/api/"):
        return JsonResponse({"detail": told}, status=429, headers={"Retry-After": minutes * 60})
    context = {**admin.site.each_context(request), "title": "", "told": told}
    return render(request, "taifish/locked.html", context, status=429)


class NoPasswords(ModelBackend):
    """Where only the OpenID provider lets people in: users and permissions as ever, and no password is right."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        return None


class PasswordAuthentication(BasicAuthentication):
    """User name and password with each request, counted like those of the login page."""

    def authenticate_credentials(self, userid: str, password: str, request: Request | None = None) -> Any:
        if "\0" in userid + password:
            # The store has no such character, and no such user.
            raise AuthenticationFailed
        # Not the API's own request: what axes notes on it must reach axes' middleware.
        return super().authenticate_credentials(userid, password, getattr(request, "_request", request))
