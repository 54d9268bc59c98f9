"""How each engine combines grants, as data for questions over stored facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .paths import name_of

#: Privileges that change rows, as all engines call them.
WRITE = ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "MERGE")


@dataclass(frozen=True)
class Requirement:
    """A right that a session needs to use others: `privilege` on the first `parts` parts of their path, an object of
    this kind. `when` is "login" if the account needs it to log in, or "session" if what it has switched to needs it.
    Applies to paths with at least `beyond` parts, except of the kinds `without`."""

    kind: str
    privilege: str
    parts: int
    when: str
    beyond: int = 0
    without: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Semantics:
    """`paths`: kind of object → number of parts in its path. `containers`: kind of object → the kinds of its containers
    on which a grant applies to it too. `patterns`: a grant on a database names a LIKE pattern, and which of the
    matching ones count depends on the client and on active roles. `personal`: kinds of grant that members of a role
    have only after SET ROLE. `everything`: the (kind, privilege) that permits everything. `predefined`: role → kind of
    object → its privileges on every such object. `anywhere`: kind of object → privilege → the privileges that imply it
    on every such object of the instance (kind "system") or of one schema (kind "schema"), except in the schemas
    `protected`. `owners`: an account may do everything with objects in the schema of its name, the second part of a
    path. `host_is_database`: an account's host is its database, and its rights, like those of PUBLIC, end there; with
    other engines PUBLIC has no host. `database_role`: a role that stands for the owner of the database that contains
    its grants; an owner with the grant `no_inherit` has them only after SET ROLE. `privileges`: kind of object →
    possible privileges; any for other kinds. `requires`: what a session needs besides a privilege. `never_implied`:
    privileges that an account with `everything` may lack. `powerful`: (kind, privilege) of grants that make an account
    all-powerful, and `powerful_roles` that do. `passes_on`: the privilege of an owner, who can give itself every
    privilege on the object. `makes_roles`: (kind, privilege, major version) of a grant that allows, up to that version,
    to grant oneself every role without `everything`; where it is given, members can hold a role without using it, and
    grant it to themselves again. `open_to_all`: (kind, privilege) that everyone has on some objects without a grant.
    `unquoted`: what the engine makes of letters in names without quotes, "lower" or "upper"; "" if it leaves them.
    `built_in`: kind of object → names of built-in ones, which are the second part of a path. On these, and on what such
    a schema contains, the rights that the engine ships with are not recorded, but only deviations: a grant, and with
    `denied` a shipped right that was taken away.
    """

    paths: Mapping[str, int]
    containers: Mapping[str, tuple[str, ...]]
    patterns: bool = False
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
    requires: tuple[Requirement, ...] = ()
    never_implied: frozenset[str] = frozenset()
    powerful: frozenset[tuple[str, str]] = frozenset()
    powerful_roles: frozenset[str] = frozenset()
    passes_on: str = ""
    makes_roles: tuple[str, str, int] | None = None
    open_to_all: tuple[str, str] | None = None
    unquoted: str = ""
    built_in: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def carries(self, kind: str, fits: Callable[[str], bool]) -> bool:
        """Whether a grant of that kind can have a privilege for which `fits` is true."""
        return kind not in self.privileges or any(map(fits, self.privileges[kind]))

    def is_built_in(self, path: list[str], kind: str = "") -> bool:
        """Whether the path, a result of `segments`, leads to built-in objects of this kind or, for "", of any."""
        if len(path) < 2:
            return False
        kinds = {kind} if kind and len(path) == 2 else set(self.built_in) if len(path) == 2 else {"schema"}
        return any(name_of(path[1]) in self.built_in.get(one, ()) for one in kinds)

    def scopes(self, path: list[str], kind: str = "") -> set[tuple[str, str]]:
        """(kind, scope) of every possible grant that applies to the object at `path`, of this kind or, for "", of any.

        `path` is a result of `segments`.
        """
        kinds = [kind] if kind in self.paths else [] if kind else self.paths
        return {
            (holder, ".".join(path[: self.paths[holder]]))
            for kind in kinds
            if self.paths[kind] == len(path)
            for holder in (kind, *self.containers.get(kind, ()))
        }
