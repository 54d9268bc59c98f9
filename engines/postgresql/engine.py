from __future__ import annotations

from ..engine import Engine
from . import account, excess, facts, reads, session, sizes
from .semantics import ONLY_IN, POSTGRESQL

ENGINE = Engine(
    name="postgresql",
    label="PostgreSQL",
    port=5432,
    products={"postgresql": "PostgreSQL"},
    also=("postgres",),
    session=session.PostgreSQLSession,
    reads=reads.READS,
    facts=facts,
    sizes=sizes,
    account=account,
    excess=excess.excess,
    semantics=POSTGRESQL,
    inside=account.inside,
    # For verify-ca, libpq never uses the system's authorities.
    tls={"system_authorities": False},
    tested={"PostgreSQL": ("12", "13", "14", "15", "16", "17", "18")},
    grants_per_database=True,
    only_in=ONLY_IN,
)
