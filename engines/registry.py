"""The engines. A new one is a folder here and a name in `ENGINES`."""

from __future__ import annotations

from .adapter import Adapter
from .engine import Engine
from .errors import AdapterError
from .mysql.engine import ENGINE as MYSQL
from .oracle.engine import ENGINE as ORACLE
from .postgresql.engine import ENGINE as POSTGRESQL
from .target import Target

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (POSTGRESQL, MYSQL, ORACLE)}


def engine_choices() -> list[tuple[str, str]]:
    """(name, label) of each engine. A function, so that migrations do not list them."""
    return [(name, engine.label) for name, engine in ENGINES.items()]


def adapter_for(target: Target) -> Adapter:
    """An unopened adapter for the target. Raises AdapterError("unsupported") for an unknown engine."""
    if target.engine not in ENGINES:
        raise AdapterError(
            f"no adapter serves the engine {target.engine!r}",
            code="unsupported",
            hint=f"Engines: {', '.join(sorted(ENGINES))}.",
        )
    return ENGINES[target.engine].adapter(target)
