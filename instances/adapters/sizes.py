"""What an adapter says of databases and their sizes. All sizes are bytes; one that could not be read is in no fact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .base import Gap


class DatabaseFact(NamedTuple):
    """One database; a schema where the engine has no other. `native_id` tells one dropped and made anew under its
    name from the one before, where the engine has such a thing."""

    name: str
    native_id: str = ""
    is_system: bool = False


class SizeFact(NamedTuple):
    """What a database takes on disk, and how that divides where the engine can say so exactly; None elsewhere."""

    database: str
    size: int
    data_size: int | None = None
    index_size: int | None = None
    log_size: int | None = None


class TableSize(NamedTuple):
    """One table with what belongs to it: partitions that the engine shows as one, large values, indexes."""

    schema: str
    name: str
    size: int
    data_size: int | None = None
    index_size: int | None = None


@dataclass(frozen=True)
class Databases:
    """Phase one. A gap of scope "databases" says that there may be more."""

    databases: Sequence[DatabaseFact]
    gaps: Sequence[Gap] = ()


@dataclass(frozen=True)
class Sizes:
    """Phase two. `shared` holds, by name, what takes space and belongs to no database.

    A database of phase one is in `sizes`, or in a gap of scope "sizes", or was `dropped` meanwhile. A gap of that scope
    without a database says that every size may be too small, one of scope "shared" that a part has no figure.
    """

    sizes: Sequence[SizeFact]
    shared: Mapping[str, int] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    gaps: Sequence[Gap] = ()
