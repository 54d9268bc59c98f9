"""Databases and sizes as visits would have stored them."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from capacity.models import Database, DatabaseSize, InstanceSize, TableSize, Tablespace
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


def tablespace(instance: Instance, name: str, size: int | None = None, **fields: object) -> Tablespace:
    now = timezone.now()
    day = None if size is None else timezone.localdate()
    values = {"first_seen_at": now, "last_seen_at": now, "size": size, "size_day": day} | fields
    made = Tablespace.objects.create(instance=instance, name=name, **values)
    if size is not None:
        made.sizes.create(day=day, size=size, used=made.used, limit=made.limit, collected_at=now)
    return made


def tables(of: Database, ago: int, is_complete: bool = False, **sizes: int) -> None:
    """A reading of the tables of schema `public`, so many days ago."""
    day = timezone.localdate() - timedelta(days=ago)
    TableSize.objects.bulk_create(
        TableSize(database=of, day=day, schema="public", name=name, size=size, is_complete=is_complete)
        for name, size in sizes.items()
    )
