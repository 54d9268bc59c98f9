"""A question about access: a privilege and an object, and what they mean on each engine. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from console.wildcards import has_wildcards, like
from engines.paths import name_of, segments
from engines.registry import ENGINES
from engines.semantics import WRITE, Semantics

#: Questions that every engine answers in its own privileges.
ANY_WRITE, ALL_POWERFUL = "any-write", "all-powerful"


@dataclass(frozen=True)
class Question:
    """`privilege` is a name or pattern, `ANY_WRITE` or `ALL_POWERFUL`. `on` is the path of an object, which may have
    wildcards, "" for the whole instance, or None for any object. `kind` is one of GRANT_KINDS, or "" for any.

    With `grantable`, only who may pass it on, or may not. `direct` excludes roles, PUBLIC, and rights without a grant.
    Raises ValueError for an invalid path.
    """

    privilege: str
    on: str | None = ""
    kind: str = ""
    grantable: bool | None = None
    direct: bool = False

    @classmethod
    def parse(cls, privilege: str, on: str, kind: str = "") -> Question:
        """Return the question in the form in which people type it: privileges in any case, with spaces around.

        Raises ValueError for an invalid path.
        """
        word = privilege.strip().lower()
        typed = cls(word if word in (ANY_WRITE, ALL_POWERFUL) else word.upper(), on.strip(), kind)
        return replace(typed, on=".".join(typed.path))

    @cached_property
    def path(self) -> list[str]:
        """The parts of the path, as `segments()` returns them."""
        return segments(self.on or "")

    @cached_property
    def privileges(self) -> tuple[str, ...]:
        """Names or patterns of privileges, none for `ALL_POWERFUL`."""
        return WRITE if self.privilege == ANY_WRITE else () if self.privilege == ALL_POWERFUL else (self.privilege,)

    @cached_property
    def is_exact(self) -> bool:
        """Whether the path names one object."""
        return bool(self.path) and not has_wildcards(self.on or "")

    @cached_property
    def database(self) -> str:
        """The first part of the path if it is a name, else ""."""
        return name_of(self.path[0]) if self.path and not has_wildcards(self.path[0]) else ""

    def kinds(self, semantics: Semantics) -> set[str]:
        """Return the kinds of object that the question is about."""
        length = len(self.path)
        reaches = bool(length) and has_wildcards(self.on or "")
        return {
            kind
            for kind, parts in semantics.paths.items()
            if self.kind in ("", kind) and (self.on is None or parts == length or (reaches and parts > length))
        }

    def scopes(self, semantics: Semantics) -> set[tuple[str, str]]:
        """Return (kind, scope) of grants that apply to the object: its own, and those of what contains it."""
        return set() if self.on is None else semantics.scopes(self.path, self.kind)

    def fits(self, privilege: str) -> bool:
        return any(like(one, privilege) for one in self.privileges)

    def of_nature(self, semantics: Semantics) -> list[str]:
        """Return the predefined roles that have the privilege without a grant."""
        kinds = self.kinds(semantics)
        return [
            role
            for role, powers in semantics.predefined.items()
            if any(self.fits(privilege) for kind in kinds for privilege in powers.get(kind, ()))
        ]

    def wider(self, semantics: Semantics) -> set[str]:
        """Return the privileges that include this one on every object of the kind."""
        if len(self.path) < 2 or name_of(self.path[1]) in semantics.protected:
            return set()
        kinds = self.kinds(semantics)
        return {
            wide
            for kind in kinds.union(*(semantics.containers.get(one, ()) for one in kinds))
            for privilege, wides in semantics.anywhere.get(kind, {}).items()
            if self.fits(privilege)
            for wide in wides
        }

    def is_implied(self, semantics: Semantics) -> bool:
        """Whether an account that may do everything has the privilege too."""
        if self.on is None or self.grantable is False or {*self.privileges} <= semantics.never_implied:
            return False
        return any(semantics.carries(kind, self.fits) for kind in self.kinds(semantics))

    def needed(self, semantics: Semantics) -> set[str]:
        """Return the kinds that a visit must have read to conclude that an account lacks the privilege."""
        if self.privilege == ALL_POWERFUL:
            return {kind for kind, _privilege in semantics.powerful} | {"memberships"}
        kinds = self.kinds(semantics) | {holder for holder, _scope in self.scopes(semantics)}
        able = {kind for kind in kinds if semantics.carries(kind, self.fits)}
        if not able:
            return set()
        if self.direct:
            return able
        if semantics.everything and self.is_implied(semantics):
            able.add(semantics.everything[0])
        if self.wider(semantics):
            able |= {"system", "schema"}
        return able | {"memberships"}

    def is_open(self, semantics: Semantics) -> bool:
        """Whether the question is about a privilege that everyone may have on the object without a grant."""
        if not (semantics.open_to_all and self.is_exact):
            return False
        kind, privilege = semantics.open_to_all
        return kind in self.kinds(semantics) and self.fits(privilege)

    def built_in(self) -> Iterator[str]:
        """Yield the engines of which the path leads to built-in objects."""
        for name, engine in ENGINES.items():
            if engine.semantics.is_built_in(self.path, self.kind):
                yield name

    def requirements(self, semantics: Semantics) -> Iterator[tuple[str, Question]]:
        """Yield what else a session needs to use the privilege: ("login" or "session", question)."""
        for needed in semantics.requires:
            known = needed.parts == 0 or (self.is_exact and needed.parts <= len(self.path))
            if not known or len(self.path) < needed.beyond or self.kind in needed.without:
                continue
            # Who has to log in with it cannot switch to it.
            is_asked = (needed.privilege, needed.parts) == (self.privilege, len(self.path))
            if is_asked and needed.when == "session":
                continue
            path = self.path[: needed.parts]
            if not semantics.is_built_in(path, needed.kind):
                yield needed.when, Question(needed.privilege, ".".join(path), needed.kind)
