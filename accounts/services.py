"""The account visit: read one instance's accounts and what they may do, then store what changed.

The store is compared with the facts set by set: what is new, what is over. A row ends only if its scope was read.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from engines.facts import AccountFact, AccountKey, Gap, Inventory, Permissions, ServerInfo
from instances.hiding import hidden_on
from instances.models import Instance
from instances.services import reached, remember_server
from sync.models import SyncRecord
from sync.registry import Outcome, Phase, hold_shrink, vanished

from . import closure
from .bulk import insert
from .changes import ChangeLog, plain
from .coverage import digest_of, read_again, write_coverage
from .intervals import keep_in_sight, write_grants, write_memberships
from .models import Account, AccountFilter, Coverage, account_label

#: Stored as the adapter has them; `is_filtered` is ours.
FACT_FIELDS = (
    "kind",
    "native_id",
    "is_system",
    "can_login",
    "is_locked",
    "is_superuser",
    "valid_until",
    "password_changed_at",
    "password_expired",
    "auth_method",
    "connection_limit",
)
FIELDS = (*FACT_FIELDS, "is_filtered")
NEW_ACCOUNT = ("instance_id", "name", "host", "first_seen_at", "last_known", *FIELDS)


@dataclass(frozen=True)
class AccountFacts:
    """Everything one visit read; what is in it may be made of the server's rows only when it is looked at."""

    server: ServerInfo
    inventory: Inventory
    permissions: Permissions
    statements: int
    level: str


def read(instance: Instance, phase: Phase) -> AccountFacts:
    """Read accounts, then what they may do, on one connection. Raises AdapterError."""
    with reached(instance) as adapter:
        phase("inventory")
        inventory = adapter.inventory()
        phase("permissions")
        permissions = adapter.permissions()
        return AccountFacts(adapter.server, inventory, permissions, adapter.statements, instance.level)


def write(instance: Instance, facts: AccountFacts, record: SyncRecord) -> Outcome:
    """Store what the visit found, inside the visit's transaction. Raises Held for an implausible shrink."""
    now = record.started_at or timezone.now()
    gaps = [*facts.inventory.gaps, *facts.permissions.gaps]
    digest = digest_of(facts, gaps)
    unlisted = {gap.database for gap in gaps if gap.scope == "accounts"}
    present = None if unlisted else read_again(instance, digest, now)
    if present is not None:
        # Everything is as the last visit stored it, and nobody need know what it is.
        remember_server(instance, facts.server)
        return _outcome(facts, gaps, accounts=present)
    coverage = Coverage.objects.filter(instance=instance, until=None).first()
    accounts = Roster(instance, facts, record.confirmed_count or 0, unlisted, coverage)
    log = ChangeLog(now, record, baseline=not accounts.stored)
    accounts.write(now, log)
    write_coverage(instance, coverage, facts, gaps, digest, now)
    joined, left = write_memberships(accounts, facts.permissions, gaps, now, log)
    granted, revoked = write_grants(accounts, facts.permissions, gaps, now, log)
    if joined or left:
        closure.rebuild(instance.pk)
    changed = log.save()
    remember_server(instance, facts.server)
    return _outcome(
        facts,
        gaps,
        accounts=len(accounts.facts),
        appeared=len(accounts.new),
        reappeared=len(accounts.back),
        disappeared=len(accounts.gone),
        changed=changed,
        granted=granted,
        revoked=revoked,
        joined=joined,
        left=left,
    )


def _outcome(facts: AccountFacts, gaps: list[Gap], **numbers: int) -> Outcome:
    """The visit in numbers; those not given are zero."""
    counted = ("accounts", "appeared", "reappeared", "disappeared", "changed", "granted", "revoked", "joined", "left")
    return Outcome(
        summary={
            **dict.fromkeys(counted, 0),
            **numbers,
            "statements": facts.statements,
            "level": facts.level,
            "server": f"{facts.server.product} {facts.server.version}",
            **({"notes": " ".join(facts.permissions.notes)} if facts.permissions.notes else {}),
        },
        gaps=gaps,
    )


class Roster:
    """The instance's accounts, as stored and as seen, and the ids of both.

    `visited_at` is when a visit last stored anything here; `seen_ids` and `gone_ids` stand after `write`.
    """

    def __init__(
        self,
        instance: Instance,
        facts: AccountFacts,
        confirmed: int,
        unlisted: Set[str],
        coverage: Coverage | None,
    ) -> None:
        """`unlisted` are the hosts whose accounts were not all listed; "" among them stands for any. `coverage` is that
        of the visit before."""
        self.instance = instance
        self.confirmed = confirmed
        self.facts = {fact.key: fact for fact in facts.inventory.accounts}
        self.unread = facts.inventory.unread
        self.unread_before = frozenset(coverage.unread if coverage else ())
        self.hidden = hidden_on(instance, AccountFilter)
        stored = list(Account.objects.filter(instance=instance))
        self.stored = {(account.name, account.host): account for account in stored}
        self.visited_at = coverage.read_at if coverage else None
        present = {key for key, account in self.stored.items() if account.gone_at is None}
        self.new = self.facts.keys() - self.stored.keys()
        self.back = (self.facts.keys() & self.stored.keys()) - present
        # With the listing itself incomplete, an account that is not in it may well be there.
        self.gone = {key for key in present - self.facts.keys() if not unlisted & {"", key[1]}}
        # What every server has says nothing: an empty server at the old address has it too.
        own = {key for key in present if not self.stored[key].is_system and self.stored[key].kind != "public"}
        ids = {key: self.stored[key].native_id for key in own if key in self.gone or key in self.facts}
        gone = vanished(ids, {key: fact.native_id for key, fact in self.facts.items()})
        self.hold("accounts", len(own), gone, implausible=gone == len(own) or (gone >= 10 and gone * 2 > len(own)))

    def hold(self, what: str, present: int, ending: int, *, implausible: bool) -> None:
        """Raise Held when an implausible part of what is there would end, and no person has confirmed as much."""
        hold_shrink(what, present, ending, confirmed=self.confirmed, implausible=implausible)

    def values(self, fact: AccountFact) -> dict[str, Any]:
        """The fields to store for a fact."""
        values = {field: getattr(fact, field) for field in FACT_FIELDS}
        values["is_filtered"] = self.hidden(fact.name, fact.is_system)
        return values

    def write(self, now: datetime, log: ChangeLog) -> None:
        new = sorted(self.new)
        values = [self.values(self.facts[key]) for key in new]
        first_seen_at = now.isoformat()
        insert(
            Account,
            NEW_ACCOUNT,
            (
                (self.instance.pk, *key, first_seen_at, "{}", *row.values())
                for key, row in zip(new, values, strict=True)
            ),
        )
        self.ids = self._stored_ids() if new else {key: account.pk for key, account in self.stored.items()}
        for key in new:
            log.event(self.ids[key], "appeared")
        changed = []
        for key in self.facts.keys() & self.stored.keys():
            account = self.stored[key]
            before = {field: getattr(account, field) for field in FIELDS}
            after = self.values(self.facts[key])
            if key in self.back:
                account.gone_at = None
                log.event(account.pk, "reappeared")
            if before != after or key in self.back or account.last_known.keys() - self.unread:
                self._log(account, before, after, log, back=key in self.back)
                for field, value in after.items():
                    setattr(account, field, value)
                changed.append(account)
        Account.objects.bulk_update(changed, [*FIELDS, "gone_at", "last_known"], batch_size=1000)
        keep_in_sight(Account, self.stored, self.facts.keys(), set(), self.visited_at)
        gone = [self.stored[key].pk for key in self.gone]
        Account.objects.filter(pk__in=gone).update(gone_at=now)
        for pk in gone:
            log.event(pk, "disappeared")
        self.seen_ids = {self.ids[key] for key in self.facts}
        self.gone_ids = set(gone)

    def _log(
        self, account: Account, before: dict[str, Any], after: dict[str, Any], log: ChangeLog, *, back: bool
    ) -> None:
        """Log the changes of an account, and keep the last value of what could not be read this time.

        That a field cannot be read is no change, nor that it can be read again, unless its value differs from the last.
        """
        unread = {field for field in self.unread if after[field] is None}
        known = account.last_known | {field: plain(before[field]) for field in unread if before[field] is not None}
        never_read = {field for field in self.unread_before if before[field] is None} - known.keys()
        compared = {field: value for field, value in after.items() if field not in unread | never_read}
        log.attributes(account.pk, before | known, compared, back=back)
        account.last_known = {field: value for field, value in known.items() if field in unread}

    def _stored_ids(self) -> dict[AccountKey, int]:
        rows = Account.objects.filter(instance=self.instance).order_by().values_list("name", "host", "pk")
        return {(name, host): pk for name, host, pk in rows}

    def names(self) -> dict[int, str]:
        """Every account's name for people, by id."""
        return {pk: account_label(name, host) for (name, host), pk in self.ids.items()}

    def id_of(self, key: AccountKey) -> int | None:
        """None for an account that appeared between the phases: the next visit sees it whole."""
        return self.ids[key] if key in self.facts else None
