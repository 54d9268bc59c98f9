"""What a visit passes on between its steps: the facts it read, and grants and memberships as plain rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from engines.facts import Inventory, Permissions, ServerInfo

Grantors = tuple[str, ...] | None
"""The names in `grantors` of an interval; None if not recorded yet."""


class GrantRow(NamedTuple):
    """A row of `Grant` without its times."""

    account_id: int
    kind: str
    database: str
    scope: str
    privilege: str
    denied: bool
    grantable: bool
    object_id: str | None
    grantors: Grantors

    @property
    def options(self) -> dict[str, bool]:
        return {"grantable": self.grantable}

    def described(self) -> dict[str, Any]:
        """The row in the log of changes."""
        return {
            "kind": self.kind,
            "database": self.database,
            "scope": self.scope,
            "privilege": self.privilege,
            "denied": self.denied,
            "grantable": self.grantable,
        }


class MembershipRow(NamedTuple):
    """A row of `Membership` without its times."""

    member_id: int
    role_id: int
    admin_option: bool
    inherit: bool
    set_option: bool
    grantors: Grantors

    @property
    def options(self) -> dict[str, bool]:
        return {"admin_option": self.admin_option, "inherit": self.inherit, "set_option": self.set_option}


@dataclass(frozen=True)
class AccountFacts:
    """Everything one visit read. Its facts may be decoded from the server's rows only when they are first used."""

    server: ServerInfo
    inventory: Inventory
    permissions: Permissions
    statements: int
    level: str
