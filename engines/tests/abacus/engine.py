from __future__ import annotations

from engines.engine import Engine

from . import account, excess, facts, reads, session, sizes
from .semantics import ABACUS

ENGINE = Engine(
    name="abacus",
    label="Abacus",
    port=1,
    products={"abacus": "Abacus"},
    session=session.AbacusSession,
    reads=reads.READS,
    facts=facts,
    sizes=sizes,
    account=account,
    excess=excess.excess,
    semantics=ABACUS,
)
