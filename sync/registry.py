"""The kinds of visit, registered from above: each app that visits instances adds its own in AppConfig.ready()."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from instances.adapters.base import Gap

if TYPE_CHECKING:
    from instances.models import Instance

    from .models import SyncRecord

#: Called with the name of the phase that begins. Raises when the visit is no longer ours or was cancelled.
Phase = Callable[[str], None]
FollowUp = Callable[[int], None]


@dataclass(frozen=True)
class Outcome:
    """What a visit wrote: counts for people (`summary`) and what could not be read (`gaps`)."""

    summary: Mapping[str, int | str]
    gaps: Sequence[Gap] = ()


@dataclass(frozen=True)
class VisitKind:
    """One kind of visit.

    `read(instance, phase)` talks to the target, announcing each phase, with no local transaction open, and returns
    facts; it raises AdapterError. `write(instance, facts, record)` stores them inside the visit's one transaction
    and may raise `Held` to refuse facts that a person must confirm. `follow_ups` are called with the id of each
    closed session; they must bear being called twice.
    """

    name: str
    label: str
    read: Callable[[Instance, Phase], Any]
    write: Callable[[Instance, Any, SyncRecord], Outcome]
    follow_ups: list[FollowUp] = field(default_factory=list)


class Held(Exception):
    """Facts that are too implausible to store unseen. `count` is what a person would confirm."""

    def __init__(self, message: str, *, code: str, hint: str, count: int) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.count = count


KINDS: dict[str, VisitKind] = {}


def register(kind: VisitKind) -> None:
    """Add a kind of visit. Registering a name twice is a programming error."""
    if KINDS.setdefault(kind.name, kind) is not kind:
        raise ValueError(f"a visit kind named {kind.name!r} is registered already")


def after(name: str, follow_up: FollowUp) -> None:
    """Have `follow_up` called with the id of each closed session of that kind."""
    KINDS[name].follow_ups.append(follow_up)
