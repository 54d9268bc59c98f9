"""How far grants reach beyond what they say, engine by engine, as data for questions over stored facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Semantics:
    """`paths`: kind of object → how many parts its path has. `containers`: kind of object → the kinds whose grants on
    what it lies in hold for it too. `patterns`: a grant on a database names a LIKE pattern, and of those that fit only
    the most specific one counts for an account: that for which this function of product and pattern is largest.
    `personal`: kinds that members of a role have only after switching to it. `everything`: who holds this (kind,
    privilege) may do all. `predefined`: role → kind of object → privileges it has on every one of them.
    `anywhere`: kind of object → privilege → those that give it on every such object, of the instance (kind "system") or
    of one schema (kind "schema"), but not in the schemas `protected`. `owners`: an account may do everything with what
    is in the schema of its name, the second part of a path. `host_is_database`: an account's host is the database that
    it lives in, where its rights end, and those of PUBLIC too; elsewhere PUBLIC has no host. `database_role`: stands
    for the owner of the database in which its grants lie, who has them only after switching to it when it holds the
    grant `no_inherit`. `privileges`: kind of object → what grants on one may say; the others may say anything.
    """

    paths: Mapping[str, int]
    containers: Mapping[str, tuple[str, ...]]
    patterns: Callable[[str, str], tuple[int, ...]] | None = None
    personal: frozenset[str] = frozenset()
    everything: tuple[str, str] | None = None
    predefined: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    anywhere: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    protected: frozenset[str] = frozenset()
    owners: bool = False
    host_is_database: bool = False
    database_role: str = ""
    no_inherit: tuple[str, str] | None = None
    privileges: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def carries(self, kind: str, fits: Callable[[str], bool]) -> bool:
        """Whether a grant of that kind may say a privilege that fits."""
        return kind not in self.privileges or any(map(fits, self.privileges[kind]))

    def scopes(self, path: list[str], kind: str = "") -> set[tuple[str, str]]:
        """(kind, scope) of every grant that would hold on the object at `path`, of that kind or of any that fits.

        `path` is what `segments` returns.
        """
        kinds = [kind] if kind in self.paths else [] if kind else self.paths
        return {
            (holder, ".".join(path[: self.paths[holder]]))
            for kind in kinds
            if self.paths[kind] == len(path)
            for holder in (kind, *self.containers.get(kind, ()))
        }
