"""Login: client address, limits on failed attempts, lockout response, password authentication.

django-axes counts failures by name and address. `AddressLimit` counts them by address alone, as rows of the same table:
what deletes rows of django-axes (its clean-up, its commands, "Locked logins") releases an address too.
"""

from __future__ import annotations

import ipaddress
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from threading import Condition
from typing import Any

from allauth.usersessions.models import UserSession
from axes.models import AccessAttempt
from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import authenticate
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.views import PasswordChangeView
from django.db.models import Case, F, QuerySet, When
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from rest_framework.authentication import BasicAuthentication, get_authorization_header
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.request import Request
from unfold.forms import AdminOwnPasswordChangeForm

from audit.services import logged_in_from, record_use

from .models import SecondFactorGroup

#: Kind of failure, in the column `user_agent` of the row of an address. Its `username` is empty.
PASSWORDS, TOKENS = "passwords", "tokens"

#: Limits for password checks that wait in a web process: of all addresses, and of one, the one that is being hashed
#: included. Together with that one they are fewer than the threads of a web process, so that other requests always get
#: a thread.
WAITING, OF_ONE_ADDRESS = 5, 4

#: Seconds for which attempts are counted, and addresses at most.
COUNTED_FOR, COUNTED = 60, 10_000


def client_address(request: HttpRequest) -> str | None:
    """The address of the client: the peer or, behind a proxy, the last entry of `X-Forwarded-For`.

    Clients can forge the other entries. None for a Unix socket.
    """
    address = request.META.get("REMOTE_ADDR", "")
    if settings.TAIFISH_BEHIND_PROXY:
        address = request.META.get("HTTP_X_FORWARDED_FOR", address).rpartition(",")[2].strip()
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return None


def counted_address(address: str | None) -> str:
    """The address for which failures are counted: for IPv6 the /64 network, because one client can use all of it.

    "::" stands for clients without an address, such as those of a Unix socket.
    """
    ip = ipaddress.ip_address(address or "::")
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ipaddress.ip_network((int(ip), 64), strict=False).network_address
    return str(ip)


class TooManyAttempts(APIException):
    """An attempt that is refused without a check of the password or token. `wait` is in seconds."""

    status_code = 429

    def __init__(self, message: str, wait: int) -> None:
        super().__init__(message, "throttled")
        self.wait = wait


class Queue:
    """Password checks of a process, one at a time: first of addresses from which somebody logged in lately, then of
    those with fewest failures, then with fewest attempts within about a minute, then first come.

    While many addresses guess, a person at a known one waits for one hash at most. If the queue is full, who would be
    last leaves it.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting: list[tuple[bool, int, int, int, str]] = []
        self._hashing: tuple[bool, int, int, int, str] | None = None
        self._numbers = itertools.count()
        #: Attempts by address, those that were refused included, since a moment.
        self._attempts: Counter[str] = Counter()
        self._since = time.monotonic()

    @contextmanager
    def turn(self, address: str, failures: int, most: int, known: bool = False) -> Iterator[None]:
        """Wait for one's turn; at most so many of an address wait. Raises TooManyAttempts."""
        with self._changed:
            if time.monotonic() - self._since > COUNTED_FOR or len(self._attempts) > COUNTED:
                self._attempts.clear()
                self._since = time.monotonic()
            self._attempts[address] += 1
            mine = (not known, failures, self._attempts[address], next(self._numbers), address)
            others = [*self._waiting, self._hashing] if self._hashing else self._waiting
            if sum(other[-1] == address for other in others) >= most:
                raise _too_many()
            self._waiting.append(mine)
            if len(self._waiting) > WAITING:
                self._waiting.remove(max(self._waiting))
                self._changed.notify_all()
            self._changed.wait_for(
                lambda: mine not in self._waiting or (self._hashing is None and min(self._waiting) == mine)
            )
            if mine not in self._waiting:
                raise _too_many()
            self._waiting.remove(mine)
            self._hashing = mine
        try:
            yield
        finally:
            with self._changed:
                self._hashing = None
                self._changed.notify_all()


def _too_many() -> TooManyAttempts:
    return TooManyAttempts(_("Too many logins at once. Try again in a second."), 1)


class AddressLimit:
    """Failed attempts from the address of a request, by kind: PASSWORDS or TOKENS.

    The counts are in the store and shared by all web processes. After TAIFISH_LOGIN_ADDRESS_TRIES failures within
    TAIFISH_LOGIN_PAUSE, the address is refused for that time; successes in between do not reset the count.
    """

    queue = Queue()

    def __init__(self, request: HttpRequest, wrong: str) -> None:
        self.client = client_address(request)
        self.address = counted_address(self.client)
        self.key = {"username": "", "ip_address": self.address, "user_agent": wrong}

    def _counting(self) -> QuerySet[AccessAttempt]:
        return AccessAttempt.objects.filter(**self.key, attempt_time__gt=timezone.now() - settings.AXES_COOLOFF_TIME)

    def failures(self) -> int:
        """The number of failures, by one query. Raises TooManyAttempts if the limit is reached."""
        row = self._counting().only("failures_since_start", "attempt_time").first()
        if row is None:
            return 0
        if row.failures_since_start >= settings.TAIFISH_LOGIN_ADDRESS_TRIES:
            rest = row.attempt_time + settings.AXES_COOLOFF_TIME - timezone.now()
            seconds = max(1, math.ceil(rest.total_seconds()))
            minutes = math.ceil(seconds / 60)
            message = ngettext(
                "Too many failed logins from this address. Try again in %d minute.",
                "Too many failed logins from this address. Try again in %d minutes.",
                minutes,
            )
            raise TooManyAttempts(message % minutes, seconds)
        return row.failures_since_start

    def count(self) -> None:
        """Add a failure. The pause begins when the limit is reached. Raises TooManyAttempts during the pause."""
        self.failures()
        last = settings.TAIFISH_LOGIN_ADDRESS_TRIES - 1
        begun = Case(When(failures_since_start=last, then=timezone.now()), default=F("attempt_time"))
        more = {"failures_since_start": F("failures_since_start") + 1, "attempt_time": begun}
        if self._counting().update(**more):
            return
        AccessAttempt.objects.filter(attempt_time__lte=timezone.now() - settings.AXES_COOLOFF_TIME).delete()
        _row, created = AccessAttempt.objects.get_or_create(**self.key, defaults={"failures_since_start": 1})
        if not created:
            self._counting().update(**more)

    @contextmanager
    def turn(self, failures: int) -> Iterator[None]:
        """Wait for permission to hash a password in this process. Raises TooManyAttempts.

        An address with as many failures as one login may have gets one permission at a time.
        """
        few = failures < settings.AXES_FAILURE_LIMIT
        known = few and logged_in_from(self.client)
        with self.queue.turn(self.address, failures, OF_ONE_ADDRESS if few else 1, known):
            yield


def release(addresses: set[str | None]) -> None:
    """Delete the failures of these addresses, of both kinds."""
    AccessAttempt.objects.filter(username="", ip_address__in=set(map(counted_address, addresses))).delete()


def refusal(request: HttpRequest, message: str, seconds: int) -> HttpResponse:
    """429 as JSON or as a page. It does not reveal whether the password was right."""
    if request.path.startswith("/api/"):
        answer: HttpResponse = JsonResponse({"detail": message}, status=429)
    else:
        context = {**admin.site.each_context(request), "title": "", "message": message}
        answer = render(request, "taifish/locked.html", context, status=429)
    answer.headers["Retry-After"] = str(seconds)
    return answer


def locked(request: HttpRequest, response: HttpResponse | None, credentials: dict[str, Any]) -> HttpResponse:
    """The response if a user name has too many failures from one address (called by django-axes)."""
    minutes = int(settings.AXES_COOLOFF_TIME.total_seconds() // 60)
    message = ngettext(
        "Too many wrong passwords. Try again in %d minute.",
        "Too many wrong passwords. Try again in %d minutes.",
        minutes,
    )
    return refusal(request, message % minutes, minutes * 60)


def limited(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Decorator for a view that checks passwords: turns TooManyAttempts into a response."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except TooManyAttempts as error:
            return refusal(request, str(error.detail), error.wait)

    return answer


class Passwords(ModelBackend):
    """Authentication by name and password, limited by address before any password is hashed."""

    def authenticate(
        self, request: HttpRequest, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> Any:
        limit = AddressLimit(request, PASSWORDS)
        with limit.turn(limit.failures()):
            user = super().authenticate(request, username, password, **kwargs)
        if user is None:
            limit.count()
        return user


class NoPasswords(ModelBackend):
    """For logins through the OpenID provider only: checks permissions, and accepts no password."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        return None


class PasswordAuthentication(BasicAuthentication):
    """User name and password with each request, with the limits of the login page; only with TAIFISH_API_BASIC."""

    def authenticate(self, request: Request) -> Any:
        given = get_authorization_header(request)[:6].lower() == b"basic "
        if given and not settings.TAIFISH_API_BASIC:
            raise AuthenticationFailed(_("Names and passwords are not accepted. Create an API token, and send it."))
        return super().authenticate(request)

    def authenticate_credentials(self, userid: str, password: str, request: Request | None = None) -> Any:
        if "\0" in userid + password:
            # The store cannot store NUL, so no such user exists.
            raise AuthenticationFailed
        # Django's request, not REST framework's: axes' middleware reads attributes that axes sets on it.
        user, auth = super().authenticate_credentials(userid, password, getattr(request, "_request", request))
        if user.authenticator_set.exists() or SecondFactorGroup.has(user):
            raise AuthenticationFailed(_("This user logs in with a second factor. Use an API token here."))
        record_use("login", user, user, client_address(request), by="password with a request")
        return user, auth


class OwnPasswordForm(AdminOwnPasswordChangeForm):
    """Checks the old password with the limits of a login."""

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

    def clean_old_password(self) -> str:
        old = self.cleaned_data["old_password"]
        if authenticate(self.request, username=self.user.get_username(), password=old) is None:
            raise forms.ValidationError(self.error_messages["password_incorrect"], "password_incorrect")
        return old


class OwnPasswordPage(PasswordChangeView):
    form_class = OwnPasswordForm
    success_url = reverse_lazy("admin:password_change_done")

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "request": self.request}

    def form_valid(self, form: OwnPasswordForm) -> HttpResponse:
        response = super().form_valid(form)
        # The session has another key since.
        UserSession.objects.create_from_request(self.request)
        return response

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        return super().get_context_data(**{**admin.site.each_context(self.request), **context})


@limited
def password_change_page(request: HttpRequest) -> HttpResponse:
    """The admin's page for changing one's password, with a limit on guesses of the old one."""
    return OwnPasswordPage.as_view()(request)
