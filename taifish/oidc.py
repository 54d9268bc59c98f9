"""Login through an OpenID provider. Authlib implements the protocol; this module maps identities to users and groups.

An identity is an issuer and a subject. A login does not take over an existing user of the same name or address, unless
TAIFISH_OIDC_LINK permits it, and never a superuser.

Not by allauth, which has the rest of the login. Against the provider of taifish/tests/oidc_provider.py, the
`openid_connect` provider of allauth 65.22.1 lets in what taifish/tests/test_oidc.py requires to be refused:

- ID tokens signed by another key, by HS256 with the public key or the client's secret, or not at all: it does not
  verify the signature of a token that it fetched itself;
- tokens with another nonce or none (it sends none), without `exp`, or with a wrong `at_hash`;
- metadata of another issuer, and userinfo of another subject, which it prefers to the token.

A missing or empty `sub` is a server error there.
"""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from allauth.usersessions.models import UserSession
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.base_client import OAuthError
from authlib.integrations.django_client import DjangoIntegration, DjangoOAuth2App
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import login
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from joserfc.errors import JoseError
from requests import RequestException

from console.recent_login import RECENT, confirm

from . import roles
from .login_sessions import OPENED
from .models import Identity
from .provider import SUPERUSER, Provider

logger = logging.getLogger(__name__)

TIMEOUT = 10
#: Tolerated clock difference in seconds.
LEEWAY = 60
#: Asymmetric algorithms only, even if the metadata offers others: not "none", and none with the client secret.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
#: Keys in the session: the page after login, and whether a logged-in user proves the identity again.
NEXT, AGAIN = "oidc_next", "oidc_again"

#: Exceptions of the libraries for invalid responses; malformed ones raise built-in exceptions.
WRONG = (AuthlibBaseError, JoseError, ValueError, LookupError, TypeError, AttributeError)


class Refused(Exception):
    """A login that the provider confirmed and Taifish refuses; the text is for the user."""


@lru_cache(maxsize=1)
def app_of(provider: Provider) -> DjangoOAuth2App:
    """Authlib's client, which caches metadata and keys."""
    found = {"server_metadata_url": provider.issuer.rstrip("/") + "/.well-known/openid-configuration"}
    return DjangoOAuth2App(
        DjangoIntegration("oidc"),
        name="oidc",
        client_id=provider.client_id,
        client_secret=provider.client_secret or None,
        client_kwargs={
            "scope": provider.scopes,
            "code_challenge_method": "S256",
            "default_timeout": TIMEOUT,
            "token_endpoint_auth_method": "client_secret_basic" if provider.client_secret else "none",
        },
        **(found if provider.is_discovered else {"issuer": provider.issuer}),
        **dict(provider.endpoints),
    )


def ready(provider: Provider) -> DjangoOAuth2App:
    """The client with loaded metadata. Raises OAuthError if they name another issuer."""
    app = app_of(provider)
    metadata = app.load_server_metadata()
    metadata.update(provider.endpoints)
    if metadata.get("issuer") != provider.issuer:
        app_of.cache_clear()
        raise OAuthError(error="wrong_issuer")
    metadata["id_token_signing_alg_values_supported"] = ALGORITHMS
    return app


def _provider() -> Provider:
    if settings.TAIFISH_OIDC is None:
        raise Http404
    return settings.TAIFISH_OIDC


def on_login_page() -> dict[str, Any]:
    """What the login page shows: the provider's button, and fields for a password."""
    provider = settings.TAIFISH_OIDC
    return {"provider": provider, "passwords": settings.TAIFISH_OIDC_PASSWORDS or provider is None}


def logout_page(request: HttpRequest) -> HttpResponse:
    """The admin's logout page. With TAIFISH_OIDC_LOGOUT, sessions of the provider continue to its logout page."""
    by_provider = request.session.get(OPENED)
    answer = admin.site.logout(request)
    provider = settings.TAIFISH_OIDC
    if not (request.method == "POST" and by_provider and provider and provider.logs_out):
        return answer
    try:
        end = ready(provider).server_metadata.get("end_session_endpoint")
    except (RequestException, *WRONG) as error:
        logger.warning("Cannot log out at the OpenID provider: %s", type(error).__name__)
        return answer
    back = {"client_id": provider.client_id, "post_logout_redirect_uri": _absolute(request, "admin:login")}
    return HttpResponseRedirect(f"{end}{'&' if '?' in end else '?'}{urlencode(back)}") if end else answer


def _absolute(request: HttpRequest, page: str) -> str:
    return request.build_absolute_uri(reverse(page))


@never_cache
@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """Redirect to the provider. POST only, so that other sites cannot start a login.

    A logged-in user who must prove the identity (`again`) logs in there anew, even with a session there.
    """
    provider = _provider()
    request.session[NEXT] = request.POST.get("next", "")
    request.session[AGAIN] = "again" in request.POST and request.user.is_authenticated
    anew = {"prompt": "login", "max_age": "0"} if request.session[AGAIN] else {}
    try:
        return ready(provider).authorize_redirect(request, _absolute(request, "oidc-callback"), **anew)
    except (RequestException, *WRONG) as error:
        return _failed(request, provider, error)


@never_cache
@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Log in the user whom the provider confirmed, with the current groups."""
    provider = _provider()
    try:
        claims = claims_of(request, provider)
    except (RequestException, *WRONG) as error:
        return _failed(request, provider, error)
    again = request.session.pop(AGAIN, False)
    try:
        user = _same(request, provider, claims) if again else admitted(provider, claims)
    except Refused as refused:
        logger.warning("OpenID login refused: subject %.80r: %s", claims["sub"], refused)
        return _page(request, str(refused), 403)
    after = request.session.pop(NEXT, "")
    if again:
        confirm(request)
    else:
        login(request, user, backend=settings.AUTHENTICATION_BACKENDS[-1])
        request.session[OPENED] = True
        UserSession.objects.create_from_request(request)
    if not url_has_allowed_host_and_scheme(after, {request.get_host()}, request.is_secure()):
        after = reverse("admin:index")
    return HttpResponseRedirect(after)


def again_page(request: HttpRequest) -> HttpResponse:
    """Ask a user of the provider to log in there again."""
    return TemplateResponse(
        request, "taifish/oidc_again.html", {"provider": _provider(), "next": request.GET.get("next")}
    )


def _same(request: HttpRequest, provider: Provider, claims: dict[str, Any]) -> User:
    """The logged-in user, who has just logged in at the provider again. Raises Refused."""
    user = _known(provider, claims)
    if user is None or user != request.user:
        raise Refused(_("You logged in as another user. Log in again."))
    at = claims.get("auth_time")
    if isinstance(at, bool) or not isinstance(at, int | float) or not abs(time.time() - at) < RECENT + LEEWAY:
        raise Refused(_("The provider did not ask you to log in again (claim “auth_time”)."))
    return user


def _failed(request: HttpRequest, provider: Provider, error: Exception) -> HttpResponse:
    """The error page for a failure of the provider. Logs only the exception's name and code: its text is untrusted."""
    code = str(getattr(error, "error", ""))[:60]
    logger.warning("OpenID login failed: %s %r", type(error).__name__, code)
    if isinstance(error, RequestException):
        return _page(request, _("%s does not respond correctly. Try again later.") % provider.name, 503)
    if code == "access_denied":
        return _page(request, _("%s denied access.") % provider.name, 403)
    return _page(request, _("The response of %s is invalid or too old. Log in again.") % provider.name, 403)


def _page(request: HttpRequest, message: str, status: int) -> HttpResponse:
    context = {**admin.site.each_context(request), "title": "", "message": message}
    return render(request, "taifish/refused.html", context, status=status)


def claims_of(request: HttpRequest, provider: Provider) -> dict[str, Any]:
    """The verified claims. If the ID token has no groups, they are read from the provider's userinfo endpoint.

    Raises RequestException if the provider fails, and one of WRONG if its response is invalid.
    """
    app = ready(provider)
    expected = {"iss": provider.issuer, "aud": provider.client_id}
    options = {name: {"essential": True, "value": value} for name, value in expected.items()}
    token = app.authorize_access_token(request, claims_options=options, leeway=LEEWAY)
    claims = token.get("userinfo")
    if not claims:
        raise OAuthError(error="no_id_token")
    if provider.groups_claim not in claims and app.server_metadata.get("userinfo_endpoint"):
        more = app.userinfo(token=token)
        if more.get("sub") != claims["sub"]:
            raise OAuthError(error="wrong_subject")
        claims = {**more, **claims}
    return dict(claims)


# Users and groups


def admitted(provider: Provider, claims: dict[str, Any]) -> User:
    """The user of these claims, with the groups they name. Raises Refused.

    A user without any group is refused and also loses the groups, because the user's API tokens have them too.
    """
    targets = provider.targets(claims)
    has_access = bool(targets) or not provider.requires_group
    with transaction.atomic():
        user = _known(provider, claims)
        if user is None and has_access:
            user = _linked(provider, claims) or _new(provider, claims)
        if user is not None:
            give(provider, user, targets)
    if user is None or not has_access:
        raise Refused(_("None of your groups may use Taifish. Ask an administrator of Taifish."))
    if not (user.is_active and user.is_staff):
        raise Refused(_("Your account is disabled. Ask an administrator of Taifish."))
    return user


def _known(provider: Provider, claims: dict[str, Any]) -> User | None:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or "\0" in subject:
        raise Refused(_("The provider sent no valid identity (claim “sub”)."))
    rows = Identity.objects.select_for_update(of=("self",)).select_related("user")
    identity = rows.filter(issuer=provider.issuer, subject=subject).first()
    return identity and identity.user


def _linked(provider: Provider, claims: dict[str, Any]) -> User | None:
    """The existing user that TAIFISH_OIDC_LINK assigns to this identity."""
    unlinked = User.objects.filter(identity=None, is_superuser=False)
    if provider.link == "username":
        found = unlinked.filter(username=_text(claims, provider.username_claim))
    elif provider.link == "email" and claims.get("email_verified") is True and _text(claims, "email"):
        found = unlinked.filter(email__iexact=_text(claims, "email"))
    else:
        return None
    # An address of two users identifies none.
    user = found.get() if found.count() == 1 else None
    if user:
        Identity.objects.create(user=user, issuer=provider.issuer, subject=claims["sub"])
    return user


def _new(provider: Provider, claims: dict[str, Any]) -> User:
    name = _text(claims, provider.username_claim) or _text(claims, "email") or claims["sub"]
    user = User(
        username=name,
        email=_text(claims, "email"),
        first_name=_text(claims, "given_name"),
        last_name=_text(claims, "family_name"),
        is_staff=True,
    )
    user.set_unusable_password()
    try:
        validate_email(user.email)
    except ValidationError:
        user.email = ""
    try:
        User.username_validator(name)
    except ValidationError:
        raise Refused(
            _("Your user name is invalid in Taifish: only letters, digits and @ . + - _ are allowed.")
        ) from None
    try:
        with transaction.atomic():
            user.save()
            Identity.objects.create(user=user, issuer=provider.issuer, subject=claims["sub"])
    except IntegrityError:
        raise Refused(
            _("A user with your name already exists. Ask an administrator of Taifish to link it, under Users.")
        ) from None
    return user


def _text(claims: dict[str, Any], name: str) -> str:
    """A claim as text that the store can store."""
    value = claims.get(name)
    return value.replace("\0", "")[:150] if isinstance(value, str) else ""


def give(provider: Provider, user: User, targets: set[str]) -> None:
    """Add the user to the groups of these targets, and remove the user from groups of other targets in the mapping.
    Groups outside the mapping are not changed, nor is the superuser status unless the mapping names it."""
    everything = {target for _, target in provider.groups}
    groups = {target: _groups(target) for target in everything - {SUPERUSER}}
    granted = {group for target, found in groups.items() if target in targets for group in found}
    user.groups.remove(*({group for found in groups.values() for group in found} - granted))
    user.groups.add(*granted)
    if SUPERUSER in everything and user.is_superuser != (SUPERUSER in targets):
        user.is_superuser = not user.is_superuser
        user.save(update_fields=["is_superuser"])


def _groups(target: str) -> list[Group]:
    """The group of a role, by the role's key or original name, even if renamed; or another group by its name."""
    keys = [key for key, (name, *_) in roles.ROLES.items() if target.lower() in (key, name.lower())]
    found = list(Group.objects.filter(Q(role__key__in=keys) if keys else Q(name=target)))
    if not found:
        logger.warning("TAIFISH_OIDC_GROUPS names %r, which is neither a role nor a group", target)
    return found
