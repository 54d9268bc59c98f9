"""Visits whose facts are made by hand, stored as those of real servers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import transaction

from accounts import services
from accounts.models import Account, AccountChange, Grant, Membership
from accounts.rows import AccountFacts
from accounts.tests.stored import MAY_1
from engines.facts import AccountFact, Gap, GrantFact, Inventory, MembershipFact, Permissions, ServerInfo
from instances.models import Instance
from sync.models import SyncRecord, SyncSession
from sync.registry import Outcome

KINDS = frozenset({"attribute", "database", "schema", "table", "column", "routine", "language", "default", "system"})
#: Always there on a server that was not replaced.
STAFF = (AccountFact("postgres", native_id="10"), AccountFact("collector", native_id="16001"))


def role(name: str, oid: int | str = "", **fields: Any) -> AccountFact:
    return AccountFact(name, native_id=str(oid), **fields)


def grant(holder: str, privilege: str, kind: str, path: str = "", object_id: str = "", **fields: Any) -> GrantFact:
    """`holder` is a name, without a host or "name@host"."""
    name, _, host = holder.partition("@")
    database = path.split(".")[0] if kind not in ("attribute", "system") else ""
    values = {"scope": path, "database": database, "object_id": object_id} | fields
    return GrantFact((name, host), kind, privilege, **values)


def owner(kind: str, path: str, object_id: str, holder: str = "postgres") -> GrantFact:
    return grant(holder, "OWNER", kind, path, object_id)


@dataclass
class Visits:
    """Visits to one instance, a day apart. `visit()` takes what the server has; accounts in `STAFF` are added."""

    instance: Instance
    staff: Sequence[AccountFact] = STAFF
    days: int = 0
    dates: list[Any] = field(default_factory=list)

    def visit(
        self,
        accounts: Iterable[AccountFact] = (),
        grants: Iterable[GrantFact] = (),
        memberships: Iterable[MembershipFact] = (),
        gaps: Iterable[Gap] = (),
        **record: Any,
    ) -> Outcome:
        at = MAY_1 + timedelta(days=self.days)
        self.days += 1
        self.dates.append(at)
        gaps = list(gaps)
        facts = AccountFacts(
            ServerInfo("made by hand", "1", ""),
            Inventory([*self.staff, *accounts], [gap for gap in gaps if gap.scope.startswith("account")]),
            Permissions(
                list(memberships),
                list(grants),
                KINDS | {"memberships"},
                [gap for gap in gaps if not gap.scope.startswith("account")],
            ),
            1,
            "C",
        )
        session = SyncSession.objects.create(kind="accounts")
        kept = SyncRecord.objects.create(
            session=session, instance=self.instance, kind="accounts", status="completed", started_at=at, **record
        )
        with transaction.atomic():
            return services.write(self.instance, facts, kept)


def unread(database: str) -> list[Gap]:
    """The gaps of a database that cannot be entered."""
    kinds = ("schema", "table", "column", "routine", "language", "default")
    return [Gap(kind, "denied", "no CONNECT", database) for kind in kinds]


def log(name: str) -> list[tuple[list[str], dict[str, Any]]]:
    """Events and details of the changes of the accounts with this name, of visits after the first, in order."""
    changes = AccountChange.objects.filter(account__name=name, baseline=False).order_by("at", "pk")
    return [(change.events, change.details) for change in changes]


def n_changes() -> int:
    return AccountChange.objects.filter(baseline=False).count()


def held(name: str) -> set[tuple[Any, ...]]:
    """Open grants of the present account: privilege, scope, when it began without interruption."""
    rows = Grant.objects.filter(account__name=name, account__gone_at=None, until=None)
    return set(rows.values_list("privilege", "scope", "held_since"))


def ended(privilege: str) -> list[tuple[Any, ...]]:
    """Ended grants of that privilege, in order: account, scope, reason, day."""
    rows = Grant.objects.filter(privilege=privilege).exclude(until=None).order_by("until", "pk")
    values = rows.values_list("account__name", "scope", "ended", "until")
    return [(name, scope, why, (until - MAY_1).days) for name, scope, why, until in values]


def present() -> set[tuple[str, str]]:
    """(name, native id) of the accounts that are there, without `STAFF`."""
    rows = Account.objects.present().exclude(name__in=[fact.name for fact in STAFF])
    return set(rows.values_list("name", "native_id"))


def forget_identity() -> None:
    """Make of all rows what an earlier release had stored."""
    Grant.objects.update(object_id=None, grantors=None)
    Membership.objects.update(grantors=None)
