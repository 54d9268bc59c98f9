"""The time zone in which pages show moments and take them.

Days do not follow it: the days of sizes, periods and end dates are those of TAIFISH_TIME_ZONE (`work.days`).
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from functools import cache

from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from console.suggestions import nearest

from .language import is_for_programs

#: As Django's cookie of the language: it belongs to a browser, and names no person.
COOKIE = "taifish_time_zone"
YEAR = 365 * 86400

View = Callable[[HttpRequest], HttpResponse]


@cache
def zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def middleware(get_response: View) -> View:
    """Pages use the time zone of the cookie, else that of the installation, as responses for programs do."""

    def respond(request: HttpRequest) -> HttpResponse:
        chosen = "" if is_for_programs(request) else request.COOKIES.get(COOKIE, "")
        # Until the next request: rows of a file are made after this function has returned.
        if chosen in zones():
            timezone.activate(chosen)
        else:
            timezone.deactivate()
        return get_response(request)

    return respond


@require_http_methods(["GET", "HEAD", "POST"])
def time_zone_page(request: HttpRequest) -> HttpResponse:
    """Show or set the time zone of this browser."""
    error, chosen = "", request.POST.get("zone", "").strip()
    if request.method == "POST":
        if not chosen or chosen in zones():
            return _set(request, chosen)
        error = _("There is no time zone “%s”.") % chosen + nearest(chosen, zones())
    context = {
        **admin.site.each_context(request),
        "title": gettext_lazy("Time zone"),
        "zones": sorted(zones()),
        "chosen": chosen if error else timezone.get_current_timezone_name(),
        "installation": settings.TIME_ZONE,
        "error": error,
    }
    return TemplateResponse(request, "taifish/time_zone.html", context, status=400 if error else 200)


def _set(request: HttpRequest, zone: str) -> HttpResponse:
    response = HttpResponseRedirect(reverse("time-zone"))
    if zone:
        response.set_cookie(
            COOKIE, zone, max_age=YEAR, secure=settings.LANGUAGE_COOKIE_SECURE, httponly=True, samesite="Lax"
        )
    else:
        response.delete_cookie(COOKIE, samesite="Lax")
    messages.success(request, _("Moments are shown in %s.") % (zone or settings.TIME_ZONE))
    return response
