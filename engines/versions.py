"""What only some versions of an engine have: two servers that differ in nothing else are alike."""

from __future__ import annotations

import re
from dataclasses import dataclass

Version = tuple[int, ...]


@dataclass(frozen=True)
class OnlyIn:
    """Grants that servers have from version `since` on and before `until`, given by their nature or not grantable
    elsewhere. Empty fields match everything; `last` is the last name of the path."""

    kind: str = ""
    privilege: str = ""
    account: str = ""
    last: str = ""
    since: Version = ()
    until: Version = (999,)

    def has(self, version: Version) -> bool:
        return self.since <= version < self.until


def version_of(text: str) -> Version:
    """The numbers that a version begins with: (16, 14) of "16.14 (Debian)"; () if there are none."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()
