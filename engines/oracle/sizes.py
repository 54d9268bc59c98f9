"""Sizes of the databases of an Oracle server, which are its containers, by tablespace.

The size is that of the allocated files. The used part comes from the usage metrics, which are cheap to read: adding up
segments or free extents takes minutes on a large dictionary.
https://docs.oracle.com/en/database/oracle/oracle-database/19/refrn/DBA_TABLESPACE_USAGE_METRICS.html
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import AdapterError
from ..facts import DatabaseFact, Databases, Gap, SizeFact, Sizes, TableSize, TablespaceFact
from ..reads import SIZES, Answers
from .decode import Containers
from .reads import CONTAINERS, READS, SEGMENTS, statement
from .session import OracleSession

SCOPE = "sizes"


def databases(session: OracleSession) -> tuple[Answers, Databases]:
    """The containers, including closed ones. The root is a system database. Raises AdapterError."""
    answers = Answers(session, READS)
    answers.ask(frozenset({"databases"}))
    containers = Containers(session, answers.rows.get("containers", []))
    names = {container.name: container.guid for container in containers}
    hidden = containers.gaps("databases", names, answers.rows.get("container data", []))
    facts = [DatabaseFact(name, guid, is_system=name == "CDB$ROOT") for name, guid in sorted(names.items())]
    return answers, Databases(facts, [*answers.gaps_in(frozenset({"databases"})), *hidden])


def sizes(session: OracleSession, answers: Answers) -> Sizes:
    """The size of a container is that of its files, the data size the used part of its permanent tablespaces. Redo and
    archive logs belong to no container and are not counted. Raises AdapterError."""
    tablespaces, gaps = tablespace_sizes(session, answers)
    unknown = {gap.database for gap in gaps if gap.scope == SCOPE and gap.database}
    by_container = defaultdict(list)
    for row in tablespaces:
        by_container[row.database].append(row)
    facts = []
    for name, rows in by_container.items():
        permanent = [row.used for row in rows if row.kind == "permanent" and row.size is not None]
        if name not in unknown and permanent:
            data = None if None in permanent else sum(used for used in permanent if used is not None)
            facts.append(SizeFact(name, sum(row.size for row in rows if row.size is not None), data_size=data))
    if not facts:
        gap = next(iter(gaps), Gap(SCOPE, "server_error", "the server lists no tablespace"))
        raise AdapterError(
            gap.message, code=gap.code if gap.code in AdapterError.CODES else "server_error", hint=gap.hint
        )
    return Sizes(facts, gaps=gaps, tablespaces=tablespaces, listed_in=frozenset(by_container))


def table_sizes(
    session: OracleSession, databases: Sequence[str], limit: int
) -> Iterator[tuple[str, list[TableSize] | AdapterError]]:
    """The sizes of the segments of tables, with partitions added up. Indexes and large objects are separate segments
    and not included. Raises AdapterError."""
    total: dict[str, dict[tuple[str, str], int]] = {name: defaultdict(int) for name in databases}
    listed = session.query(CONTAINERS) if session.features.in_root else []
    containers = Containers(session, listed)
    rows = session.query(statement(SEGMENTS, session.features))
    for container, (owner, name, size) in containers.with_rows(rows):
        if container.name in total:
            total[container.name][owner, name] += int(size)
    for database, tables in total.items():
        largest = sorted(tables.items(), key=lambda item: (-item[1], item[0]))[:limit]
        yield database, [TableSize(owner, name, size, data_size=size) for (owner, name), size in largest]


def tablespace_sizes(session: OracleSession, answers: Answers) -> tuple[list[TablespaceFact], list[Gap]]:
    """All tablespaces, including temporary ones, in a fixed number of statements. Raises AdapterError.

    Gaps have the scope "sizes" (a closed container, an unreadable view, an offline file) or "used" (unknown use of the
    files). The size of a tablespace with an offline file is None.
    """
    answers.ask(SIZES)
    containers = Containers(session, answers.rows.get("containers", []))
    listed = list(containers.with_rows(answers.rows["TABLESPACES"]))
    shown = {container.name for container, _ in listed}
    gaps = answers.gaps_in(SIZES - {"databases"})
    gaps += containers.gaps(SCOPE, shown, answers.rows.get("container data", []))
    files = defaultdict(list)
    unread = set()
    for name, contents in (("DATA_FILES", "permanent"), ("TEMP_FILES", "temporary")):
        if name not in answers.rows:
            unread.add(contents)
        for container, (tablespace, *file) in containers.with_rows(answers.rows.get(name, [])):
            files[container.name, tablespace].append(file)
    metrics = containers.with_rows(answers.rows.get("TABLESPACE_USAGE_METRICS", []))
    used = {
        (container.name, tablespace): int(blocks) for container, (tablespace, blocks) in metrics if blocks is not None
    }
    rows = []
    for container, (tablespace, contents, block_size) in listed:
        key = (container.name, tablespace)
        kind = contents.lower() if contents in ("UNDO", "TEMPORARY") else "permanent"
        fact = TablespaceFact(tablespace, None, kind=kind, database=container.name)
        if any(size is None for size, *_ in files[key]):
            message = f"a file of tablespace {tablespace} in {container.name} cannot be read: is it offline?"
            gaps.append(Gap(SCOPE, "unreadable_file", message, container.name, "See its row in DBA_DATA_FILES."))
        elif ("temporary" if contents == "TEMPORARY" else "permanent") not in unread:
            in_use = used[key] * int(block_size) if key in used else None
            allocated = sum(int(size) for size, *_ in files[key])
            fact = fact._replace(size=allocated, used=in_use, limit=sum(_limit(*file) for file in files[key]))
        rows.append(fact)
    return rows, gaps


def _limit(size: Any, autoextensible: str | None, most: Any) -> int:
    """Bytes to which a file may grow. One that was made larger by hand than it may extend keeps its size."""
    return max(int(size), int(most or 0)) if autoextensible == "YES" else int(size)
