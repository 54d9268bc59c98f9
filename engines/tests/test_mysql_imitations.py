"""Fault 15: a server that only answers like MySQL is named and refused, before anything of it is taken for a fact."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.errors import AdapterError
from engines.mysql.errors import refuse_imitation
from engines.registry import adapter_for
from engines.target import Target

from .impostors import impostor, mysql
from .test_mysql import DRIVERS, prefer


@pytest.fixture(params=DRIVERS)
def chosen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    prefer(request.param, monkeypatch)
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def seekdb() -> Iterator[Path]:
    """The socket of an OceanBase seekdb, which says of itself that it is MySQL 5.7.25."""
    try:
        import pylibseekdb
    except ImportError:
        missing = "pylibseekdb is not installed: pip install --requirement requirements-dev.txt"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="taifish-seekdb-", dir="/tmp", ignore_cleanup_errors=True) as folder,
    ):
        # It would report to its makers.
        patch.setenv("TELEMETRY_ENABLED", "false")
        pylibseekdb.open(f"{folder}/db")
        yield Path(pylibseekdb.connection_options()["unix_socket"])
        pylibseekdb.close()


def refusal(target: Target) -> AdapterError:
    with pytest.raises(AdapterError) as caught, adapter_for(target):
        pass
    assert (caught.value.code, caught.value.transient) == ("unsupported", False)
    return caught.value


def test_oceanbase(seekdb: Path, chosen: str) -> None:
    """Fault 15: nothing in its handshake gives it away."""
    error = refusal(Target("mysql", str(seekdb), "root", database="oceanbase"))
    assert str(error).startswith("the server is OceanBase, not MySQL or MariaDB (OceanBase 4.")
    assert "OceanBase uses MySQL's protocol" in error.hint


@pytest.mark.parametrize("proof", ["strict", "hashes", "as_before"])
def test_tidb(chosen: str, proof: str) -> None:
    """Fault 15: by the version of its handshake."""
    with impostor(mysql("ok", version="8.0.11-TiDB-v8.5.0")) as server:
        error = refusal(Target("mysql", "127.0.0.1", "taifish", "some-password", port=server.port, proof=proof))
        assert server.obtained("taifish", "some-password") <= (
            set() if proof != "as_before" else {"mysql_native_password"}
        )
    assert str(error) == "the server is TiDB, not MySQL or MariaDB (8.0.11-TiDB-v8.5.0)"


@pytest.mark.parametrize(
    "said",
    [
        "5.7.44-log", "8.4.3", "9.7.4", "8.0.36-28", "10.11.19-MariaDB-0+deb12u1", "11.8.9-MariaDB", "8.0.35-azure",
        "MySQL Community Server - GPL", "Percona Server (GPL), Release 28", "MySQL Enterprise - Commercial",
        "Source distribution", "(Debian)", "Debian 12", "MariaDB Server", "managed by https://aws.amazon.com/rds/",
        "8.0.34-google", "(Ubuntu)", "10.6.12-MariaDB-1:10.6.12+maria~ubu2004-log", "Percona XtraDB Cluster (GPL)",
    ],
)  # fmt: skip
def test_what_is_mysql_or_mariadb(said: str) -> None:
    refuse_imitation(said)


def test_what_is_not() -> None:
    for said, name in {
        "5.7.25-OceanBase-v4.2.1.0": "OceanBase",
        "OceanBase_CE 4.3.5 (r1)": "OceanBase",
        "TiDB Server (Apache License 2.0) Community Edition": "TiDB",
        "8.0.30-Vitess": "Vitess",
        "Doris version doris-2.1.7": "Apache Doris",
        "5.6.29-TDDL-5.4.13": "PolarDB-X",
        "SingleStoreDB source distribution": "SingleStore",
    }.items():
        with pytest.raises(AdapterError, match=f"^the server is {name}"):
            refuse_imitation(said)
