"""Fault 2, F8.1 on real servers: what each rule of proof lets in, and what it refuses by name."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest

from engines.errors import AdapterError
from engines.registry import adapter_for
from engines.target import Target
from taifish.tests.mariadb import MariadbServer, MysqlServer
from taifish.tests.postgres import PostgresServer

from .impostors import Identity, identity, secret
from .test_mysql import DRIVERS, prefer

HBA = """
local all all trust
host all scram_user 127.0.0.1/32 scram-sha-256
host all md5_user 127.0.0.1/32 md5
host all clear_user 127.0.0.1/32 password
host all trust_user 127.0.0.1/32 trust
hostssl all cert_user 127.0.0.1/32 cert
"""


def outcome(target: Target, work: Callable[[Any], object] = lambda adapter: None) -> str:
    """The code of the failure, or "ok" and the certificate that is to be pinned."""
    try:
        with adapter_for(target) as adapter:
            work(adapter)
            return f"ok {adapter.server.certificate}".strip()
    except AdapterError as error:
        return error.code if not target.password or target.password not in f"{error} {error.hint}" else "leak"


def give(own: Identity, folder: Path) -> tuple[Path, Path]:
    """Its certificate and key in a server's folder, as the server's own files."""
    files = folder / "server.crt", folder / "server.key"
    for source, file in zip((own.certificate, own.key), files, strict=True):
        shutil.copy(source, file)
        os.chown(file, folder.stat().st_uid, folder.stat().st_gid)
        file.chmod(0o600)
    return files


@pytest.fixture
def with_methods(postgres_server: Callable[[int], PostgresServer]) -> Iterator[PostgresServer]:
    """A server with a role for each method of pg_hba.conf; it has OpenSSL, which the wheel's servers lack."""
    server = postgres_server(12)
    hba = Path(server.execute("SHOW hba_file")[0][0])
    before = hba.read_text()
    hba.write_text(HBA)
    reload(server)
    yield server
    hba.write_text(before)
    server.execute("ALTER SYSTEM RESET ssl")
    reload(server)
    server.reset()


def reload(server: PostgresServer) -> None:
    """Have new connections meet the new configuration."""
    ((before,),) = server.execute("SELECT pg_conf_load_time()")
    server.execute("SELECT pg_reload_conf()")
    deadline = time.monotonic() + 60
    while server.execute("SELECT pg_conf_load_time()") == [(before,)]:
        assert time.monotonic() < deadline


def roles(server: PostgresServer) -> dict[str, Target]:
    """A target for each of the roles, by the name of its method."""
    found = {}
    for method in ("scram", "md5", "clear", "trust"):
        password = secret()
        encryption = "md5" if method == "md5" else "scram-sha-256"
        server.execute(
            f"SET password_encryption = '{encryption}'; CREATE ROLE {method}_user LOGIN PASSWORD '{password}'"
        )
        found[method] = server.target(f"{method}_user", password)
    return found


def codes(targets: dict[str, Target], **fields: Any) -> dict[str, str]:
    return {method: outcome(replace(target, **fields)) for method, target in targets.items()}


def test_postgresql_without_tls(with_methods: PostgresServer) -> None:
    targets = roles(with_methods)
    unproven = "unproven_server"
    assert codes(targets, proof="strict") == {"scram": "ok", "md5": unproven, "clear": unproven, "trust": unproven}
    assert codes(targets, proof="hashes") == {"scram": "ok", "md5": "ok", "clear": unproven, "trust": unproven}
    assert codes(targets, proof="as_before") == dict.fromkeys(targets, "ok")
    # A local socket is proof. No password, no secret.
    assert codes(targets, proof="strict", host=str(with_methods.cluster.socket_dir)) == dict.fromkeys(targets, "ok")
    assert outcome(replace(targets["trust"], password="", proof="strict")) == "ok"


def test_postgresql_with_tls(with_methods: PostgresServer, tmp_path: Path) -> None:
    server, own = with_methods, identity(tmp_path, "server")
    give(own, server.cluster.data)
    targets = roles(server)
    server.execute("ALTER SYSTEM SET ssl = on")
    reload(server)
    ok, unproven = f"ok {own.fingerprint}", "unproven_server"
    for mode in ("prefer", "require"):
        # Seen, pinned by itself, and compared by a person.
        first = {"scram": ok, "md5": unproven, "clear": unproven, "trust": unproven}
        assert codes(targets, proof="strict", tls_mode=mode) == first
        assert codes(targets, proof="hashes", tls_mode=mode) == first | {"md5": ok}
        pinned: dict[str, Any] = {"proof": "strict", "tls_mode": mode, "certificate": own.fingerprint}
        assert codes(targets, **pinned) == first
        assert codes(targets, **pinned, compared=True) == dict.fromkeys(targets, ok)
        assert codes(targets, **pinned | {"certificate": "ab" * 32}, compared=True) == dict.fromkeys(
            targets, "certificate_changed"
        )
    verified = codes(targets, proof="strict", tls_mode="verify-full", tls_ca=str(own.certificate), host="localhost")
    assert verified == dict.fromkeys(targets, "ok")

    def in_another_database(adapter: Any) -> None:
        """Each connection of a visit is held to the certificate."""
        with adapter.session.inside("template1"):
            assert adapter.session.query(
                "SELECT current_database(), ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            ) == [("template1", True)]

    assert outcome(replace(targets["clear"], **pinned, compared=True), in_another_database) == ok


def test_postgresql_by_client_certificate(with_methods: PostgresServer, tmp_path: Path) -> None:
    """The server maps the certificate's name to the user; the key stays here, whoever the server is."""
    server, own, client = with_methods, identity(tmp_path, "server"), identity(tmp_path, "cert_user")
    give(own, server.cluster.data)
    trusted = server.cluster.data / "clients.crt"
    shutil.copy(client.certificate, trusted)
    os.chown(trusted, server.cluster.data.stat().st_uid, server.cluster.data.stat().st_gid)
    client.key.chmod(0o600)
    server.execute("CREATE ROLE cert_user LOGIN")
    server.execute(f"ALTER SYSTEM SET ssl_ca_file = '{trusted}'")
    server.execute("ALTER SYSTEM SET ssl = on")
    reload(server)
    try:
        files = {"client_certificate": str(client.certificate), "client_key": str(client.key)}
        target = replace(server.target("cert_user", ""), tls_mode="require", proof="strict", **files)
        assert outcome(target) == f"ok {own.fingerprint}"
        verified = replace(target, tls_mode="verify-full", tls_ca=str(own.certificate), host="localhost")
        assert outcome(verified) == "ok"
        assert outcome(replace(verified, client_certificate="", client_key="")) == "auth_failed"
        other = identity(tmp_path, "other")
        other.key.chmod(0o600)
        wrong = replace(verified, client_certificate=str(other.certificate), client_key=str(other.key))
        assert outcome(wrong) in ("tls_failed", "auth_failed")
    finally:
        server.execute("ALTER SYSTEM RESET ssl_ca_file")


@pytest.fixture(params=DRIVERS)
def own_family(request: pytest.FixtureRequest, private_mysql_family: Any, monkeypatch: Any) -> Any:
    prefer(request.param, monkeypatch)
    return private_mysql_family


def test_mysql_by_client_certificate(own_family: Any, tmp_path: Path) -> None:
    """REQUIRE X509 on both servers, with both drivers, guarded and verified."""
    server, own, client = own_family, identity(tmp_path, "server"), identity(tmp_path, "cert_user")
    server.stop()
    certificate, key = give(own, server.data)
    trusted = server.data / "clients.crt"
    shutil.copy(client.certificate, trusted)
    os.chown(trusted, server.data.stat().st_uid, server.data.stat().st_gid)
    server.options |= {"ssl_cert": str(certificate), "ssl_key": str(key), "ssl_ca": str(trusted)}
    server.start()
    server.execute("CREATE USER cert_user@'127.0.0.1' REQUIRE X509")
    server.execute("CREATE USER cert_user@'localhost' REQUIRE X509")
    files = {"client_certificate": str(client.certificate), "client_key": str(client.key)}
    target = replace(server.target("cert_user", ""), tls_mode="require", proof="strict", **files)
    assert outcome(target, encrypted) == f"ok {own.fingerprint}"
    verified = replace(target, tls_mode="verify-full", tls_ca=str(own.certificate), host="localhost")
    assert outcome(verified, encrypted) == "ok"
    assert outcome(replace(verified, client_certificate="", client_key="")) == "auth_failed"


@pytest.fixture(params=DRIVERS)
def own_mariadb(request: pytest.FixtureRequest, private_mariadb: MariadbServer, monkeypatch: Any) -> MariadbServer:
    prefer(request.param, monkeypatch)
    return private_mariadb


def test_mariadb_with_native_passwords(own_mariadb: MariadbServer, tmp_path: Path) -> None:
    """Without TLS and with: its hash goes to who has proved himself, or where hashes are allowed."""
    own_mariadb.socket.parent.chmod(0o711)
    target = own_mariadb.collector(proof="strict", tls_mode="disable")
    assert outcome(target) == "unproven_server"
    assert outcome(replace(target, proof="hashes")) == "ok"
    assert outcome(replace(target, host=str(own_mariadb.socket))) == "ok"
    own_mariadb.stop()
    own = identity(tmp_path, "server")
    certificate, key = give(own, own_mariadb.data)
    own_mariadb.options |= {"ssl_cert": str(certificate), "ssl_key": str(key)}
    own_mariadb.start()
    ok = f"ok {own.fingerprint}"
    for mode in ("prefer", "require"):
        strict = replace(target, tls_mode=mode)
        assert outcome(strict) == "unproven_server"
        assert outcome(replace(strict, proof="hashes")) == ok
        assert outcome(replace(strict, certificate=own.fingerprint)) == "unproven_server"
        assert outcome(replace(strict, certificate="ab" * 32, compared=True)) == "certificate_changed"
        assert outcome(replace(strict, certificate=own.fingerprint, compared=True), encrypted) == ok
    verified = replace(target, tls_mode="verify-full", tls_ca=str(own.certificate), host="localhost")
    assert outcome(verified, encrypted) == "ok"


def encrypted(adapter: Any) -> None:
    ((_, cipher),) = adapter.session.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
    assert cipher


def test_mariadb_with_ed25519(own_mariadb: MariadbServer) -> None:
    """A signature reveals no hash: it needs no proof."""
    with own_mariadb.superuser_cursor() as cursor:
        try:
            cursor.execute("INSTALL SONAME 'auth_ed25519'")
        except pymysql.OperationalError:
            pytest.skip("auth_ed25519.so is not installed: it is in Debian's package mariadb-server")
    password = secret()
    own_mariadb.execute(f"CREATE USER signer IDENTIFIED VIA ed25519 USING PASSWORD('{password}')")
    target = own_mariadb.target("signer", password, proof="strict")
    assert outcome(target) == "ok"
    assert outcome(replace(target, password="wrong")) == "auth_failed"


def test_mysql_with_caching_sha2(private_mysql: MysqlServer) -> None:
    """The first login takes the password itself, the next ones a hash: strictly neither, until a person has compared."""
    target = private_mysql.collector(proof="strict")
    seen = certificate_seen(target)
    assert len(seen) == 64
    for mode in ("prefer", "require", "disable"):
        assert outcome(replace(target, tls_mode=mode)) == "unproven_server"
        # Its cache is empty.
        assert outcome(replace(target, tls_mode=mode, proof="hashes")) == "unproven_server"
    compared = replace(target, certificate=seen, compared=True)
    assert outcome(replace(compared, certificate="ab" * 32)) == "certificate_changed"
    assert outcome(compared, encrypted) == f"ok {seen}"
    # Now it is in the cache.
    assert outcome(replace(target, proof="hashes")) == f"ok {seen}"
    assert outcome(target) == "unproven_server"


def certificate_seen(target: Target) -> str:
    with pytest.raises(AdapterError) as caught, adapter_for(target):
        pass
    return caught.value.certificate
