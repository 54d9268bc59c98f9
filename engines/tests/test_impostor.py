"""Fault 2, F8.1: a server that impersonates an instance never obtains the stored password.

Impostors of both protocols keep every byte; that they would obtain the password is proved with the rule that holds for
instances of earlier releases.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.errors import AdapterError
from engines.registry import adapter_for
from engines.target import Target

from .impostors import Identity, Impostor, identity, impostor, mysql, postgresql, secret
from .test_mysql import DRIVERS, prefer

USER = "taifish"

#: What the server asks for, and what of it an instance may send that allows hashes.
MYSQL_METHODS = {
    "mysql_clear_password": set(),
    "dialog": set(),
    "sha256_password": set(),
    "caching_sha2_password": {"caching_sha2_password"},
    "mysql_native_password": {"mysql_native_password"},
}
GREETINGS = ("mysql_native_password", "caching_sha2_password", "sha256_password", "")


@pytest.fixture(params=["plain", "own certificate"])
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Identity | None:
    """What the impostor shows: no TLS, or a certificate that it made."""
    return identity(tmp_path, "impostor") if request.param == "own certificate" else None


@pytest.fixture(params=DRIVERS)
def chosen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    prefer(request.param, monkeypatch)
    name: str = request.param
    return name


def refused(server: Impostor, engine: str, **fields: Any) -> tuple[AdapterError, set[str]]:
    """How connecting failed, and what the server obtained of the password."""
    password = secret()
    settings = {"host": "127.0.0.1", "port": server.port, "connect_timeout": 5} | fields
    target = Target(engine, username=USER, password=password, **settings)
    with pytest.raises(AdapterError) as caught, adapter_for(target):
        pass
    assert password not in f"{caught.value} {caught.value.hint}"
    return caught.value, server.obtained(USER, password)


@pytest.mark.parametrize("method", ["clear", "md5"])
def test_postgresql_obtains_what_it_asks_for_where_all_is_as_before(method: str, own: Identity | None) -> None:
    with impostor(postgresql(method), own) as server:
        _, obtained = refused(server, "postgresql", proof="as_before")
    assert obtained == {"clear": {"password"}, "md5": {"md5"}}[method]


@pytest.mark.parametrize("mode", ["disable", "prefer", "require"])
@pytest.mark.parametrize("method", ["clear", "md5", "nothing"])
def test_postgresql_obtains_nothing(method: str, mode: str, own: Identity | None) -> None:
    """Not even by asking for no password, where one is stored: a server that skips it has proved nothing."""
    with impostor(postgresql(method), own) as server:
        error, obtained = refused(server, "postgresql", proof="strict", tls_mode=mode)
        hashes, hashed = refused(server, "postgresql", proof="hashes", tls_mode=mode)
    assert (obtained, hashed) == (set(), {"md5"} if method == "md5" and hashes.code != "tls_failed" else set())
    if mode == "require" and own is None:
        assert (error.code, error.transient) == ("tls_failed", False)
    else:
        assert (error.code, error.transient) == ("unproven_server", False)
        assert "has not proved its identity" in str(error)
        assert "scram-sha-256" in error.hint
        # The fingerprint to compare, where there is one.
        assert error.certificate == (own.fingerprint if own and mode != "disable" else "")


@pytest.mark.parametrize("method", MYSQL_METHODS)
def test_mysql_obtains_what_it_asks_for_where_all_is_as_before(
    method: str, own: Identity | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By PyMySQL; what mysqlclient answers hangs on the plugins of its library."""
    prefer("PyMySQL", monkeypatch)
    with impostor(mysql(method), own) as server:
        _, obtained = refused(server, "mysql", proof="as_before")
    assert ("password" in obtained) == (method != "mysql_native_password")
    assert "mysql_native_password" in obtained


@pytest.mark.parametrize("mode", ["disable", "prefer", "require", "verify-ca"])
@pytest.mark.parametrize("method", MYSQL_METHODS)
def test_mysql_obtains_nothing(method: str, mode: str, own: Identity | None, chosen: str) -> None:
    """With either driver: the guess that a driver makes before it is asked is held back too."""
    for greeting in GREETINGS:
        with impostor(mysql(method, greeting), own) as server:
            error, obtained = refused(server, "mysql", proof="strict", tls_mode=mode)
            assert obtained == set(), greeting
            hashes, hashed = refused(server, "mysql", proof="hashes", tls_mode=mode)
            assert hashed <= {"mysql_native_password", "caching_sha2_password"}, greeting
            assert MYSQL_METHODS[method] <= hashed or hashes.code == "tls_failed", greeting
        if mode == "verify-ca" or (mode == "require" and own is None):
            assert (error.code, error.transient) == ("tls_failed", False), greeting
        else:
            assert (error.code, error.transient) == ("unproven_server", False), greeting
            assert error.certificate == (own.fingerprint if own and mode != "disable" else ""), greeting


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
@pytest.mark.parametrize("proof", ["strict", "hashes", "as_before"])
def test_a_certificate_that_no_authority_signed(
    engine: str, proof: str, own: Identity | None, chosen: str, tmp_path: Path
) -> None:
    """Verified TLS is proof, and whoever has none gets nothing, in each driver."""
    ca = str(identity(tmp_path, "authority").certificate)
    for mode in ("verify-ca", "verify-full"):
        with impostor(
            {"postgresql": postgresql("clear"), "mysql": mysql("mysql_clear_password")}[engine], own
        ) as server:
            error, obtained = refused(server, engine, proof=proof, tls_mode=mode, tls_ca=ca, host="localhost")
        assert (error.code, obtained) == ("tls_failed", set()), mode


@pytest.mark.parametrize("engine", ["postgresql", "mysql", "oracle"])
@pytest.mark.parametrize("proof", ["strict", "hashes"])
@pytest.mark.parametrize("compared", [False, True])
def test_another_certificate_than_the_pinned_one(
    engine: str, proof: str, compared: bool, chosen: str, tmp_path: Path
) -> None:
    """A name of its own, permanent, and the server learns not even the user's name."""
    own, pinned = identity(tmp_path, "impostor"), identity(tmp_path, "server")
    talk = {"postgresql": postgresql("clear"), "mysql": mysql("mysql_clear_password"), "oracle": _tls_at_once}[engine]
    fields: dict[str, Any] = {"proof": proof, "certificate": pinned.fingerprint, "compared": compared, "database": "x"}
    with impostor(talk, own) as server:
        error, obtained = refused(server, engine, tls_mode="require", **fields)
        assert (error.code, error.transient, obtained) == ("certificate_changed", False, set())
        assert error.certificate == own.fingerprint
        assert USER.encode() not in server.received


def _tls_at_once(wire: Any) -> None:
    wire.start_tls()
    wire.rest()


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
def test_no_way_back_to_plain_text(engine: str, chosen: str) -> None:
    """A pinned certificate says that TLS was used before: a server without it gets nothing, whatever it asks for."""
    talk = {"postgresql": postgresql("md5"), "mysql": mysql("mysql_native_password")}[engine]
    with impostor(talk) as server:
        error, obtained = refused(server, engine, proof="hashes", certificate="ab" * 32, compared=True)
        assert (error.code, error.transient, obtained) == ("tls_failed", False, set())
        assert USER.encode() not in server.received


@pytest.mark.parametrize(("engine", "sent"), [("postgresql", {"password"}), ("mysql", {"password"})])
def test_a_pin_is_proof_only_when_a_person_compared_it(
    engine: str, sent: set[str], chosen: str, tmp_path: Path
) -> None:
    """One pinned at a first visit may be that of an impostor who was there first."""
    own = identity(tmp_path, "server")
    talk = {"postgresql": postgresql("clear"), "mysql": mysql("mysql_clear_password")}[engine]
    for compared, expected in ((False, set()), (True, sent)):
        with impostor(talk, own) as server:
            _, obtained = refused(server, engine, proof="strict", certificate=own.fingerprint, compared=compared)
        assert obtained & {"password"} == expected


def test_libpq_is_held_to_self_signed_certificates_alone(tmp_path: Path) -> None:
    """One that an unknown authority signed, or whose time is over, opens no way for clear text, compared or not."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "some authority")])
    signed = identity(tmp_path, "signed", ca=(issuer, ec.generate_private_key(ec.SECP256R1())))
    for own in (signed, identity(tmp_path, "expired", days=-1)):
        with impostor(postgresql("clear"), own) as server:
            error, obtained = refused(server, "postgresql", proof="strict", certificate=own.fingerprint, compared=True)
        assert (error.code, obtained) == ("unproven_server", set())
        assert "self-signed" in error.hint


def test_an_old_libpq_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 16 it has no `require_auth`, and answers whatever it is asked."""
    import psycopg2.extensions

    monkeypatch.setattr(psycopg2.extensions, "libpq_version", lambda: 150004)
    with impostor(postgresql("clear")) as server:
        error, obtained = refused(server, "postgresql", proof="strict")
    assert (error.code, obtained) == ("driver_missing", set())


@pytest.mark.parametrize("mode", ["disable", "prefer", "require"])
def test_oracle_s_login_is_a_hash(mode: str, tmp_path: Path) -> None:
    """Strictly, nothing is written to a listener that has not proved itself, not even a name."""
    own = identity(tmp_path, "impostor")
    with impostor(_tls_at_once, own) as server:
        error, obtained = refused(server, "oracle", database="x", proof="strict", tls_mode=mode)
        assert (error.code, obtained, bytes(server.received)) == ("unproven_server", set(), b"")
    assert error.certificate == (own.fingerprint if mode == "require" else "")


def test_mysqlclient_serves_only_who_has_proved_himself() -> None:
    from engines.mysql.session import driver

    pytest.importorskip("MySQLdb")
    target = Target("mysql", "db.example.org", USER, "pw", proof="strict", tls_ca="/ca.pem")
    assert driver(target).name == "PyMySQL"
    for proved in (replace(target, tls_mode="verify-full"), replace(target, host="/run/mysqld.sock")):
        assert driver(proved).name == "mysqlclient"
