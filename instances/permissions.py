"""Pages that are no model's: who may open them stands on the page, where the sidebar reads it too."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

Page = Callable[..., HttpResponse]


def needs(*permissions: str) -> Callable[[Page], Page]:
    """A page for those who have all of these permissions, which it carries as `needs`."""

    def of(page: Page) -> Page:
        @wraps(page)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.has_perms(permissions):
                raise PermissionDenied
            return page(request, *args, **kwargs)

        guarded.needs = permissions
        return guarded

    return of
