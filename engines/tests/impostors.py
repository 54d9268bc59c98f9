"""Impostor servers, which implement enough of a protocol to request a password, and record what they receive.

They use neither the product nor a database driver.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

SALT = b"abcdefghijklmnopqrst"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True)
class Identity:
    """A certificate with its key, as files; `fingerprint` in hex."""

    certificate: Path
    key: Path
    fingerprint: str

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def identity(folder: Path, name: str, *, ca: tuple[x509.Name, Any] | None = None, days: int = 1) -> Identity:
    """A new certificate for localhost: self-signed, or signed by the name and key of an authority. It ends `days` from
    now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer, signer = ca or (subject, key)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    crt_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    crt_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return Identity(crt_file, key_file, certificate.fingerprint(hashes.SHA256()).hex())


@dataclass
class Impostor:
    """`received` is the decrypted data of all clients; `packets` the same by packet. `tls` counts the handshakes."""

    port: int
    received: bytearray = field(default_factory=bytearray)
    packets: list[bytes] = field(default_factory=list)
    tls: int = 0

    def obtained(self, user: str, password: str) -> set[str]:
        """What it has learned: "password", or the names of methods for which it has a hash."""
        secret, sent = password.encode(), bytes(self.received)
        sha1, sha256 = (lambda data, how=how: hashlib.new(how, data).digest() for how in ("sha1", "sha256"))
        native = _xor(sha1(secret), sha1(SALT + sha1(sha1(secret))))
        caching = _xor(sha256(secret), sha256(sha256(sha256(secret)) + SALT))
        inner = hashlib.md5(secret + user.encode()).hexdigest().encode()
        known = {
            "password": secret,
            "mysql_native_password": native,
            "caching_sha2_password": caching,
            "md5": hashlib.md5(inner + SALT[:4]).hexdigest().encode(),
        }
        found = {name for name, needle in known.items() if needle in sent}
        for packet in self.packets:
            with contextlib.suppress(ValueError):
                oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
                clear = RSA_KEY.decrypt(packet, oaep)
                if _xor(clear, SALT * (len(clear) // len(SALT) + 1)).startswith(secret):
                    found.add("password")
        return found


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=False))


class Wire:
    """The impostor's end of one connection."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None, log: Impostor) -> None:
        self.sock, self.context, self.log = sock, context, log

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
            self.log.received += piece
        return data

    def rest(self) -> None:
        with contextlib.suppress(EOFError):
            while True:
                self.read(1)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def start_tls(self) -> None:
        assert self.context is not None
        self.sock = self.context.wrap_socket(self.sock, server_side=True)
        self.log.tls += 1


@contextlib.contextmanager
def impostor(talk: Callable[[Wire], None], who: Identity | None = None) -> Iterator[Impostor]:
    """A server on 127.0.0.1 that calls `talk` for each client, with TLS if it has an identity."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        log = Impostor(listening.getsockname()[1])
        context = who.context() if who else None

        def serve(client: socket.socket) -> None:
            wire = Wire(client, context, log)
            client.settimeout(20)
            with contextlib.suppress(EOFError, OSError):
                talk(wire)
            wire.sock.close()

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield log
        # To close it does not wake the thread.
        listening.shutdown(socket.SHUT_RDWR)


# PostgreSQL: https://www.postgresql.org/docs/current/protocol-message-formats.html

PG_REQUESTS = {"clear": struct.pack("!i", 3), "md5": struct.pack("!i", 5) + SALT[:4], "nothing": struct.pack("!i", 0)}


def postgresql(method: str) -> Callable[[Wire], None]:
    def talk(wire: Wire) -> None:
        while True:
            (size,) = struct.unpack("!i", wire.read(4))
            body = wire.read(size - 4)
            (code,) = struct.unpack("!i", body[:4])
            if code not in (80877103, 80877104):
                break
            if code == 80877103 and wire.context:
                wire.send(b"S")
                wire.start_tls()
            else:
                wire.send(b"N")
        request = PG_REQUESTS[method]
        wire.send(b"R" + struct.pack("!i", len(request) + 4) + request)
        (size,) = struct.unpack("!xi", wire.read(5))
        wire.read(size - 4)

    return talk


# MySQL: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html

_PROTOCOL_41, _SSL, _SECURE, _PLUGIN_AUTH = 0x200, 0x800, 0x8000, 0x80000


def mysql(method: str, greeting: str = "mysql_native_password", version: str = "8.0.11") -> Callable[[Wire], None]:
    """A server that greets with one plugin and switches to `method` unless the client has begun with it. With "ok" it
    requests nothing, and answers all statements with OK."""

    def talk(wire: Wire) -> None:
        number = 0

        def send(body: bytes) -> None:
            nonlocal number
            wire.send(struct.pack("<I", len(body))[:3] + bytes([number]) + body)
            number += 1

        def read() -> bytes:
            nonlocal number
            head = wire.read(4)
            number = head[3] + 1
            body = wire.read(int.from_bytes(head[:3], "little"))
            wire.log.packets.append(body)
            return body

        flags = _PROTOCOL_41 | _SECURE | _PLUGIN_AUTH | 0x9 | (_SSL if wire.context else 0)
        send(
            b"\x0a" + version.encode() + b"\0" + struct.pack("<I", 7) + SALT[:8] + b"\0"
            + struct.pack("<HBHHB", flags & 0xFFFF, 45, 2, flags >> 16, 21) + bytes(10) + SALT[8:] + b"\0"
            + greeting.encode() + b"\0"
        )  # fmt: skip
        first = read()
        if len(first) == 32:
            wire.start_tls()
            first = read()
        ok = b"\0\0\0\x02\0\0\0"
        if method == "ok":
            while True:
                send(ok)
                read()
        answer = b""
        if method.encode() not in first:
            extra = b"\x04Password: " if method == "dialog" else SALT + b"\0"
            send(b"\xfe" + method.encode() + b"\0" + extra)
            answer = read()
        if method == "caching_sha2_password":
            send(b"\x01\x04")
            answer = read()
        if answer in (b"\x01", b"\x02") or (method == "sha256_password" and not answer and not wire.log.tls):
            key = RSA_KEY.public_key()
            send(
                b"\x01" + key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            )
            read()
        send(b"\xff\x15\x04#28000Access denied")

    return talk


def secret() -> str:
    """A password that does not occur in other data of a connection."""
    return f"Pass-{os.urandom(9).hex()}"
