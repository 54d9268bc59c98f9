"""How programs prove who they are: `Authorization: Bearer taifish_…`."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from .login import TOKENS, AddressLimit
from .models import ApiToken

#: How exactly the last use is known; a busy program shall not write a row with each request.
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
            # Looked up first: failures of others at the same address must not stop a valid token. One that has expired
            # is no guess.
            if not known.exists():
                AddressLimit(request, TOKENS).count()
            raise AuthenticationFailed(_("This token is unknown, has expired, or belongs to nobody who is active."))
        if token.last_used_at is None or now - token.last_used_at > USE_NOTED_EVERY:
            ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'
