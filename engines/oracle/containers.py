"""Which databases a visit to an Oracle server sees: one, or in the root of a multitenant server those that are open.

https://docs.oracle.com/en/database/oracle/oracle-database/19/multi/overview-of-managing-a-cdb.html
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import AdapterError
from ..facts import Gap
from . import reads as sql

#: CON_ID of the root.
ROOT = 1

#: The template of new PDBs: open, left out of the root's views, and nobody's.
SEED = "PDB$SEED"

#: What a view that may not be read, or that is not there, ends in.
UNREADABLE = ("denied", "unsupported")


@dataclass(frozen=True)
class Container:
    """A database with a dictionary of its own: a PDB, the root, or the whole of a server without containers.

    `closed` says why the root's views leave it out, "" for one that is open.
    """

    name: str
    guid: str = ""
    closed: str = ""


class Containers:
    """The containers as they are now, by id. Where there is but the one that we are in, its id is 0, as in the rows of
    `oracle_sql.statement`."""

    def __init__(self, query: Callable[[str], list[tuple[Any, ...]]], in_root: bool, here: str, grantee: str) -> None:
        """Raises AdapterError. `here` is the name of the container that we are in."""
        self._query, self.in_root = query, in_root
        self.data_grant = f"ALTER USER {grantee} SET CONTAINER_DATA=ALL CONTAINER=CURRENT;"
        self.by_id = {0: Container(here)}
        if in_root:
            self.by_id = {
                int(number): Container(name, bytes(guid or b"").hex().upper(), _closed(mode, restricted))
                for number, name, guid, mode, restricted in query(sql.CONTAINERS)
                if name != SEED
            }

    def __iter__(self) -> Iterator[Container]:
        return iter(self.by_id.values())

    def with_rows(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Container, tuple[Any, ...]]]:
        """Rows with their container in place of its id. One that came meanwhile is left to the next visit."""
        for number, *row in rows:
            container = self.by_id.get(int(number))
            if container:
                yield container, tuple(row)

    def gaps(self, scope: str, shown: Collection[str]) -> list[Gap]:
        """What of the scope is hidden: containers that are not among those `shown`, and those not even named."""
        gaps = []
        for container in self:
            if container.name not in shown:
                message = f"container {container.name} {container.closed or 'shows nothing to this account'}"
                hint = f"ALTER PLUGGABLE DATABASE {sql.exact_identifier(container.name)} OPEN;"
                hint = hint if container.closed else self.data_grant
                gaps.append(Gap(scope, "not_open" if container.closed else "denied", message, container.name, hint))
        if not self.in_root:
            return gaps
        try:
            if allowed := self.allowed():
                message = f"the account sees no other containers than {allowed}"
                gaps.append(Gap(scope, "denied", message, hint=self.data_grant))
        except AdapterError as error:
            if error.code not in UNREADABLE:
                raise
            message = f"whether the account may see all containers is not known: {error}"
            gaps.append(Gap(scope, error.code, message, hint=error.hint))
        return gaps

    def allowed(self) -> str:
        """Which containers the account may see from the root; "" for all. Raises AdapterError.

        The views of containers show no others: without asking for this, a PDB that may not be seen is as one that is
        not there.
        """
        rows = self._query(sql.CONTAINER_DATA)
        if any(every == "Y" for every, _ in rows):
            return ""
        return ", ".join(sorted({name for _, name in rows if name})) or "CDB$ROOT"

    def look_again(self, before: Containers, shown: Collection[str]) -> None:
        """Raise AdapterError for one that was closed while it was read: its rows would seem to be gone."""
        now = {container.name: container.closed for container in self}
        for container in before:
            if container.name in shown and not container.closed and now.get(container.name, "is gone"):
                raise AdapterError(
                    f"container {container.name} {now.get(container.name, 'is gone')}, and was open before",
                    code="server_starting",
                    hint="It was closed during the visit, which is tried again.",
                )


def _closed(mode: str, restricted: str | None) -> str:
    if not mode.startswith("READ"):
        return f"is {mode.lower()}, not open"
    return "is open in restricted mode" if restricted == "YES" else ""
