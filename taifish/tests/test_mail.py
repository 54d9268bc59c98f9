"""Mail goes out by TLS and with a login, to a server whose certificate is trusted."""

from __future__ import annotations

import os
import socketserver
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from engines.tests.impostors import Identity, identity

ROOT = Path(__file__).resolve().parents[2]


class Mailbox(socketserver.TCPServer):
    """As much of SMTP as one message needs (https://www.rfc-editor.org/rfc/rfc5321#appendix-D), after TLS in one of the two ways."""

    allow_reuse_address = True

    def __init__(self, shown: Identity, way: str) -> None:
        self.shown, self.way, self.heard = shown, way, list[str]()
        super().__init__(("127.0.0.1", 0), Talk)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust the certificate leaves."""


class Talk(socketserver.BaseRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        context, heard = self.server.shown.context(), self.server.heard
        peer = context.wrap_socket(self.request, server_side=True) if self.server.way == "tls" else self.request
        peer.sendall(b"220 mail\r\n")
        lines = peer.makefile("rb")
        while line := lines.readline().decode().strip():
            word = line.split()[0].upper()
            secure = isinstance(peer, ssl.SSLSocket)
            heard.append(f"{'secure' if secure else 'plain'} {word}")
            offers = "250-mail\r\n250 " + ("AUTH PLAIN" if secure else "STARTTLS")
            answers = {"EHLO": offers, "STARTTLS": "220 go on", "DATA": "354 go on", "AUTH": "235 in"}
            peer.sendall(f"{answers.get(word, '250 well')}\r\n".encode())
            if word == "STARTTLS":
                peer = context.wrap_socket(peer, server_side=True)
                lines = peer.makefile("rb")
            elif word == "DATA":
                while (said := lines.readline()) not in (b".\r\n", b""):
                    heard.append(said.decode().strip())
                peer.sendall(b"250 kept\r\n")
            elif word == "QUIT":
                return


@pytest.mark.parametrize("way", ["starttls", "tls"])
def test_mail_by_tls_with_a_login(way, tmp_path):
    shown = identity(tmp_path, "mail")
    with Mailbox(shown, way) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = os.environ | {
            "TAIFISH_EMAIL_HOST": "localhost",
            "TAIFISH_EMAIL_PORT": str(server.server_address[1]),
            "TAIFISH_EMAIL_TLS": way,
            "TAIFISH_EMAIL_USER": "taifish",
            "TAIFISH_EMAIL_PASSWORD": "word",
            "TAIFISH_DATA_DIR": str(tmp_path),
        }
        command = [sys.executable, "manage.py", "sendtestemail", "dba@example.com"]
        for trusted in (False, True):
            environment["SSL_CERT_FILE"] = str(shown.certificate if trusted else tmp_path / "nobody.pem")
            server.heard.clear()
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
            assert (done.returncode == 0) is trusted, done.stderr
            assert ("To: dba@example.com" in server.heard) is trusted
            assert "secure AUTH" in server.heard or not trusted
            assert not [
                line
                for line in server.heard
                if line.startswith("plain") and line.split()[1] not in ("EHLO", "STARTTLS")
            ]
        server.shutdown()
