"""The list of engines. To add one, add a folder here and its name to `ENGINES`."""

from __future__ import annotations

from dataclasses import replace

from .adapter import Adapter
from .engine import Engine
from .errors import AdapterError
from .mysql.engine import ENGINE as MYSQL
from .oracle.engine import ENGINE as ORACLE
from .postgresql.engine import ENGINE as POSTGRESQL
from .target import Target

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (POSTGRESQL, MYSQL, ORACLE)}


def engine_named(text: str) -> str:
    """The key of the engine that people call so: "Postgres" is postgresql, "MariaDB" is mysql. Another text is returned
    as it is."""
    word = text.strip().lower()
    return next((name for name, engine in ENGINES.items() if word in (name, *engine.products, *engine.also)), text)


def engine_choices() -> list[tuple[str, str]]:
    """(name, label) of each engine. A function, so that migrations do not list them."""
    return [(name, engine.label) for name, engine in ENGINES.items()]


def how_tested(product: str, version: str) -> str:
    """ "real" if the tests visit such a server, "emulated" if they visit tables built from its manuals, "" if no test
    covers this version."""
    for engine in ENGINES.values():
        for how, versions in (("real", engine.tested), ("emulated", engine.emulated)):
            if any(f"{version}.".startswith(f"{begin}.") for begin in versions.get(product, ())):
                return how
    return ""


def aimed(target: Target) -> Target:
    """The target with the TLS properties of its engine."""
    return replace(target, **ENGINES[target.engine].tls) if target.engine in ENGINES else target


def adapter_for(target: Target) -> Adapter:
    """An unopened adapter for the target. Raises AdapterError("unsupported") for an unknown engine."""
    if target.engine not in ENGINES:
        raise AdapterError(
            f"unknown engine {target.engine!r}",
            code="unsupported",
            hint=f"Engines: {', '.join(sorted(ENGINES))}.",
        )
    return Adapter(ENGINES[target.engine], target)
