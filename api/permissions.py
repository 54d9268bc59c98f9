"""Permissions of endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import SAFE_METHODS, BasePermission, DjangoModelPermissions
from rest_framework.request import Request

from console.recent_login import is_recent

if TYPE_CHECKING:
    # rest_framework.views imports this module, through the settings.
    from rest_framework.views import APIView


class ViewAndModelPermissions(DjangoModelPermissions):
    """Django's model permissions, with `view` required for reading.

    A viewset's `needs` maps an action to the permission required besides `view`, instead of that of the method.
    """

    perms_map = DjangoModelPermissions.perms_map | {
        "GET": ["%(app_label)s.view_%(model_name)s"],
        "HEAD": ["%(app_label)s.view_%(model_name)s"],
    }

    def has_permission(self, request: Request, view: APIView) -> bool:
        needed = getattr(view, "needs", {}).get(getattr(view, "action", None))
        if not needed:
            return bool(super().has_permission(request, view))
        seen = self.get_required_permissions("GET", self._queryset(view).model)
        return bool(request.user and request.user.has_perms([*seen, needed]))


class RecentLoginToWrite(BasePermission):
    """A session of the web pages must have a recent login to write. Programs with a token or a password need none."""

    message = _("The login of this session is older than five minutes. Log in again, or use a token.")

    def has_permission(self, request: Request, view: APIView) -> bool:
        by_session = isinstance(request.successful_authenticator, SessionAuthentication)
        return request.method in SAFE_METHODS or not by_session or is_recent(request._request)
