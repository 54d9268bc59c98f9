"""Certificates without a trusted authority: read before the password is sent, and compared with the pinned one.

As with SSH, people compare fingerprints: `openssl x509 -in server.crt -noout -fingerprint -sha256`.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from .errors import AdapterError
from .target import Target


@dataclass(frozen=True)
class Certificate:
    """A server's certificate in DER."""

    der: bytes

    @property
    def fingerprint(self) -> str:
        return sha256(self.der).hexdigest()

    @property
    def pem(self) -> str:
        return ssl.DER_cert_to_PEM_cert(self.der)

    @property
    def is_anchor(self) -> bool:
        """Whether OpenSSL accepts it as its own authority: self-signed and valid now."""
        from cryptography import x509

        try:
            found = x509.load_der_x509_certificate(self.der)
            found.verify_directly_issued_by(found)
        except Exception:  # noqa: BLE001 -- a malformed certificate can raise anything
            return False
        return found.not_valid_before_utc <= datetime.now(UTC) <= found.not_valid_after_utc


class WatchingContext(ssl.SSLContext):
    """A context that refuses a certificate other than the pinned one before anything is written. It verifies against
    the system's authorities only in TLS mode verify-ca. `seen` is the certificate of the last handshake."""

    target: Target
    seen: Certificate | None = None

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        wrapped = super().wrap_socket(*args, **kwargs)
        try:
            self.seen = Certificate(wrapped.getpeercert(binary_form=True) or b"")
            compare(self.target, self.seen)
        except BaseException:
            wrapped.close()
            raise
        return wrapped


def watching_context(target: Target) -> WatchingContext:
    context = WatchingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if target.tls_mode == "verify-ca":
        context.load_default_certs()
    else:
        context.verify_mode = ssl.CERT_NONE
    context.target = target
    if target.client_certificate:
        context.load_cert_chain(target.client_certificate, target.client_key)
    return context


def compare(target: Target, seen: Certificate) -> None:
    """Raise AdapterError("certificate_changed") if a different certificate is pinned."""
    if target.certificate and seen.fingerprint != target.certificate:
        raise AdapterError(
            f"the server's certificate has SHA-256 fingerprint {spelled(seen.fingerprint)}; the pinned one has "
            f"{spelled(target.certificate)}",
            code="certificate_changed",
            hint="The password was not sent. If the certificate was renewed, compare the fingerprint on the server and "
            "accept the new certificate. If not, another machine may be intercepting the connection.",
            certificate=seen.fingerprint,
        )


def no_tls(target: Target) -> AdapterError:
    """The error for a server that offers no TLS although the target requires it."""
    before = target.tls_mode == "prefer"
    return AdapterError(
        "the server no longer offers TLS" if before else "the server offers no TLS",
        code="tls_failed",
        hint="Enable TLS on the server again. If it is to work without TLS, remove the pinned certificate of the "
        "instance and set its TLS mode to disable."
        if before
        else "Enable TLS on the server, or change the TLS mode of the instance.",
    )


def unproven(target: Target, method: str, seen: Certificate | None, instead: str) -> AdapterError:
    """The error for an unproven server that requests `method`. `instead` names the methods that reveal nothing."""
    fingerprint = seen.fingerprint if seen else ""
    hints = [f"Nothing derived from the password was sent. Do one of the following: {instead}"]
    if target.tls_mode != "disable":
        hints.append("set the CA file and TLS mode verify-ca or verify-full")
    if seen and not (target.certificate and target.compared):
        hints.append(
            f"compare the certificate's SHA-256 fingerprint {spelled(fingerprint)} with the server's, and accept it"
        )
    if target.may_send == "nothing":
        hints.append("allow methods that reveal a hash, if this server supports no others")
    return AdapterError(
        f"the server requests {method} but has not proved its identity",
        code="unproven_server",
        hint="; or ".join(hints) + ".",
        certificate=fingerprint,
    )


def spelled(fingerprint: str) -> str:
    """A fingerprint in the format of openssl: AB:CD:…"""
    return ":".join(fingerprint[i : i + 2] for i in range(0, len(fingerprint), 2)).upper()


def shown(target: Target, port: int, seconds: float, request: bytes = b"") -> Certificate | None:
    """The server's certificate, read without sending a user name or password; None without TLS.

    `request` is sent before the TLS handshake; the server must answer it with "S". Raises OSError, and AdapterError if
    a different certificate is pinned.
    """
    host = target.host.removeprefix("[").removesuffix("]")
    context = watching_context(target)
    with socket.create_connection((host, port), timeout=seconds) as wire:
        if request:
            wire.sendall(request)
            if wire.recv(1) != b"S":
                return None
        with context.wrap_socket(wire, server_hostname=host):
            return context.seen
