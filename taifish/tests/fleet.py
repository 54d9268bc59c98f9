"""One row of everything, for tests that look at all pages and endpoints. Nothing answers at its addresses."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from accounts.models import Account, AccountChange, AccountFilter, Grant
from aggregation.models import DatabaseAggregate, InstanceAggregate
from capacity.models import Database, DatabaseFilter, DatabaseSize, InstanceSize, TableSize, Tablespace, TablespaceSize
from drift.models import AcceptedDeviation, Baseline
from duties.models import AcceptedConflict, DutyPair
from instances.models import Credential, Instance
from owners.models import EndDate, OwnerRule, Ownership, Person
from planning.models import SizeLimit, Volume
from sync.models import SyncRecord, SyncSession, VisitHealth
from tagging.models import InstanceTag, Tag, TagOperation
from taifish import schedules


def small_fleet() -> Instance:
    """Of two instances, the one about which everything is known."""
    now, today = timezone.now(), timezone.localdate()
    credential = Credential.objects.create(name="collector", username="taifish")
    nowhere = {"engine": "postgresql", "host": "127.0.0.1", "port": 1, "credential": credential, "connect_timeout": 1}
    instance = Instance.objects.create(name="orders", **nowhere)
    Instance.objects.create(name="never-visited", **nowhere)
    tag = Tag.objects.create(slug="lab", label="Lab", category="environment")
    InstanceTag.objects.create(instance=instance, tag=tag)
    TagOperation.objects.create(
        action="assign", finished_at=now, outcomes={"added": [{"tags": [tag.pk], "instances": [instance.pk]}]}
    )
    for kind in ("accounts", "capacity"):
        session = SyncSession.objects.create(kind=kind, trigger="manual", status="failed", finished_at=now)
        SyncRecord.objects.create(
            session=session,
            instance=instance,
            kind=kind,
            status="failed",
            error_code="suspicious_shrink",
            parameters={"what": kind, "present": 9, "ending": 9},
            held_count=9,
        )
        VisitHealth.objects.create(instance=instance, kind=kind, failures=5, failed_at=now, paused_at=now)
    seen = {"first_seen_at": now}
    account = Account.objects.create(instance=instance, name="app", kind="user", can_login=True, **seen)
    AccountChange.objects.create(account=account, at=now, events=["appeared"])
    AccountFilter.objects.get_or_create(pattern="pg_*")
    Grant.objects.create(
        account=account,
        kind="table",
        scope="shop.public.orders",
        privilege="SELECT",
        grantable=False,
        denied=False,
        since=now,
        held_since=now,
    )
    database = Database.objects.create(
        instance=instance, name="shop", size=2048, size_day=today, last_seen_at=now, **seen
    )
    DatabaseFilter.objects.get_or_create(pattern="template*")
    DatabaseSize.objects.create(database=database, day=today, size=2048, collected_at=now)
    TableSize.objects.create(database=database, day=today, schema="public", name="orders", size=8, is_complete=True)
    tablespace = Tablespace.objects.create(instance=instance, name="pg_default", last_seen_at=now, **seen)
    TablespaceSize.objects.create(tablespace=tablespace, day=today, size=2048, collected_at=now)
    InstanceSize.objects.create(
        instance=instance, day=today, size=3072, shared_size=1024, n_databases=1, is_complete=True, collected_at=now
    )
    yesterday = today - timedelta(days=1)
    figures = dict.fromkeys(["avg_size", "min_size", "max_size", "first_size", "last_size"], 2048) | {
        "period": "daily",
        "start": yesterday,
        "end": yesterday,
        "days_collected": 1,
        "days_expected": 1,
        "computed_at": now,
    }
    DatabaseAggregate.objects.create(database=database, **figures)
    InstanceAggregate.objects.create(instance=instance, days_complete=1, **figures)
    SizeLimit.objects.create(instance=instance, size=1 << 30)
    baseline = Baseline.objects.create(name="like orders", tag=tag, reference=instance)
    AcceptedDeviation.objects.create(baseline=baseline, key="k", account="app", deviation="extra", reason="agreed")
    Volume.objects.create(name="db1:/data", size=1 << 40).instances.add(instance)
    person = Person.objects.create(name="Alice", mail="alice@example.com", external_id="E1")
    Ownership.objects.create(account=account, owner=person, kind="application")
    OwnerRule.objects.create(match="mail_name")
    pair = DutyPair.objects.create(
        name="orders", reason="four eyes", first_privilege="SELECT", first_on="shop", second_privilege="all-powerful"
    )
    AcceptedConflict.objects.create(pair=pair, owner=person, first=[account.pk], second=[account.pk], reason="agreed")
    EndDate.objects.create(account=account, of="account", ends_on=today, reason="project")
    schedules.install()
    return instance
