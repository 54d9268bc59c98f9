"""How an abacus combines grants: what is given on everything holds on each table."""

from __future__ import annotations

from engines.semantics import Semantics

ABACUS = Semantics(paths={"system": 0, "table": 2}, containers={"table": ("system",)})
