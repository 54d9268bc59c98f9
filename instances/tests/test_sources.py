"""Credentials whose secret is not stored: files, client certificates, Vault, tokens of AWS and Azure (F8.1, F8.2).

Vault is a small server of its API; AWS signs here, checked by a signature made from the documentation; Azure asks a
server of the address that App Service gives. None was tried on the cloud itself.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlsplit

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse

from audit.models import Event
from engines.errors import AdapterError
from instances import sources
from instances.models import Credential, Instance
from instances.services import check_connection, target_of
from instances.tests.api import client_with
from instances.tests.pages import superstaff
from taifish.tests.postgres import PostgresServer

SECRET = "Tr0ub4dor&3-secret"


def instance_of(kind: str, reference: str, **fields: Any) -> Instance:
    credential = Credential.objects.create(name="c", username="taifish", kind=kind, reference=reference, hosts="*")
    values = {"name": "prod", "engine": "postgresql", "host": "db.example.org", **fields}
    return Instance.objects.create(credential=credential, **values)


def failure(instance: Instance) -> AdapterError:
    with pytest.raises(AdapterError) as caught:
        target_of(instance)
    assert SECRET not in f"{caught.value} {caught.value.hint}"
    return caught.value


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    path = tmp_path / "secrets"
    path.mkdir()
    settings.TAIFISH_SECRETS_DIR = str(path)
    return path


# Files


def test_a_password_file_is_read_at_each_login(db, folder, postgres18: PostgresServer):
    """F8.1: what was replaced counts at once, and is never stored."""
    target = postgres18.collector("sources_file")
    (folder / "db").mkdir()
    (folder / "db" / "collector").write_text("old-password\n")
    instance = instance_of("file", "db/collector", host=target.host, port=target.port)
    Credential.objects.update(username=target.username)
    instance.credential.refresh_from_db()
    assert check_connection(instance).code == "auth_failed"
    (folder / "db" / "collector").write_text(f"{target.password}\r\nsecond line\n")
    assert check_connection(instance).ok
    assert Credential.objects.get().token == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty or too long"), (b"x" * 5000, "empty or too long"), (b"\xff\xfe", "not UTF-8"), (None, "has no file")],
)
def test_a_file_that_is_no_password_is_an_error(db, folder, content, said):
    if content is not None:
        (folder / "collector").write_bytes(content)
    error = failure(instance_of("file", "collector"))
    assert (error.code, error.transient, said in str(error)) == ("no_secret", False, True)


def test_files_outside_the_folder_are_never_read(db, folder, tmp_path, settings):
    """F8.1: no credential makes Taifish send a file of the machine to a server."""
    (tmp_path / "other").write_text(SECRET)
    (folder / "link").symlink_to(tmp_path / "other")
    assert "outside TAIFISH_SECRETS_DIR" in str(failure(instance_of("file", "link")))
    for reference in ("../other", str(tmp_path / "other"), "a/../../other", "a//b", ""):
        with pytest.raises(ValidationError, match="of this form: db/collector"):
            Credential(name="x", username="u", kind="file", reference=reference, hosts="*").full_clean()
    settings.TAIFISH_SECRETS_DIR = ""
    assert "TAIFISH_SECRETS_DIR is not set" in str(failure(Instance.objects.get()))


def test_a_client_certificate_needs_its_files_and_tls(db, folder):
    instance = instance_of("certificate", "db", tls_mode="prefer")
    assert "db.crt" in str(failure(instance))
    (folder / "db.crt").write_text("…")
    (folder / "db.key").write_text("…")
    assert "needs TLS" in str(failure(instance))
    instance.tls_mode = "verify-full"
    target = target_of(instance)
    assert (target.client_certificate, target.client_key) == (str(folder / "db.crt"), str(folder / "db.key"))
    assert target.password == ""


# Services


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[Any], tuple[int, Any]]], str]]:
    """Serve JSON on 127.0.0.1: a function of the request → status and answer. Returns the URL."""
    servers = []

    def start(answer: Callable[[Any], tuple[int, Any]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self.content = json.loads(self.rfile.read(length) or "{}")
                status, body = answer(self)
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_POST = do_PUT = do_GET

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def vault(serve: Any, settings: Any, tmp_path: Path) -> Path:
    """A Vault with one secret, for one token. Returns the token's file."""

    def answer(request: Any) -> tuple[int, Any]:
        if request.path == "/v1/auth/approle/login":
            good = request.content == {"role_id": "role", "secret_id": "hidden"}
            return (200, {"auth": {"client_token": "good"}}) if good else (400, {"errors": ["invalid secret id"]})
        if request.headers["X-Vault-Token"] != "good":
            return 403, {"errors": [f"permission denied: {request.headers['X-Vault-Token']}"]}
        match request.path:
            case "/v1/secret/data/db/collector":
                return 200, {"data": {"data": {"password": SECRET, "port": 5432}, "metadata": {"version": 3}}}
            case "/v1/secret/data/sealed":
                return 503, {"errors": ["Vault is sealed"]}
            case "/v1/secret/data/odd":
                return 200, ["no secret"]
        return 404, {"errors": []}

    settings.TAIFISH_VAULT_URL = serve(answer)
    token = tmp_path / "token"
    token.write_text("good\n")
    settings.TAIFISH_VAULT_TOKEN_PATH = str(token)
    return token


def test_a_secret_of_vault(db, vault, settings):
    instance = instance_of("vault", "secret/db/collector#password")
    assert target_of(instance).password == SECRET
    vault.write_text("expired")
    error = failure(instance)
    assert (error.code, error.transient) == ("no_secret", False)
    assert (str(error), "Renew the token" in error.hint) == ("Vault refuses to read secret/db/collector", True)
    settings.TAIFISH_VAULT_ROLE_ID, settings.TAIFISH_VAULT_SECRET_ID = "role", "hidden"
    assert target_of(instance).password == SECRET
    settings.TAIFISH_VAULT_SECRET_ID = "wrong"
    assert "refuses" in str(failure(instance))


@pytest.mark.parametrize(
    ("reference", "said", "transient"),
    [
        ("secret/db/none#password", "Vault has no secret secret/db/none", False),
        ("secret/db/collector#user", "has no text user", False),
        ("secret/db/collector#port", "has no text port", False),
        ("secret/sealed#password", "does not answer as expected", True),
        ("secret/odd#password", "does not answer as expected", True),
    ],
)
def test_what_vault_does_not_give(db, vault, reference, said, transient):
    """A sealed Vault is tried again, a missing secret is not."""
    error = failure(instance_of("vault", reference))
    assert (said in str(error), error.transient) == (True, transient)


def test_vault_is_unreachable_or_not_set(db, vault, settings):
    instance = instance_of("vault", "secret/db/collector#password")
    settings.TAIFISH_VAULT_URL = "http://127.0.0.1:1"
    assert failure(instance).transient
    settings.TAIFISH_VAULT_URL = ""
    assert "TAIFISH_VAULT_URL is not set" in str(failure(instance))


def test_a_token_of_rds_is_signed_for_this_server_and_user(db, monkeypatch):
    """Signature Version 4, by the documentation:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html"""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    target = target_of(instance_of("rds", "eu-central-1", port=5433, proof="as_before"))
    # A token is a password in clear text.
    assert (target.proof, target.may_send) == ("strict", "nothing")
    parts = urlsplit(f"https://{target.password}")
    query = dict(parse_qsl(parts.query))
    assert (parts.netloc, query["Action"], query["DBUser"]) == ("db.example.org:5433", "connect", "taifish")
    assert (query["X-Amz-Expires"], query["X-Amz-SignedHeaders"]) == ("900", "host")
    signature = query.pop("X-Amz-Signature")
    pairs = "&".join(f"{quote(name, safe='-_.~')}={quote(query[name], safe='-_.~')}" for name in sorted(query))
    empty = hashlib.sha256(b"").hexdigest()
    asked = "\n".join(["GET", "/", pairs, f"host:{parts.netloc}\n", "host", empty])
    scope = query["X-Amz-Credential"].removeprefix("AKIDEXAMPLE/")
    text = "\n".join(
        ["AWS4-HMAC-SHA256", query["X-Amz-Date"], scope, hashlib.sha256(asked.encode()).hexdigest()]
    ).encode()
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    assert hmac.new(key, text, "sha256").hexdigest() == signature
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = failure(Instance.objects.get())
    assert (error.code, error.transient, "AWS gives no token" in str(error)) == ("no_secret", True, True)


def test_a_token_of_azure_is_asked_for_databases(db, serve, monkeypatch):
    asked = []

    def answer(request: Any) -> tuple[int, Any]:
        query = parse_qs(urlsplit(request.path).query)
        asked.append((query["resource"], query.get("client_id"), request.headers["X-IDENTITY-HEADER"]))
        return 200, {
            "access_token": SECRET,
            "expires_on": "4102444800",
            "resource": query["resource"][0],
            "token_type": "Bearer",
        }

    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{serve(answer)}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    client = "11111111-2222-3333-4444-555555555555"
    sources._azure.cache_clear()
    instance = instance_of("azure", client)
    for _visit in range(2):
        target = target_of(instance)
        assert (target.password, target.proof) == (SECRET, "strict")
    # The second visit uses the token of the first.
    assert asked == [(["https://ossrdbms-aad.database.windows.net"], [client], "header")]
    sources._azure.cache_clear()


# Doors


@pytest.mark.parametrize("kind", [name for name, kind in sources.KINDS.items() if not kind.is_stored])
def test_other_kinds_must_list_their_hosts(db, kind):
    """F8.4: nobody can enter such a secret again, so its hosts are always limited."""
    credential = Credential(name="c", username="u", kind=kind, reference=sources.KINDS[kind].example)
    with pytest.raises(ValidationError) as caught:
        credential.full_clean()
    assert set(caught.value.message_dict) == {"hosts"}
    credential.hosts = "*.example.org"
    credential.full_clean()


def test_the_page_changes_a_kind_and_deletes_what_was_stored(db):
    """F8.2: the trail has kind and reference."""
    browser = superstaff()
    credential = Credential.objects.create(name="c", username="u", password=SECRET)
    url = reverse("admin:instances_credential_change", args=[credential.pk])

    def post(**fields: str) -> str:
        return browser.post(url, {"name": "c", "username": "u", **fields}, follow=True).content.decode()

    assert "must list the hosts" in post(kind="vault", reference="secret/db#password")
    assert "of this form" in post(kind="vault", reference="secret", hosts="*.example.org")
    assert "stores no password" in post(
        kind="vault", reference="secret/db#password", hosts="*.example.org", password="x"
    )
    assert Credential.objects.get().token
    post(kind="vault", reference="secret/db#password", hosts="*.example.org")
    credential.refresh_from_db()
    assert (credential.kind, credential.reference, credential.token) == ("vault", "secret/db#password", "")
    event = Event.objects.filter(model="instances.credential").latest("pk")
    assert event.before is not None
    assert event.after is not None
    assert (event.before["kind"], event.after["kind"]) == ("password", "vault")
    assert SECRET not in json.dumps([event.before, event.after])
    # Back again: a password is needed.
    assert "Enter the password" in post(kind="password", reference="")
    post(kind="password", reference="", password=SECRET)
    credential.refresh_from_db()
    assert (credential.kind, credential.password) == ("password", SECRET)
    assert "client certificate" in browser.get(reverse("admin:instances_credential_add")).content.decode()


def test_the_api_makes_and_changes_kinds(db):
    client = client_with("instances.view_credential", "instances.add_credential", "instances.change_credential")
    made = client.post(
        "/api/credentials/",
        {"name": "c", "username": "u", "kind": "file", "reference": "db", "hosts": "10.0.0.0/8"},
        format="json",
    )
    assert (made.status_code, made.json()["kind"], made.json()["reference"]) == (201, "file", "db")
    url = f"/api/credentials/{made.json()['id']}/"
    assert client.patch(url, {"password": "x"}, format="json").json() == {
        "password": ["A credential of this kind stores no password."]
    }
    assert client.patch(url, {"kind": "password", "reference": ""}, format="json").json() == {
        "password": ["This field is required."]
    }
    assert client.patch(url, {"reference": "../etc/passwd"}, format="json").status_code == 400
    answer = client.patch(url, {"kind": "password", "reference": "", "password": SECRET}, format="json")
    assert (answer.status_code, SECRET in answer.content.decode()) == (200, False)
    assert Credential.objects.get().password == SECRET
    assert client.patch(url, {"kind": "file", "reference": "db"}, format="json").status_code == 200
    assert Credential.objects.get().token == ""
    missing = {"name": "d", "username": "u"}
    assert client.post("/api/credentials/", missing, format="json").json() == {"password": ["This field is required."]}
