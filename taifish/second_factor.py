"""Second factors of local users, by django-allauth: codes of an app (TOTP), security keys (WebAuthn), recovery codes.

allauth has the flows. Here are the limits of the login page, which hold for each second factor too, the encryption of
secrets, and the use of each code once in all web processes: allauth remembers used codes in each process separately.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.forms import ReauthenticateForm as AllauthPasswordForm
from allauth.core import context
from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from allauth.mfa.webauthn.forms import AddWebAuthnForm, AuthenticateWebAuthnForm, ReauthenticateWebAuthnForm
from axes.handlers.proxy import AxesProxyHandler
from django import forms
from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from console.recent_login import confirm, is_recent
from instances import crypto

from .login import PASSWORDS, AddressLimit, TooManyAttempts, client_address
from .login_sessions import OPENED

T = TypeVar("T")


class AccountAdapter(DefaultAccountAdapter):
    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "incorrect_password": gettext_lazy("The password is wrong."),
        "too_many_login_attempts": gettext_lazy("Too many failed logins of this user. Try again in 15 minutes."),
    }

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request) or "::"

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_login_stages(self) -> list[str]:
        return ["allauth.mfa.stages.AuthenticateStage"]

    def login(self, request: HttpRequest, user: User) -> None:
        login(request, user, backend=settings.AUTHENTICATION_BACKENDS[-1])

    def add_message(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        """The pages say enough."""

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        return not is_recent(context.request)

    def get_reauthentication_methods(self, user: User) -> list[dict[str, Any]]:
        """Users of the OpenID provider log in there again; others use the password or a second factor."""
        if settings.TAIFISH_OIDC and context.request.session.get(OPENED):
            return [{"id": "oidc", "description": settings.TAIFISH_OIDC.name, "url": reverse("oidc-again")}]
        return super().get_reauthentication_methods(user)


def confirmed(sender: Any, request: HttpRequest, reauthenticated: bool = False, **kwargs: Any) -> None:
    """Receiver of allauth's `authentication_step_completed`."""
    if reauthenticated:
        confirm(request)


class FactorAdapter(DefaultMFAAdapter):
    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": gettext_lazy("The code or the security key is wrong."),
    }

    def encrypt(self, text: str) -> str:
        return crypto.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return crypto.decrypt(encrypted_text)

    def _get_user_identifier(self, user: User) -> str:
        return user.get_username()

    def _get_site_name(self) -> str:
        return "Taifish"

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:
        number = Authenticator.objects.filter(user=user, type=type).count() + 1
        return _("Security key %d") % number


def guarded(user: User, check: Callable[[], T]) -> T:
    """The result of a check of a second factor, under the limits of a password.

    Raises TooManyAttempts without a check; a ValidationError of the check counts as a failed login.
    """
    request, credentials = context.request, {"username": user.get_username()}
    limit = AddressLimit(request, PASSWORDS)
    with limit.turn(limit.failures()):
        if not AxesProxyHandler.is_allowed(request, credentials):
            seconds = int(settings.AXES_COOLOFF_TIME.total_seconds())
            minutes = math.ceil(seconds / 60)
            message = ngettext(
                "Too many wrong passwords. Try again in %d minute.",
                "Too many wrong passwords. Try again in %d minutes.",
                minutes,
            )
            raise TooManyAttempts(message % minutes, seconds)
        try:
            return check()
        except forms.ValidationError:
            user_login_failed.send(sender=__name__, credentials=credentials, request=request)
            limit.count()
            raise


@transaction.atomic
def spend(authenticator: Authenticator, code: str) -> bool:
    """Use a code of an app, and return whether it, or a later one, was not used before (RFC 6238, section 5.2)."""
    row = Authenticator.objects.select_for_update().get(pk=authenticator.pk)
    secret = crypto.decrypt(row.data["secret"])
    steps = [
        step
        for step in yield_hotp_counters_from_time()
        if compare_user_code(actual=code, expected=format_hotp_value(hotp_value(secret, step)))
    ]
    if max(steps, default=0) <= row.data.get("last_step", 0):
        return False
    row.data["last_step"] = max(steps)
    row.save(update_fields=["data"])
    return True


def spend_first(sender: Any, request: HttpRequest, authenticator: Authenticator, **kwargs: Any) -> None:
    """Receiver of allauth's `authenticator_added`: the code that set up an app is used too."""
    if authenticator.type == Authenticator.Type.TOTP:
        spend(authenticator, request.POST.get("code", ""))


class CodeField(forms.CharField):
    def __init__(self) -> None:
        widget = UnfoldAdminTextInputWidget(attrs={"autocomplete": "one-time-code", "autofocus": True})
        super().__init__(label=gettext_lazy("One-time code"), max_length=20, widget=widget)


class OnceOnly:
    """A code of an app or a recovery code."""

    def clean_code(self) -> str:
        return guarded(self.user, self._check)

    def _check(self) -> str:
        code = super().clean_code()
        if self.authenticator.type == Authenticator.Type.TOTP and not spend(self.authenticator, code):
            raise FactorAdapter().validation_error("incorrect_code")
        return code


class CodeForm(OnceOnly, AuthenticateForm):
    code = CodeField()


class CodeAgainForm(OnceOnly, ReauthenticateForm):
    code = CodeField()


class FirstCodeForm(ActivateTOTPForm):
    code = CodeField()


class Answered:
    """The answer of a security key."""

    def clean_credential(self) -> Authenticator:
        return guarded(self.user, super().clean_credential)


class KeyForm(Answered, AuthenticateWebAuthnForm):
    pass


class KeyAgainForm(Answered, ReauthenticateWebAuthnForm):
    pass


class NewKeyForm(AddWebAuthnForm):
    name = forms.CharField(
        label=gettext_lazy("Name"), max_length=100, required=False, widget=UnfoldAdminTextInputWidget()
    )


class PasswordForm(AllauthPasswordForm):
    password = forms.CharField(
        label=gettext_lazy("Password"),
        strip=False,
        max_length=4096,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password", "autofocus": True}),
    )
