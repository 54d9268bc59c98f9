from __future__ import annotations

from ..adapter import Adapter
from ..engine import Engine
from ..target import Target
from . import account
from .semantics import POSTGRESQL


def _adapter(target: Target) -> Adapter:
    from .adapter import PostgreSQLAdapter

    return PostgreSQLAdapter(target)


ENGINE = Engine(
    name="postgresql",
    label="PostgreSQL",
    port=5432,
    products={"postgresql": "PostgreSQL"},
    adapter=_adapter,
    semantics=POSTGRESQL,
    script=account.script,
    remarks=account.remarks,
    lock=account.lock,
    revoke=account.revoke,
    nameless=account.nameless,
    grants_per_database=True,
)
