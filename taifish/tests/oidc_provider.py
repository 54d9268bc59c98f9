"""A small OpenID provider over HTTP, which consents at once, and can be told to misbehave: a pytest plugin."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

# One for all tests: making it takes a while.
KEY = RSAKey.generate_key(2048, {"kid": "one"})
CLIENT, SECRET = "taifish", "Hidden-client-secret"


@dataclass
class FakeProvider:
    """What it says of whoever comes, and what it does wrong."""

    #: Claims of the next ID token, over the right ones. None leaves one out.
    claims: dict[str, Any] = field(default_factory=dict)
    #: What the userinfo endpoint adds.
    more: dict[str, Any] = field(default_factory=dict)
    key: RSAKey = field(default_factory=lambda: KEY)
    #: Signs instead of `key`, under its name; bytes by HS256, and empty ones not at all.
    forger: RSAKey | bytes | None = None
    #: Path → status of an answer that has nothing in it.
    broken: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    #: Code → what was asked for with it.
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Everything secret that it gave out or got.
    secrets: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "end_session_endpoint": f"{self.url}/logout",
            # As a careless provider has it.
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            **self.metadata,
        }

    def authorize(self, asked: dict[str, str]) -> str:
        """The address to go back to."""
        assert (asked["client_id"], asked["code_challenge_method"]) == (CLIENT, "S256")
        code = secrets.token_urlsafe()
        self.codes[code] = asked
        self.secrets.append(code)
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, given: dict[str, str], authorization: str) -> dict[str, Any] | None:
        client = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        asked = self.codes.pop(given.get("code", ""), None)
        verifier = given.get("code_verifier", "")
        challenge = encoded(hashlib.sha256(verifier.encode()).digest())
        is_right = client == f"{CLIENT}:{SECRET}" and asked and asked["code_challenge"] == challenge
        if not (is_right and asked["redirect_uri"] == given["redirect_uri"]):
            return None
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            "sub": "1",
            "preferred_username": "ann",
            **self.claims,
        }
        told = {name: value for name, value in claims.items() if value is not None}
        signed = self.signed(told)
        access = secrets.token_urlsafe()
        self.secrets += [signed, access, verifier, asked["nonce"]]
        return {"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": signed}

    def signed(self, claims: dict[str, Any]) -> str:
        header = {"alg": "RS256", "kid": self.key.kid}
        if not isinstance(self.forger, bytes):
            return jwt.encode(header, claims, self.forger or self.key)
        # By hand: the library refuses to make what it should refuse to believe.
        header["alg"] = "HS256" if self.forger else "none"
        text = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
        return f"{text}.{encoded(hmac.digest(self.forger, text.encode(), 'sha256')) if self.forger else ''}"


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def serve(provider: FakeProvider) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, body: Any = None, **headers: str) -> None:
            text = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(text)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            provider.asked.append(parts.path)
            given = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if parts.path in provider.broken:
                self.answer(provider.broken[parts.path])
            elif parts.path == "/.well-known/openid-configuration":
                self.answer(200, provider.discovery())
            elif parts.path == "/jwks":
                self.answer(200, {"keys": [provider.key.as_dict(private=False)]})
            elif parts.path == "/authorize":
                self.answer(302, Location=provider.authorize(given))
            elif parts.path == "/userinfo":
                self.answer(200, {"sub": "1", **provider.more})
            else:
                self.answer(200, {"this is": parts.path})

        def do_POST(self) -> None:
            provider.asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            given = {name: values[0] for name, values in parse_qs(body).items()}
            if self.path in provider.broken:
                self.answer(provider.broken[self.path])
            elif token := provider.token(given, self.headers.get("Authorization", "")):
                self.answer(200, token)
            else:
                self.answer(400, {"error": "invalid_grant"})

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    # It looks for its end that often.
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    return server


@pytest.fixture
def oidc_provider() -> Iterator[FakeProvider]:
    provider = FakeProvider()
    server = serve(provider)
    yield provider
    server.shutdown()
    server.server_close()
