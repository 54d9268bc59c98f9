"""The kinds of session. Each app that visits instances, or processes what visits have stored, registers its kinds in
AppConfig.ready()."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from django.utils.functional import Promise

from engines.facts import Gap

from .texts import TEXTS, Text

if TYPE_CHECKING:
    from instances.models import Instance

    from .models import SyncRecord, SyncSession

#: Called with the name of the phase that begins. Raises if the visit was cancelled or lost to another worker.
Phase = Callable[[str], None]
FollowUp = Callable[[int], None]

Name = TypeVar("Name")


@dataclass(frozen=True)
class CodedGap(Gap):
    """A gap whose message and hint are the text of its code and `parameters`, made when shown."""

    message: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a visit wrote and could not read (`gaps`).

    `summary` has counts by name; as "renames" it may have a list of old and new names. `skipped` is the code of the
    reason if there was nothing to do: the visit then counts as skipped.
    """

    summary: Mapping[str, int | str | Sequence[tuple[str, str]]]
    gaps: Sequence[Gap] = ()
    skipped: str = ""


@dataclass(frozen=True)
class VisitKind:
    """One kind of visit.

    `read(instance, phase)` queries the server and returns facts. It calls `phase` before each phase, opens no local
    transaction, and raises AdapterError. `write(instance, facts, record)` stores the facts inside the transaction of
    the visit; it raises `ImplausibleShrink` if a user must confirm them first. `follow_ups` are called with the id of
    each closed session, sometimes twice. `texts` are those of the codes in its outcomes and gaps.
    """

    name: str
    label: str | Promise
    read: Callable[[Instance, Phase], Any]
    write: Callable[[Instance, Any, SyncRecord], Outcome]
    follow_ups: list[FollowUp] = field(default_factory=list)
    texts: Mapping[str, Text] = field(default_factory=dict)


@dataclass(frozen=True)
class StoreKind:
    """One kind of session that connects to no server: it processes the store, for many instances at once.

    `write(session, instance_ids)` is called with at most `batch` instances, inside the transaction that also ends their
    records, and returns an outcome for each. If it raises, the batch is rolled back and its halves are tried
    separately, until a single instance remains: its record fails with the error. `session.params` holds the parameters
    of the session, and is empty by default.
    """

    name: str
    label: str | Promise
    write: Callable[[SyncSession, Sequence[int]], Mapping[int, Outcome]]
    batch: int = 500
    follow_ups: list[FollowUp] = field(default_factory=list)
    texts: Mapping[str, Text] = field(default_factory=dict)


class ImplausibleShrink(Exception):
    """More of what was there would end than is plausible. The visit is held until a user confirms `ending`."""

    code = "suspicious_shrink"

    def __init__(self, what: str, present: int, ending: int) -> None:
        super().__init__(f"{ending} of {present} {what} would end")
        self.ending = ending
        self.parameters = {"what": what, "present": present, "ending": ending}


def hold_shrink(what: str, present: int, ending: int, *, confirmed: int, implausible: bool) -> None:
    """Raise ImplausibleShrink if an implausible part of what is there would end, and no user has confirmed as much."""
    if ending and implausible and ending > confirmed:
        raise ImplausibleShrink(what, present, ending)


def same_server(before: Mapping[Name, str], now: Mapping[Name, str]) -> bool:
    """Whether an id of `before` means the same object in `now`. Both map name to native id, "" for none.

    Another server at the same address may use the same ids for other objects. So at least two names must have kept
    their id, and at least as many as have another one.
    """
    both = [(before[name], now[name]) for name in before.keys() & now.keys() if before[name] and now[name]]
    kept = sum(old == new for old, new in both)
    return kept >= 2 and 2 * kept >= len(both)


KINDS: dict[str, VisitKind | StoreKind] = {}


def register(kind: VisitKind | StoreKind) -> None:
    """Add a kind of session. Raises ValueError if another kind has its name."""
    if KINDS.setdefault(kind.name, kind) is not kind:
        raise ValueError(f"a kind named {kind.name!r} is already registered")
    TEXTS.update(kind.texts)


def store_kinds() -> list[str]:
    """The names of the kinds that connect to no server."""
    return [kind.name for kind in KINDS.values() if isinstance(kind, StoreKind)]


def after(name: str, follow_up: FollowUp) -> None:
    """Call `follow_up` with the id of each closed session of that kind."""
    KINDS[name].follow_ups.append(follow_up)
