"""How big the databases of an Oracle server are: its containers, by their tablespaces.

Bytes are those of files: BYTES is allocated, and MAXBYTES how far a file may grow by itself. How much of that is in use
comes from the usage metrics, which cost little: adding up segments or free extents takes minutes on a large dictionary.
https://docs.oracle.com/en/database/oracle/oracle-database/19/refrn/DBA_TABLESPACE_USAGE_METRICS.html
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import AdapterError
from ..facts import DatabaseFact, Databases, Gap, SizeFact, Sizes, TableSize

if TYPE_CHECKING:
    from .adapter import OracleAdapter

SCOPE = "sizes"

#: How much of the files is in use: without it a size is known still.
USED = "used"


@dataclass(frozen=True)
class TablespaceSize:
    """`container` is the PDB, the root, or the database without containers; `contents` PERMANENT, UNDO or TEMPORARY.

    `used_bytes` is None where the server does not say. `limit_bytes` is what the files may grow to by themselves.
    """

    container: str
    tablespace: str
    contents: str
    allocated_bytes: int
    used_bytes: int | None
    limit_bytes: int


@dataclass(frozen=True)
class TablespaceSizes:
    """`gaps` are of the scope "sizes": a container that is not open, a view that may not be read, a file that is
    offline; or of "used". A tablespace whose size is not known is in none of `rows`: it is not zero."""

    rows: Sequence[TablespaceSize]
    gaps: Sequence[Gap]


def databases(adapter: OracleAdapter) -> Databases:
    """The containers, those that are not open too. The root is the server's own. Raises AdapterError."""
    containers = adapter.containers()
    names = {container.name: container.guid for container in containers}
    hidden = [gap for gap in containers.gaps("databases", names) if not gap.database]
    facts = [DatabaseFact(name, guid, is_system=name == "CDB$ROOT") for name, guid in sorted(names.items())]
    return Databases(facts, hidden)


def sizes(adapter: OracleAdapter) -> Sizes:
    """A container takes what its files have allocated, and its data what is used of the permanent ones. Redo and
    archive logs belong to none, and are not counted. Raises AdapterError."""
    found = tablespace_sizes(adapter)
    unknown = {gap.database for gap in found.gaps if gap.scope == SCOPE and gap.database}
    by_container = defaultdict(list)
    for row in found.rows:
        by_container[row.container].append(row)
    facts = []
    for name, rows in by_container.items():
        permanent = [row.used_bytes for row in rows if row.contents == "PERMANENT"]
        if name not in unknown and permanent:
            data = None if None in permanent else sum(used for used in permanent if used is not None)
            facts.append(SizeFact(name, sum(row.allocated_bytes for row in rows), data_size=data))
    if not facts:
        gap = next(iter(found.gaps), Gap(SCOPE, "server_error", "the server lists no tablespace"))
        raise AdapterError(
            gap.message, code=gap.code if gap.code in AdapterError.CODES else "server_error", hint=gap.hint
        )
    return Sizes(facts, gaps=found.gaps)


def table_sizes(adapter: OracleAdapter, database: str, limit: int) -> list[TableSize]:
    """What the segments of tables take, partitions together; indexes and large objects are segments of their own, and
    not in it. Raises AdapterError."""
    total: dict[tuple[str, str], int] = defaultdict(int)
    for container, (owner, name, size) in adapter.containers().with_rows(adapter.query(adapter.statement("SEGMENTS"))):
        if container.name == database:
            total[owner, name] += int(size)
    largest = sorted(total.items(), key=lambda item: (-item[1], item[0]))[:limit]
    return [TableSize(owner, name, size, data_size=size) for (owner, name), size in largest]


def tablespace_sizes(adapter: OracleAdapter) -> TablespaceSizes:
    """Every tablespace, temporary ones too, in a fixed number of statements. Raises AdapterError."""
    gaps: list[Gap] = []
    containers = adapter.containers()
    listed = list(containers.with_rows(adapter.query(adapter.statement("TABLESPACES"))))
    gaps += containers.gaps(SCOPE, {container.name for container, _ in listed})
    files = defaultdict(list)
    unread = set()
    for name, contents in (("DATA_FILES", "permanent"), ("TEMP_FILES", "temporary")):
        denied: list[Gap] = []
        for container, (tablespace, *file) in containers.with_rows(adapter.rows(name, [SCOPE], denied)):
            files[container.name, tablespace].append(file)
        if denied:
            unread.add(contents)
            gaps += denied
    used = {
        (container.name, tablespace): int(blocks)
        for container, (tablespace, blocks) in containers.with_rows(
            adapter.rows("TABLESPACE_USAGE_METRICS", [USED], gaps)
        )
        if blocks is not None
    }
    rows = []
    for container, (tablespace, contents, block_size) in listed:
        key = (container.name, tablespace)
        if ("temporary" if contents == "TEMPORARY" else "permanent") in unread:
            continue
        if any(size is None for size, _, _ in files[key]):
            message = f"a file of tablespace {tablespace} in {container.name} cannot be read: is it offline?"
            gaps.append(Gap(SCOPE, "unreadable_file", message, container.name, "See its row in DBA_DATA_FILES."))
            continue
        rows.append(
            TablespaceSize(
                container=container.name,
                tablespace=tablespace,
                contents=contents,
                allocated_bytes=sum(int(size) for size, _, _ in files[key]),
                used_bytes=used[key] * int(block_size) if key in used else None,
                limit_bytes=sum(_limit(*file) for file in files[key]),
            )
        )
    return TablespaceSizes(rows, gaps)


def _limit(size: int, extensible: str, maximum: int | None) -> int:
    """A file may be larger than it could have grown to: somebody resized it."""
    return max(int(size), int(maximum or 0)) if extensible == "YES" else int(size)
