"""Certificates that no authority vouches for: seen before the password is sent, and compared with a pinned one.

As with SSH, a fingerprint is what a person compares: `openssl x509 -in server.crt -noout -fingerprint -sha256`.
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
    """A server's certificate, as it came (DER)."""

    der: bytes

    @property
    def fingerprint(self) -> str:
        return sha256(self.der).hexdigest()

    @property
    def pem(self) -> str:
        return ssl.DER_cert_to_PEM_cert(self.der)

    @property
    def is_anchor(self) -> bool:
        """Whether OpenSSL takes it for its own authority: self-signed and in force."""
        from cryptography import x509

        try:
            found = x509.load_der_x509_certificate(self.der)
            found.verify_directly_issued_by(found)
        except Exception:  # noqa: BLE001 -- an odd certificate is none, in whichever way it is odd
            return False
        return found.not_valid_before_utc <= datetime.now(UTC) <= found.not_valid_after_utc


class WatchingContext(ssl.SSLContext):
    """A context that asks no authority, but where the target wants the system's. It refuses a certificate other than
    the pinned one before anything is written through it. `seen` is the certificate of the last handshake."""

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
    return context


def compare(target: Target, seen: Certificate) -> None:
    """Raise AdapterError("certificate_changed") when another certificate is pinned."""
    if target.certificate and seen.fingerprint != target.certificate:
        raise AdapterError(
            f"the server shows the certificate with SHA-256 fingerprint {spelled(seen.fingerprint)}; pinned is "
            f"{spelled(target.certificate)}",
            code="certificate_changed",
            hint="Was it renewed? Compare the fingerprint on the server, and accept the new certificate. If nobody "
            "renewed it, something stands between Taifish and the server: the password was not sent.",
            certificate=seen.fingerprint,
        )


def no_tls(target: Target) -> AdapterError:
    """The error for a server that offers no TLS although the target wants it."""
    before = target.tls_mode == "prefer"
    return AdapterError(
        "the server offers no TLS" + (", and did so before" if before else ""),
        code="tls_failed",
        hint="Switch TLS on again on the server. If it is to be without, remove the pinned certificate of the instance "
        "and set its TLS mode."
        if before
        else "Switch TLS on on the server, or change the TLS mode of the instance.",
    )


def unproven(target: Target, method: str, seen: Certificate | None, instead: str) -> AdapterError:
    """The error for a server that asks for the password in a way that it has not earned. `instead` names the methods
    that reveal nothing."""
    fingerprint = seen.fingerprint if seen else ""
    hints = [f"Nothing of the password was sent. One of these helps: {instead}"]
    if target.tls_mode != "disable":
        hints.append("name the CA file and choose TLS mode verify-ca or verify-full")
    if seen and not (target.certificate and target.compared):
        hints.append(
            f"compare the certificate's SHA-256 fingerprint {spelled(fingerprint)} with the server's, and accept it"
        )
    if target.may_send == "nothing":
        hints.append("allow methods that give an impostor a hash, if this server has only those")
    return AdapterError(
        f"the server asks for {method} and has not proved who it is",
        code="unproven_server",
        hint="; or ".join(hints) + ".",
        certificate=fingerprint,
    )


def spelled(fingerprint: str) -> str:
    """A fingerprint as openssl prints it: AB:CD:…"""
    return ":".join(fingerprint[i : i + 2] for i in range(0, len(fingerprint), 2)).upper()


def shown(target: Target, port: int, seconds: float, request: bytes = b"") -> Certificate | None:
    """The certificate that a server shows, by a connection that sends no name and no password; None without TLS.

    `request` is sent before TLS begins, where the server must agree to it by an "S". Raises OSError, and AdapterError
    for a certificate other than the pinned one.
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
