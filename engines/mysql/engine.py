from __future__ import annotations

from ..adapter import Adapter
from ..engine import Engine
from ..target import Target
from . import account
from .semantics import MYSQL


def _adapter(target: Target) -> Adapter:
    from .adapter import MySQLAdapter

    return MySQLAdapter(target)


ENGINE = Engine(
    name="mysql",
    label="MySQL / MariaDB",
    port=3306,
    products={"mysql": "MySQL", "mariadb": "MariaDB"},
    adapter=_adapter,
    semantics=MYSQL,
    script=account.script,
    remarks=account.remarks,
    lock=account.lock,
    revoke=account.revoke,
    nameless=account.nameless,
    has_hosts=True,
)
