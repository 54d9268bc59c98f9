"""Authentication by API token: `Authorization: Bearer taifish_…`."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from audit.services import record, record_use

from .login import TOKENS, AddressLimit, client_address
from .models import ApiToken

#: Precision of the last use, so that not every request writes a row.
USE_NOTED_EVERY = timedelta(minutes=1)


class TokenAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        scheme, _sep, secret = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        now = timezone.now()
        known = ApiToken.objects.filter(digest=ApiToken.digest_of(secret.strip()))
        token = known.valid(now).select_related("user").first()
        if token is None:
            # After the lookup: failures from the same address must not block a valid token. An expired token does not
            # count.
            if not known.exists():
                AddressLimit(request, TOKENS).count()
                record("failed_login", name="API token")
            raise AuthenticationFailed(_("This token is unknown or expired, or its user is inactive."))
        address = client_address(request)
        if not token.may_be_used_from(address):
            raise AuthenticationFailed(_("This token may not be used from this address."))
        if token.read_only and request.method not in SAFE_METHODS:
            raise PermissionDenied(_("This token is read-only. Use one that may change data."))
        is_noted = token.last_used_at and now - token.last_used_at <= USE_NOTED_EVERY
        if not is_noted or token.last_used_from != address:
            ApiToken.objects.filter(pk=token.pk).update(last_used_at=now, last_used_from=address)
            record_use("token_use", token, token.user, address)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'
