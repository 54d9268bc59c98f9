"""Instances with sizes as visits would have stored them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from django.utils import timezone

from capacity.models import Database, DatabaseSize, InstanceSize
from instances.models import Credential, Instance
from tagging.models import InstanceTag, Tag

GIB = 1024**3


def ago(days: int) -> date:
    return timezone.localdate() - timedelta(days=days)


def grown(
    name: str, sizes: Mapping[str, Sequence[float | None]], *, tags: Sequence[Tag] = (), engine: str = "postgresql"
) -> Instance:
    """An instance with GiB of each database by day, the last of them today; None where there is no size. The size of
    the instance is their sum, 0 for a database without one."""
    now = timezone.now()
    credential, _ = Credential.objects.get_or_create(name="c", defaults={"username": "u"})
    instance = Instance.objects.create(name=name, engine=engine, host=name, credential=credential)
    total: dict[date, int] = {}
    for database, of_days in sizes.items():
        row = Database.objects.create(
            instance=instance, name=database, first_seen_at=now, last_seen_at=now, size_day=now.date()
        )
        days = {ago(len(of_days) - 1 - n): round(size * GIB) for n, size in enumerate(of_days) if size is not None}
        DatabaseSize.objects.bulk_create(
            DatabaseSize(database=row, day=day, size=size, collected_at=now) for day, size in days.items()
        )
        for day, size in days.items():
            total[day] = total.get(day, 0) + size
    InstanceSize.objects.bulk_create(
        InstanceSize(
            instance=instance, day=day, size=size, shared_size=0, n_databases=1, is_complete=True, collected_at=now
        )
        for day, size in total.items()
    )
    InstanceTag.objects.bulk_create(InstanceTag(instance=instance, tag=tag) for tag in tags)
    return instance
