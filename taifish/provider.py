"""Who else may say who somebody is: an OpenID provider, as the environment names it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from .environment import flag, https_url, pairs, text

SUPERUSER = "superuser"
#: What an account that is there already may be recognised by, the first time.
LINKS = ("", "username", "email")
#: With these three, nothing is discovered.
NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True)
class Provider:
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    name: str
    scopes: str = "openid profile email"
    #: Metadata name → URL, of those that are not to be discovered.
    endpoints: tuple[tuple[str, str], ...] = ()
    username_claim: str = "preferred_username"
    groups_claim: str = "groups"
    #: A group of the provider's → a role, a group of ours, or SUPERUSER.
    groups: tuple[tuple[str, str], ...] = ()
    requires_group: bool = False
    link: str = ""
    logs_out: bool = False

    @property
    def is_discovered(self) -> bool:
        return not dict(self.endpoints).keys() >= set(NEEDED)

    def targets(self, claims: dict[str, Any]) -> set[str]:
        """What the groups in these claims are worth."""
        told = claims.get(self.groups_claim)
        held = {told} if isinstance(told, str) else set(map(str, told if isinstance(told, list) else ()))
        return {target for group, target in self.groups if group in held}


def provider() -> Provider | None:
    """The provider of the environment's TAIFISH_OIDC_*, or None without TAIFISH_OIDC_ISSUER.

    Raises ImproperlyConfigured for what cannot be right.
    """
    issuer = https_url("TAIFISH_OIDC_ISSUER")
    if not issuer:
        return None
    client_id = text("TAIFISH_OIDC_CLIENT_ID")
    if not client_id:
        raise ImproperlyConfigured("TAIFISH_OIDC_ISSUER is set, TAIFISH_OIDC_CLIENT_ID is not.")
    scopes = text("TAIFISH_OIDC_SCOPES", Provider.scopes)
    if "openid" not in scopes.split():
        raise ImproperlyConfigured(f"TAIFISH_OIDC_SCOPES is {scopes!r}; openid must be among them.")
    endpoints = {
        "authorization_endpoint": https_url("TAIFISH_OIDC_AUTHORIZATION_URL"),
        "token_endpoint": https_url("TAIFISH_OIDC_TOKEN_URL"),
        "jwks_uri": https_url("TAIFISH_OIDC_JWKS_URL"),
        "userinfo_endpoint": https_url("TAIFISH_OIDC_USERINFO_URL"),
        "end_session_endpoint": https_url("TAIFISH_OIDC_LOGOUT_URL"),
    }
    if 0 < sum(bool(endpoints[name]) for name in NEEDED) < len(NEEDED):
        raise ImproperlyConfigured(
            "Give TAIFISH_OIDC_AUTHORIZATION_URL, TAIFISH_OIDC_TOKEN_URL and TAIFISH_OIDC_JWKS_URL all three, or none."
        )
    groups = tuple(
        (group, target.lower() if target.lower() == SUPERUSER else target)
        for group, target in pairs("TAIFISH_OIDC_GROUPS", "dba-team:Manager,auditors:Viewer")
    )
    requires_group = flag("TAIFISH_OIDC_REQUIRE_GROUP", bool(groups))
    if requires_group and not groups:
        raise ImproperlyConfigured("TAIFISH_OIDC_REQUIRE_GROUP lets nobody in without TAIFISH_OIDC_GROUPS.")
    link = text("TAIFISH_OIDC_LINK")
    if link not in LINKS:
        raise ImproperlyConfigured(f"TAIFISH_OIDC_LINK is {link!r}; say username, email, or nothing.")
    return Provider(
        issuer=issuer,
        client_id=client_id,
        client_secret=text("TAIFISH_OIDC_CLIENT_SECRET"),
        name=text("TAIFISH_OIDC_NAME") or str(urlsplit(issuer).hostname),
        scopes=scopes,
        endpoints=tuple((name, url) for name, url in endpoints.items() if url),
        username_claim=text("TAIFISH_OIDC_USERNAME_CLAIM", Provider.username_claim),
        groups_claim=text("TAIFISH_OIDC_GROUPS_CLAIM", Provider.groups_claim),
        groups=groups,
        requires_group=requires_group,
        link=link,
        logs_out=flag("TAIFISH_OIDC_LOGOUT", False),
    )
