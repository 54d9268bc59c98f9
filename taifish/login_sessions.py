"""Sessions of logged-in users: time-outs, the required second factor, and the page that lists and ends them.

Django's store ends a session: its expiry is moved at most once a minute, and never past TAIFISH_SESSION_MAX.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import logout
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from console.recent_login import confirm

from .models import SecondFactorGroup

#: Keys in the session: time of the login; of the last request that counted; whether the user must set up a second
#: factor; whether the login was through the OpenID provider.
STARTED, SEEN, SET_UP, OPENED = "login_started", "login_seen", "second_factor_missing", "oidc"
#: In seconds.
NOTED_EVERY = 60
#: Sent by pages that refresh themselves. It does not keep a session alive.
LIVE = "X-Taifish-Live"
#: What users may open who must set up a second factor: names of pages, and beginnings of addresses.
SET_UP_PAGES = ("mfa_index", "account_reauthenticate", "account_logout", "admin:jsi18n", "set_language")
MOST_LISTED = 200


def lacks_second_factor(user: User) -> bool:
    """Whether the user is in a group that needs a second factor, and has none."""
    return SecondFactorGroup.has(user) and not user.authenticator_set.exists()


def begin(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    """Receiver of `user_logged_in`."""
    session = request.session
    session[STARTED] = session[SEEN] = time.time()
    session[SET_UP] = lacks_second_factor(user)
    session.pop(OPENED, None)
    confirm(request)
    _prolong(request)
    # Nothing else deletes what has ended.
    Session.objects.filter(expire_date__lt=timezone.now()).delete()
    UserSession.objects.exclude(session_key__in=Session.objects.values("session_key")).delete()


def _prolong(request: HttpRequest) -> None:
    """Move the end of the session. The cookie has the same end."""
    left = request.session[STARTED] + settings.TAIFISH_SESSION_MAX.total_seconds() - time.time()
    request.session.set_expiry(int(min(settings.TAIFISH_SESSION_IDLE.total_seconds(), max(left, 0))))


def middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Prolong the session of a request, and let users without a required second factor open nothing but its pages."""

    def answer(request: HttpRequest) -> HttpResponse:
        if settings.SESSION_COOKIE_NAME in request.COOKIES and request.user.is_authenticated:
            if LIVE not in request.headers:
                note(request)
            if _must_set_up(request):
                return _refused(request)
        return get_response(request)

    return answer


def note(request: HttpRequest) -> None:
    """Note that the session is in use, at most once a minute."""
    session, now = request.session, time.time()
    if now - session.get(SEEN, 0) < NOTED_EVERY:
        return
    if now - session.setdefault(STARTED, now) > settings.TAIFISH_SESSION_MAX.total_seconds():
        logout(request)
        return
    session[SEEN] = now
    session[SET_UP] = lacks_second_factor(request.user)
    _prolong(request)
    if not UserSession.objects.filter(session_key=session.session_key).update(last_seen_at=timezone.now()):
        # Begun before sessions were listed, or renamed by a change of the password.
        UserSession.objects.create_from_request(request)


def _must_set_up(request: HttpRequest) -> bool:
    session = request.session
    if not session.get(SET_UP) or session.get(OPENED):
        return False
    if request.path_info.startswith(tuple(map(reverse, SET_UP_PAGES))):
        return False
    if lacks_second_factor(request.user):
        return True
    session[SET_UP] = False
    return False


def _refused(request: HttpRequest) -> HttpResponse:
    if request.path_info.startswith("/api/"):
        return JsonResponse({"detail": _("Set up a second factor first: log in to the web pages.")}, status=403)
    return HttpResponseRedirect(reverse("mfa_index"))


# The page


def listed(user: User) -> QuerySet[UserSession]:
    """The sessions that a user may see and end: for a superuser all, else the user's own. The latest first."""
    live = Session.objects.filter(expire_date__gt=timezone.now()).values("session_key")
    rows = UserSession.objects.filter(session_key__in=live, user__is_active=True)
    return (rows if user.is_superuser else rows.filter(user=user)).select_related("user").order_by("-last_seen_at")


@require_http_methods(["GET", "HEAD", "POST"])
def sessions_page(request: HttpRequest) -> HttpResponse:
    rows, current = listed(request.user), request.session.session_key
    if request.method == "POST":
        return _end(request, rows, current)
    own = rows.filter(user=request.user)
    others = rows.exclude(user=request.user)
    context = {
        **admin.site.each_context(request),
        "title": _("Login sessions"),
        "current": current,
        "own": own,
        "others": others[:MOST_LISTED] if request.user.is_superuser else (),
        "n_others": others.count() if request.user.is_superuser else 0,
    }
    return TemplateResponse(request, "taifish/login_sessions.html", context)


def _end(request: HttpRequest, rows: QuerySet[UserSession], current: str) -> HttpResponse:
    """End the posted session, or all of one's own but this one."""
    chosen = request.POST.get("session", "")
    if chosen == "others":
        ended = list(rows.filter(user=request.user).exclude(session_key=current))
    else:
        ended = list(rows.filter(pk=chosen)) if chosen.isdecimal() and len(chosen) < 19 else []
        if not ended:
            raise Http404
    for row in ended:
        row.end()
    if any(row.session_key == current for row in ended):
        logout(request)
        return HttpResponseRedirect(reverse("admin:login"))
    messages.success(request, _("The session has ended.") if len(ended) == 1 else _("The sessions have ended."))
    return HttpResponseRedirect(reverse("login-sessions"))
