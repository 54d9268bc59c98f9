"""Instances to store accounts of."""

from __future__ import annotations

import pytest

from instances.models import Credential, Instance


@pytest.fixture
def instances(db: None) -> list[Instance]:
    credential = Credential.objects.create(name="c", username="u")
    return [
        Instance.objects.create(name=name, engine=engine, host=name, credential=credential)
        for name, engine in (("pg", "postgresql"), ("my", "mysql"))
    ]
