"""Actions that need a login of the last five minutes: they ask for it, and then go on with the form that was posted.

The page that asks is the URL `account_reauthenticate`, which calls `confirm`.
"""

from __future__ import annotations

import json
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from cryptography.fernet import Fernet, InvalidToken
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils.crypto import salted_hmac
from django.utils.datastructures import MultiValueDict
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _

#: Seconds for which a login counts as recent, and for which a posted form is kept.
RECENT, KEPT_FOR = 300, 600
#: In bytes. A larger form is not kept.
LARGEST = 100_000
#: Keys in the session: when the user last proved the identity; the form that waits for it.
CONFIRMED, FORM = "login_confirmed", "form_that_waits"
#: Parameter of the address of a page that goes on with a kept form.
RESUME = "_resume"

View = Callable[..., HttpResponse]


def confirm(request: HttpRequest) -> None:
    """Note that the user has just proved the identity: at a login, or when asked again."""
    request.session[CONFIRMED] = time.time()


def is_recent(request: HttpRequest) -> bool:
    confirmed = request.session.get(CONFIRMED, 0)
    return request.user.is_authenticated and 0 <= time.time() - confirmed < RECENT


def recent_login_needed(view: View, methods: tuple[str, ...] = ("POST",)) -> View:
    """Decorator for a view that answers these methods only after a recent login.

    Without one it redirects to the page that asks for it. A posted form waits in the session, encrypted, and the view
    gets it afterwards; files do not wait.
    """

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if is_recent(request):
            if RESUME in request.GET:
                _resume(request)
            return view(request, *args, **kwargs)
        if request.method not in methods:
            return view(request, *args, **kwargs)
        back = _keep(request) if request.method == "POST" else request.get_full_path()
        return HttpResponseRedirect(f"{reverse('account_reauthenticate')}?{urlencode({'next': back})}")

    return guarded


class RecentLoginAdmin(ModelAdmin):
    """Admin pages on which changes need a recent login. Reading needs none."""

    @method_decorator(recent_login_needed)
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(request, *args, **kwargs)

    @method_decorator(recent_login_needed)
    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().delete_view(request, *args, **kwargs)

    @method_decorator(recent_login_needed)
    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changelist_view(request, *args, **kwargs)


def _fernet() -> Fernet:
    return Fernet(urlsafe_b64encode(salted_hmac(__name__, "form", algorithm="sha256").digest()))


def _keep(request: HttpRequest) -> str:
    """Keep the posted form, and return the address that goes on with it."""
    form = request.POST.urlencode()
    if request.FILES or len(form) > LARGEST:
        messages.warning(request, _("The form was not kept. Enter it again."))
        return request.get_full_path()
    token = secrets.token_urlsafe(16)
    kept = json.dumps([token, request.path, form])
    request.session[FORM] = _fernet().encrypt(kept.encode()).decode()
    query = request.GET.copy()
    query[RESUME] = token
    return f"{request.path}?{query.urlencode()}"


def _resume(request: HttpRequest) -> None:
    """Make the request the one that posted the kept form, if it is the form of this address."""
    query = request.GET.copy()
    token = query.pop(RESUME)[-1]
    request.GET = query
    request.META["QUERY_STRING"] = query.urlencode()
    try:
        kept = json.loads(_fernet().decrypt(request.session.pop(FORM, "").encode(), ttl=KEPT_FOR))
    except InvalidToken:
        kept = []
    if request.method == "GET" and kept[:2] == [token, request.path]:
        request.method = request.META["REQUEST_METHOD"] = "POST"
        request.POST = QueryDict(kept[2])
        request._files = MultiValueDict()
