"""Databases and sizes as visits would have stored them."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from capacity.models import Database, DatabaseSize, InstanceSize
from instances.models import Instance


def database(instance: Instance, name: str, size: int | None = None, days: int = 1, **fields: object) -> Database:
    """One that was that big today, and 1,000 bytes less on each of the `days` before it."""
    now = timezone.now()
    values = {"first_seen_at": now, "last_seen_at": now, "size": size} | fields
    if size is not None:
        values.setdefault("size_day", timezone.localdate())
    made = Database.objects.create(instance=instance, name=name, **values)
    if size is not None:
        DatabaseSize.objects.bulk_create(
            DatabaseSize(
                database=made, day=made.size_day - timedelta(days=number), size=size - 1000 * number, collected_at=now
            )
            for number in range(days)
        )
    return made


def total(instance: Instance, size: int, ago: int = 0, **fields: object) -> InstanceSize:
    values = {"shared_size": 0, "n_databases": 1, "is_complete": True, "collected_at": timezone.now()} | fields
    day = timezone.localdate() - timedelta(days=ago)
    return InstanceSize.objects.create(instance=instance, day=day, size=size, **values)
