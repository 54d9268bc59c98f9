from __future__ import annotations

from ..engine import Engine
from . import account, excess, facts, reads, session, sizes
from .semantics import ORACLE

ENGINE = Engine(
    name="oracle",
    label="Oracle",
    port=1521,
    products={"oracle": "Oracle"},
    session=session.OracleSession,
    reads=reads.READS,
    facts=facts,
    sizes=sizes,
    account=account,
    excess=excess.excess,
    semantics=ORACLE,
    features=reads.described,
    tls={"tls_port": True},
    emulated={"Oracle": ("12.1", "19", "23")},
    needs_database=True,
)
