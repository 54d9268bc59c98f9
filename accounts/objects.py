"""The objects of one instance during a visit: which are there, where they are now, and which were renamed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from engines.facts import Gap, Permissions
from engines.paths import dotted, segments
from engines.registry import ENGINES

from .account_index import AccountIndex
from .rows import GrantRow

OWNER = "OWNER"
#: Kinds that contain others: a name in the path of these.
CONTAINERS = ("database", "schema", "table")


class Objects:
    """What a visit read of the objects on which stored grants are.

    Engines that name the owner of each object (`Semantics.privileges` has OWNER) have at least one row for each, except
    for built-in ones. There, an object is gone if its id is in no row, or, where the stored row has none, its name.
    """

    def __init__(
        self, accounts: AccountIndex, permissions: Permissions, gaps: Iterable[Gap], unseen: Iterable[GrantRow]
    ) -> None:
        """`unseen` are the stored rows that the visit does not have."""
        self.unseen = unseen
        self._grants = permissions.grants
        self._covered = permissions.covered
        self._unread = {(gap.scope, gap.database) for gap in gaps}
        semantics = ENGINES[accounts.instance.engine].semantics
        self._holders = semantics.containers
        self._owned = {kind for kind, privileges in semantics.privileges.items() if OWNER in privileges}
        self.databases: dict[str, str | None] = {}
        if semantics.host_is_database:
            self.databases |= {before[1]: after[1] for before, after in accounts.renamed.values() if before[1]}
        self.databases |= self._databases()

    def _databases(self) -> dict[str, str | None]:
        """Former name of each database that was renamed → its name now; None if it was dropped."""
        stored = {row for row in self.unseen if row.kind == "database"} if "database" in self._owned else set()
        if not stored or not self.is_read("database", ""):
            return {}
        names = {fact.object_id: fact.database for fact in self._grants if fact.kind == "database" and fact.object_id}
        moved: dict[str, str | None] = {}
        for row in stored:
            is_there = row.object_id in names if row.object_id else ("database", row.scope) in self._scopes
            now = (names[row.object_id] if row.object_id else row.database) if is_there else None
            if now != row.database:
                moved[row.database] = now
        return moved

    @cached_property
    def _ids(self) -> set[tuple[str, str]]:
        return {(fact.kind, fact.object_id) for fact in self._grants}

    @cached_property
    def _scopes(self) -> set[tuple[str, str]]:
        return {(fact.kind, fact.scope) for fact in self._grants}

    def is_read(self, kind: str, database: str) -> bool:
        return kind in self._covered and not self._unread & {(kind, ""), (kind, database)}

    def located(self, row: GrantRow) -> GrantRow | None:
        """The row with the path that it has now, as far as databases were renamed. None if its database is gone."""
        if row.database not in self.databases:
            return row
        database = self.databases[row.database]
        if database is None:
            return None
        before = dotted(row.database)
        inside = row.scope.removeprefix(before)
        scope = dotted(database) + inside if inside != row.scope and inside[:1] in ("", ".") else row.scope
        return row._replace(database=database, scope=scope)

    def is_gone(self, row: GrantRow) -> bool:
        """Whether the object of a stored row was read about, and is not there. For a column, that is its table."""
        if not (found := self._object(row)):
            return False
        kind, object_id, scope = found
        if not self.is_read(kind, row.database):
            return False
        if row.denied and (kind, scope) not in self._owned_before:
            # A right that the engine ships with was taken away, and is back: then no row is of this built-in object.
            return False
        return (kind, object_id) not in self._ids if object_id else (kind, scope) not in self._scopes

    def is_recreated(self, row: GrantRow) -> bool:
        """Whether another object has the name now, for a row with an object that is gone."""
        return (row.kind, row.scope) in self._scopes

    def was_built_in(self, row: GrantRow) -> bool:
        """Whether a row of an earlier release, without an id, is of an object without an owner: only built-in objects
        have none. Those releases stored what the engine ships with beside what people granted on them."""
        found = self._object(row)
        return bool(found) and row.object_id is None and (found[0], found[2]) not in self._owned_before

    def is_built_in(self, row: GrantRow) -> bool:
        """Whether a row that the visit has is of an object without an owner."""
        found = self._object(row)
        return bool(found) and (found[0], found[2]) not in self._owned_now

    @cached_property
    def _owned_before(self) -> set[tuple[str, str]]:
        return {(row.kind, row.scope) for row in self.unseen if row.privilege == OWNER}

    @cached_property
    def _owned_now(self) -> set[tuple[str, str]]:
        return {(fact.kind, fact.scope) for fact in self._grants if fact.privilege == OWNER}

    def _object(self, row: GrantRow) -> tuple[str, str, str] | None:
        """Kind, id and scope of the object with an owner that the row is about; None if there is none."""
        if row.kind in self._owned:
            return row.kind, row.object_id or "", row.scope
        for kind in self._holders.get(row.kind, ()):
            if kind in self._owned:
                return kind, (row.object_id or "").rpartition("/")[0], ".".join(segments(row.scope)[:-1])
        return None


class Renames:
    """The objects that have another path now."""

    def __init__(self, moved: Mapping[GrantRow, GrantRow], databases: Mapping[str, str | None]) -> None:
        """`moved` maps rows to what they are now; `databases` is that of `Objects`."""
        self._containers = {
            dotted(before): ("database", dotted(now)) for before, now in databases.items() if now is not None
        } | {old.scope: (old.kind, new.scope) for old, new in moved.items() if old.kind in CONTAINERS}

    def outermost(self, kind: str, before: str, after: str) -> tuple[str, str, str]:
        """Kind, path before and path after of the rename that explains another path: that of the outermost object
        around it for which nothing else has changed, else its own."""
        parts = segments(before)
        for length in range(len(parts) - 1, 0, -1):
            path = ".".join(parts[:length])
            if path in self._containers:
                holder, now = self._containers[path]
                if ".".join([now, *parts[length:]]) == after:
                    return self.outermost(holder, path, now)
        return kind, before, after
