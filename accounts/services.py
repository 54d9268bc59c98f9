"""The account visit: read one instance's accounts and what they may do, then store what changed.

The store is compared with the facts set by set: what is new, what is over. A row ends only if its scope was read.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from engines.facts import Gap
from instances.models import Instance, InstanceQuerySet
from instances.services import reached, remember_server
from sync import services as sync
from sync.models import SyncRecord, SyncSession
from sync.registry import Outcome, Phase

from . import closure
from .account_index import AccountIndex
from .changes import ChangeLog
from .coverage import digest_of, read_again, write_coverage
from .intervals import write_grants, write_memberships
from .models import Coverage
from .rows import AccountFacts


def read(instance: Instance, phase: Phase) -> AccountFacts:
    """Read accounts, then what they may do, on one connection. Raises AdapterError."""
    with reached(instance) as adapter:
        phase("inventory")
        inventory = adapter.inventory()
        phase("permissions")
        permissions = adapter.permissions()
        return AccountFacts(adapter.server, inventory, permissions, adapter.statements, instance.level)


def write(instance: Instance, facts: AccountFacts, record: SyncRecord) -> Outcome:
    """Store what the visit found, inside the visit's transaction. Raises ImplausibleShrink."""
    now = record.started_at or timezone.now()
    gaps = [*facts.inventory.gaps, *facts.permissions.gaps]
    digest = digest_of(facts, gaps)
    unlisted = {gap.database for gap in gaps if gap.scope == "accounts"}
    present = None if unlisted else read_again(instance, digest, now)
    if present is not None:
        # The store already holds these facts: they need not be decoded.
        remember_server(instance, facts.server)
        return _outcome(facts, gaps, accounts=present)
    coverage = Coverage.objects.filter(instance=instance, until=None).first()
    if coverage and now <= coverage.read_at:
        # The clock of the store went back. Nothing may end before it began.
        now = coverage.read_at + timedelta(microseconds=1)
    accounts = AccountIndex(instance, facts, record.confirmed_count or 0, unlisted, coverage)
    log = ChangeLog(now, record, baseline=not accounts.stored)
    accounts.write(now, log)
    write_coverage(instance, coverage, facts, gaps, digest, now)
    joined, left, continued = write_memberships(accounts, facts.permissions, gaps, now, log)
    granted, revoked = write_grants(accounts, facts.permissions, gaps, now, log)
    if joined or left or continued:
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


def catch_up() -> SyncSession | None:
    """Visit the instances without a successful visit since today's session began. See `sync.services.catch_up`.

    A held visit waits for a user: another visit would be held too.
    """

    def late(begun: datetime) -> InstanceQuerySet:
        records = SyncRecord.objects.filter(kind="accounts", instance=OuterRef("pk"), finished_at__gte=begun)
        settled = records.filter(Q(status__in=SyncRecord.DONE) | Q(held_count__isnull=False))
        return Instance.objects.active().exclude(Exists(settled))

    return sync.catch_up("accounts", late)


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
