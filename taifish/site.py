"""The admin site."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest
from unfold.sites import UnfoldAdminSite


class Site(UnfoldAdminSite):
    """unfold's, without the list of models that each page would make for a navigation that `sidebar` replaces."""

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[dict[str, Any]]:
        return super().get_app_list(request, app_label) if app_label else []


class PagesConfig(AdminConfig):
    default_site = "taifish.site.Site"
