"""How an abacus combines grants: a grant on everything applies to each table."""

from __future__ import annotations

from engines.semantics import Semantics

ABACUS = Semantics(paths={"system": 0, "table": 2}, containers={"table": ("system",)})
