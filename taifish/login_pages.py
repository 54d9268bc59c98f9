"""Pages of one's own login: login and logout, second factors, sessions, and asking for the login again.

The flows are allauth's, and the names of its URLs are those that it reverses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.internal.flows.login import perform_password_login
from allauth.account.models import Login
from allauth.account.views import reauthenticate
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as webauthn
from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache

from console.recent_login import recent_login_needed

from . import oidc
from .login import limited, password_change_page
from .login_sessions import sessions_page


class LoginPage(LoginView):
    """The admin's login page. After the password allauth asks for the second factor of users who have one."""

    def form_valid(self, form: AdminAuthenticationForm) -> HttpResponse:
        user = form.get_user()
        login = Login(user=user, redirect_url=self.get_success_url())
        return perform_password_login(self.request, {"username": user.get_username()}, login)


@never_cache
@limited
def login_page(request: HttpRequest) -> HttpResponse:
    """With the button of the OpenID provider, if there is one."""
    if request.method == "GET" and admin.site.has_permission(request):
        return HttpResponseRedirect(reverse("admin:index"))
    context = {
        **admin.site.each_context(request),
        **oidc.on_login_page(),
        "title": _("Log in"),
        "subtitle": None,
        "app_path": request.get_full_path(),
        "username": request.user.get_username(),
    }
    if "next" not in request.GET and "next" not in request.POST:
        context["next"] = reverse("admin:index")
    request.current_app = admin.site.name
    form, template = admin.site.login_form or AdminAuthenticationForm, admin.site.login_template or "admin/login.html"
    return LoginPage.as_view(authentication_form=form, template_name=template, extra_context=context)(request)


View = Callable[..., HttpResponse]


def dressed(view: View, title: Any = "") -> View:
    """A view of allauth with the admin's context, and the limits of the login page."""

    @wraps(view)
    def page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        if getattr(response, "is_rendered", True) is False:
            response.context_data = {
                **admin.site.each_context(request),
                "title": title,
                **(response.context_data or {}),
            }
        return response

    return limited(page)


def own(view: View, title: Any = "") -> View:
    """A page of a logged-in user."""
    return admin.site.admin_view(dressed(view, title))


def guarded(view: View, title: Any = "") -> View:
    """A page of a logged-in user that needs a recent login, even to be read."""
    return admin.site.admin_view(recent_login_needed(dressed(view, title), methods=("GET", "HEAD", "POST")))


CONFIRM, FACTOR = _("Confirm that it is you"), _("Second factor")

urlpatterns = [
    path("login/", login_page, name="account_login"),
    path("login/second-factor/", dressed(mfa.authenticate), name="mfa_authenticate"),
    path("logout/", oidc.logout_page, name="account_logout"),
    path("password_change/", admin.site.admin_view(password_change_page, cacheable=True)),
    path("confirm-login/", own(reauthenticate, CONFIRM), name="account_reauthenticate"),
    path("confirm-login/code/", own(mfa.reauthenticate, CONFIRM), name="mfa_reauthenticate"),
    path("confirm-login/key/", own(webauthn.reauthenticate_webauthn, CONFIRM), name="mfa_reauthenticate_webauthn"),
    path("confirm-login/provider/", own(oidc.again_page, CONFIRM), name="oidc-again"),
    path("login-sessions/", admin.site.admin_view(sessions_page), name="login-sessions"),
    path("second-factor/", own(mfa.index, FACTOR), name="mfa_index"),
    path("second-factor/", own(mfa.index, FACTOR), name="mfa_list_webauthn"),
    path("second-factor/app/", guarded(totp.activate_totp, _("Set up an app")), name="mfa_activate_totp"),
    path("second-factor/app/remove/", guarded(totp.deactivate_totp, _("Remove the app")), name="mfa_deactivate_totp"),
    path("second-factor/keys/add/", guarded(webauthn.add_webauthn, _("Add a security key")), name="mfa_add_webauthn"),
    path(
        "second-factor/keys/<int:pk>/remove/",
        guarded(webauthn.remove_webauthn, _("Remove a security key")),
        name="mfa_remove_webauthn",
    ),
    path(
        "second-factor/codes/", guarded(codes.view_recovery_codes, _("Recovery codes")), name="mfa_view_recovery_codes"
    ),
    path(
        "second-factor/codes/new/",
        guarded(codes.generate_recovery_codes, _("New recovery codes")),
        name="mfa_generate_recovery_codes",
    ),
]
