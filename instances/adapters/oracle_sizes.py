"""How big the tablespaces of an Oracle server are, container by container.

Bytes are those of files: BYTES is allocated, and MAXBYTES how far a file may grow by itself. How much of that is in use
comes from the usage metrics, which cost little: adding up segments or free extents takes minutes on a large dictionary.
https://docs.oracle.com/en/database/oracle/oracle-database/19/refrn/DBA_TABLESPACE_USAGE_METRICS.html
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .base import Gap

if TYPE_CHECKING:
    from .oracle import OracleAdapter

SCOPE = "sizes"


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
    offline. A tablespace whose size is not known is in none of `rows`: it is not zero."""

    rows: Sequence[TablespaceSize]
    gaps: Sequence[Gap]


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
            adapter.rows("TABLESPACE_USAGE_METRICS", [SCOPE], gaps)
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
