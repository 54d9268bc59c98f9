"""Effective rights with their words: the rows of page, file and command."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from accounts.models import Grant

from .questions import BATCH, Effective
from .wording import usable_at_once


@dataclass(frozen=True)
class Rights:
    """Some `grants` of an answer, each with its path, the links of the path, how it can be used, and since when."""

    effective: Effective
    grants: QuerySet[Grant]

    def count(self) -> int:
        return self.grants.count()

    def __getitem__(self, part: slice) -> list[dict[str, Any]]:
        grants = list(self.grants[part])
        links = self.effective.links(grants)
        return [
            {
                "grant": grant,
                "links": links[grant.pk],
                "since": max(link.since for link in links[grant.pk]),
                "path": self.effective.path_of(grant),
                "use": usable_at_once(self.effective.at_once(grant), self.effective.way(grant).clients),
            }
            for grant in grants
        ]

    def read_all(self) -> Iterator[dict[str, Any]]:
        """Yield all rows, in batches."""
        for first in range(0, self.count(), BATCH):
            yield from self[first : first + BATCH]
