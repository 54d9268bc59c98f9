"""A kind of visit whose reads and writes the test decides, for what is true of every kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from instances.models import Credential, Instance
from sync import registry, services
from sync.models import SyncRecord, SyncSession
from sync.registry import Outcome, Phase, VisitKind


@dataclass
class Probe:
    """The kind "probe": replace `read` or `write`; `visited` lists the instances read, in order."""

    read: Callable[[Instance, Phase], Any] = lambda instance, phase: None
    write: Callable[[Instance, Any, SyncRecord], Outcome] = lambda instance, facts, record: Outcome({"rows": 1})
    visited: list[str] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)

    def start(self, trigger: str = "manual", **options: Any) -> SyncSession:
        options.setdefault("enqueue", False)
        return services.start("probe", options.pop("instances", Instance.objects.all()), trigger=trigger, **options)

    def run(self, trigger: str = "manual", **options: Any) -> SyncSession:
        return services.run_here(self.start(trigger, **options))


@pytest.fixture(autouse=True)
def nothing_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What apps above do after a visit is theirs to test."""
    for kind in list(registry.KINDS.values()):
        monkeypatch.setitem(registry.KINDS, kind.name, replace(kind, follow_ups=[]))


@pytest.fixture
def probe(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Probe]:
    it = Probe()

    def read(instance: Instance, phase: Phase) -> Any:
        it.visited.append(instance.name)
        return it.read(instance, phase)

    kind = VisitKind(
        "probe", "Probe", read, lambda instance, facts, record: it.write(instance, facts, record), [it.closed.append]
    )
    monkeypatch.setitem(registry.KINDS, "probe", kind)
    return it


@pytest.fixture
def make_instances(transactional_db: None) -> Callable[..., list[Instance]]:
    def make(count: int = 1, host: str = "") -> list[Instance]:
        credential, _ = Credential.objects.get_or_create(name="nobody", defaults={"username": "nobody"})
        return Instance.objects.bulk_create(
            Instance(name=f"db{n:04}", engine="postgresql", host=host or f"host{n}", credential=credential)
            for n in range(count)
        )

    return make
