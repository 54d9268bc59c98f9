"""The registry: engine → label, default port, adapter, semantics. A new engine is one file and one line here.

Adapters are imported on first use and import their driver themselves, so that a missing driver harms only its
own engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from .base import Adapter, AdapterError, Target
from .semantics import MYSQL, ORACLE, POSTGRESQL, Semantics


@dataclass(frozen=True)
class Engine:
    """`needs_database`: there is no usual one to connect to, so an instance has to name it."""

    label: str
    port: int
    adapter: str
    semantics: Semantics
    needs_database: bool = False


ENGINES = {
    "postgresql": Engine("PostgreSQL", 5432, "instances.adapters.postgresql.PostgreSQLAdapter", POSTGRESQL),
    "mysql": Engine("MySQL / MariaDB", 3306, "instances.adapters.mysql.MySQLAdapter", MYSQL),
    "oracle": Engine(
        "Oracle (verified against an emulated dictionary)",
        1521,
        "instances.adapters.oracle.OracleAdapter",
        ORACLE,
        needs_database=True,
    ),
}

ENGINE_CHOICES = [(name, engine.label) for name, engine in ENGINES.items()]


def adapter_for(target: Target) -> Adapter:
    """An unopened adapter for the target. Raises AdapterError("unsupported") for an engine nobody serves."""
    try:
        engine = ENGINES[target.engine]
    except KeyError:
        raise AdapterError(
            f"no adapter serves the engine {target.engine!r}",
            code="unsupported",
            hint=f"Engines: {', '.join(sorted(ENGINES))}.",
        ) from None
    module, _, name = engine.adapter.rpartition(".")
    adapter: Adapter = getattr(import_module(module), name)(target)
    return adapter
