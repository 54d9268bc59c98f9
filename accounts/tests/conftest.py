"""Instances that lead to the real servers, and ways to visit them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from instances.models import Credential, Instance


@pytest.fixture
def instances(db: None) -> list[Instance]:
    credential = Credential.objects.create(name="c", username="u")
    return [
        Instance.objects.create(name=name, engine=engine, host=name, credential=credential)
        for name, engine in (("pg", "postgresql"), ("my", "mysql"))
    ]


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
        values = {"engine": "postgresql", "host": "127.0.0.1", "tls_mode": "prefer"} | fields
        if target:
            values |= {"engine": target.engine, "host": target.host, "port": target.port, "tls_mode": target.tls_mode}
        return Instance.objects.create(name=name, credential=credential, **values)

    return add
