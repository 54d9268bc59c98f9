"""The configuration of the OpenID provider, from the environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from .environment import flag, https_url, pairs, text

SUPERUSER = "superuser"
#: The claims that may link an existing user at the first login.
LINKS = ("", "username", "email")
#: If these three are set, there is no discovery.
NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True)
class Provider:
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    name: str
    scopes: str = "openid profile email"
    #: Metadata name → URL, in place of discovered ones.
    endpoints: tuple[tuple[str, str], ...] = ()
    username_claim: str = "preferred_username"
    groups_claim: str = "groups"
    #: Group of the provider → role, group of Taifish, or SUPERUSER.
    groups: tuple[tuple[str, str], ...] = ()
    requires_group: bool = False
    link: str = ""
    logs_out: bool = False

    @property
    def is_discovered(self) -> bool:
        return not dict(self.endpoints).keys() >= set(NEEDED)

    def targets(self, claims: dict[str, Any]) -> set[str]:
        """The targets of the groups in these claims."""
        claim = claims.get(self.groups_claim)
        held = {claim} if isinstance(claim, str) else set(map(str, claim if isinstance(claim, list) else ()))
        return {target for group, target in self.groups if group in held}


def provider() -> Provider | None:
    """The provider from TAIFISH_OIDC_*; None without TAIFISH_OIDC_ISSUER. Raises ImproperlyConfigured."""
    issuer = https_url("TAIFISH_OIDC_ISSUER")
    if not issuer:
        return None
    client_id = text("TAIFISH_OIDC_CLIENT_ID")
    if not client_id:
        raise ImproperlyConfigured("TAIFISH_OIDC_ISSUER is set but TAIFISH_OIDC_CLIENT_ID is not.")
    scopes = text("TAIFISH_OIDC_SCOPES", Provider.scopes)
    if "openid" not in scopes.split():
        raise ImproperlyConfigured(f"TAIFISH_OIDC_SCOPES is {scopes!r}; it must contain openid.")
    endpoints = {
        "authorization_endpoint": https_url("TAIFISH_OIDC_AUTHORIZATION_URL"),
        "token_endpoint": https_url("TAIFISH_OIDC_TOKEN_URL"),
        "jwks_uri": https_url("TAIFISH_OIDC_JWKS_URL"),
        "userinfo_endpoint": https_url("TAIFISH_OIDC_USERINFO_URL"),
        "end_session_endpoint": https_url("TAIFISH_OIDC_LOGOUT_URL"),
    }
    if 0 < sum(bool(endpoints[name]) for name in NEEDED) < len(NEEDED):
        raise ImproperlyConfigured(
            "Set all of TAIFISH_OIDC_AUTHORIZATION_URL, TAIFISH_OIDC_TOKEN_URL and TAIFISH_OIDC_JWKS_URL, or none."
        )
    groups = tuple(
        (group, target.lower() if target.lower() == SUPERUSER else target)
        for group, target in pairs("TAIFISH_OIDC_GROUPS", "dba-team:Manager,auditors:Viewer")
    )
    requires_group = flag("TAIFISH_OIDC_REQUIRE_GROUP", bool(groups))
    if requires_group and not groups:
        raise ImproperlyConfigured("TAIFISH_OIDC_REQUIRE_GROUP needs TAIFISH_OIDC_GROUPS; without it all logins fail.")
    link = text("TAIFISH_OIDC_LINK")
    if link not in LINKS:
        raise ImproperlyConfigured(f"TAIFISH_OIDC_LINK is {link!r}; set it to username or email, or leave it empty.")
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
