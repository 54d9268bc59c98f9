"""Find the stored row of each database by the id that the server gives it.

A renamed database keeps its row and its sizes. One that was dropped and created again under its name gets a new row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from engines.facts import DatabaseFact
from sync.registry import same_server

#: An id as long as this is a GUID: no two servers use it for different databases.
GUID_LENGTH = 32


class Stored(NamedTuple):
    """A row of `Database`."""

    pk: int
    name: str
    native_id: str
    is_system: bool
    gone_at: datetime | None


@dataclass
class Match:
    """`found` maps names of facts to stored rows; the other facts are new databases. `ended` are the present rows that
    are gone now. `recreated` counts the new databases that have the name of one that is gone."""

    found: dict[str, Stored] = field(default_factory=dict)
    ended: list[Stored] = field(default_factory=list)
    recreated: int = 0

    @property
    def renamed(self) -> list[tuple[Stored, str]]:
        return [(row, name) for name, row in self.found.items() if row.name != name]

    @property
    def reappeared(self) -> int:
        return sum(row.gone_at is not None for row in self.found.values())


def match(stored: Iterable[Stored], facts: Sequence[DatabaseFact], *, listed: bool) -> Match:
    """Match facts with rows by id, then the rest by name if the fact or the row has no id.

    `stored` has the present rows first, then the last one gone. Without `listed`, the list of facts is incomplete, and
    a row that is missing from it stays.
    """
    names = {fact.name: fact.native_id for fact in facts}
    by_id: dict[str, list[Stored]] = defaultdict(list)
    by_name: dict[str, list[Stored]] = defaultdict(list)
    own, present = {}, []
    for row in stored:
        by_id[row.native_id].append(row)
        by_name[row.name].append(row)
        if row.gone_at is None:
            present.append(row)
            if not row.is_system:
                own[row.name] = row.native_id
    result, taken, is_same = Match(), set(), same_server(own, names)
    for name, native_id in names.items():
        believed = is_same or _is_guid(native_id)
        for row in by_id[native_id] if native_id else ():
            if (believed or row.name == name) and row.pk not in taken:
                result.found[name] = row
                taken.add(row.pk)
                break
    for name in names.keys() - result.found.keys():
        for row in by_name[name]:
            if not (row.native_id and names[name]) and row.pk not in taken:
                result.found[name] = row
                taken.add(row.pk)
                break
    result.ended = [row for row in present if row.pk not in taken and (listed or row.name in names)]
    new = names.keys() - result.found.keys()
    result.recreated = sum(bool(by_name[name]) and by_name[name][0].pk not in taken for name in new)
    return result


def _is_guid(native_id: str) -> bool:
    """Whether it is a GUID. One of zeros stands for none."""
    return len(native_id) >= GUID_LENGTH and native_id.strip("0") != ""
