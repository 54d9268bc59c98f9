from __future__ import annotations

from ..adapter import Adapter
from ..engine import Engine
from ..target import Target
from . import account
from .semantics import ORACLE


def _adapter(target: Target) -> Adapter:
    from .adapter import OracleAdapter

    return OracleAdapter(target)


ENGINE = Engine(
    name="oracle",
    label="Oracle (verified against an emulated dictionary)",
    port=1521,
    products={"oracle": "Oracle"},
    adapter=_adapter,
    semantics=ORACLE,
    script=account.script,
    remarks=account.remarks,
    lock=account.lock,
    revoke=account.revoke,
    nameless=account.nameless,
    needs_database=True,
)
