"""A time stamp authority on this machine: OpenSSL behind HTTP, with certificates that are made for it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
TIME_STAMPING, CLIENT_AUTH = ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CLIENT_AUTH

CONF = """[tsa]
default_tsa = one
[one]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
ess_cert_id_alg = sha256
"""


class Authority:
    """Answers like a time stamp authority, from `url`. `ca` is the file of its root.

    `change` makes another answer of the bytes of a good one; `query` makes another question of the one that was asked.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.ca = folder, folder / "ca.pem"
        self.n_asked = 0
        self.status = 200
        self.change: Callable[[bytes], bytes] = bytes
        self.query: Callable[[bytes], bytes] = bytes
        self.hangs = False
        self.go_on = threading.Event()
        self._root_key, self._key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
        self.ca.write_bytes(
            self._made("Test root", self._root_key, is_ca=True).public_bytes(serialization.Encoding.PEM)
        )
        plain = serialization.NoEncryption()
        (folder / "key.pem").write_bytes(
            self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        )
        (folder / "tsa.cnf").write_text(CONF.format(folder=folder))
        (folder / "serial").write_text("01\n")
        self.certify()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def certify(self, name: str = "Test authority", **options: Any) -> bytes:
        """Give the authority another certificate, and return it."""
        made = self._made(name, self._key, **options)
        (self.folder / "tsa.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return made.public_bytes(serialization.Encoding.DER)

    def _made(
        self,
        name: str,
        key: rsa.RSAPrivateKey,
        *,
        is_ca: bool = False,
        uses: tuple[x509.ObjectIdentifier, ...] = (TIME_STAMPING,),
        ends: timedelta = 9 * DAY,
        serial: int = 0,
    ) -> x509.Certificate:
        subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, "Test root"))
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(now - 9 * DAY)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if not is_ca:
            made = made.add_extension(x509.ExtendedKeyUsage(uses), critical=True)
        return made.sign(self._root_key, hashes.SHA256())

    def answer(self, query: bytes) -> bytes:
        (self.folder / "query").write_bytes(self.query(query))
        subprocess.run(
            [
                "openssl",
                "ts",
                "-reply",
                "-config",
                "tsa.cnf",
                "-section",
                "one",
                "-queryfile",
                "query",
                "-signer",
                "tsa.pem",
                "-inkey",
                "key.pem",
                "-out",
                "reply",
            ],
            cwd=self.folder,
            check=True,
            capture_output=True,
        )
        return self.change((self.folder / "reply").read_bytes())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        it = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                it.n_asked += 1
                query = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/timestamp-query"
                if it.hangs:
                    it.go_on.wait(30)
                    return
                answer = it.answer(query)
                self.send_response(it.status)
                if it.status == 302:
                    self.send_header("Location", it.url)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: Any) -> None:
                pass

        return Handler
