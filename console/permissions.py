"""Permissions of pages without a model, which the sidebar reads too."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from .visibility import limit_of

Page = Callable[..., HttpResponse]


def needs(*permissions: str, whole_fleet: bool = False) -> Callable[[Page], Page]:
    """Restrict a page to users with all these permissions and, for the `whole_fleet`, without a limit on instances. The
    page gets the check as `may_open`."""

    def may_open(request: HttpRequest) -> bool:
        return request.user.has_perms(permissions) and not (whole_fleet and limit_of(request.user) is not None)

    def of(page: Page) -> Page:
        @wraps(page)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not may_open(request):
                raise PermissionDenied
            return page(request, *args, **kwargs)

        guarded.may_open = may_open
        return guarded

    return of
