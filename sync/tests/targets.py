"""Instances that lead to the real servers: a pytest plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from engines.target import Target
from instances.models import Credential, Instance
from sync import services
from sync.models import SyncRecord
from taifish.tests.mariadb import MariadbServer, MysqlFamilyServer


def visit_once(kind: str, instance: Instance, **options: object) -> SyncRecord:
    """The record of one visit, whatever became of it."""
    options.setdefault("attempts", 1)
    chosen = Instance.objects.filter(pk=instance.pk)
    session = services.start(kind, chosen, trigger="manual", enqueue=False, **options)
    return services.run_here(session).records.get()


@contextmanager
def history_of(target: Target) -> Iterator[Instance]:
    """An instance for one random history, which is deleted with all its rows."""
    credential = Credential.objects.create(name="history", username=target.username, password=target.password)
    values = {"engine": target.engine, "host": target.host, "port": target.port, "proof": target.proof, "level": "C"}
    instance = Instance.objects.create(name="history", credential=credential, **values)
    try:
        yield instance
    finally:
        instance.delete()
        credential.delete()


@pytest.fixture
def server(postgres18) -> Iterator:
    postgres18.reset()
    yield postgres18
    postgres18.reset()


@pytest.fixture
def add(transactional_db) -> Callable[..., Instance]:
    def add(name: str, target=None, **fields: object) -> Instance:
        username, password = (target.username, target.password) if target else ("nobody", "secret")
        credential = Credential.objects.create(name=name, username=username, password=password)
        values = {"engine": "postgresql", "host": "127.0.0.1", "tls_mode": "prefer", "level": "A"} | fields
        if target:
            values |= {"engine": target.engine, "host": target.host, "port": target.port, "tls_mode": target.tls_mode}
            values |= {"proof": target.proof} | fields
        return Instance.objects.create(name=name, credential=credential, **values)

    return add


@pytest.fixture
def maria_server(mariadb_newest: MariadbServer) -> Iterator[MariadbServer]:
    mariadb_newest.reset()
    yield mariadb_newest
    mariadb_newest.reset()


@pytest.fixture
def family_server(mysql_family: MysqlFamilyServer) -> Iterator[MysqlFamilyServer]:
    """Each MariaDB and MySQL in turn."""
    mysql_family.reset()
    yield mysql_family
    mysql_family.reset()
