"""Instances with sizes, without servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time

import pytest
from django.utils import timezone

from capacity.models import Database, DatabaseSize, InstanceSize
from instances.models import Credential, Instance


def noon(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time(12)))


@pytest.fixture
def sized(db: None) -> Callable[..., Instance]:
    """An instance, or more of one, from database → day → size; the total of a day is their sum and `shared`."""

    def make(
        name: str, sizes: Mapping[str, Mapping[date, int]], shared: int = 0, incomplete: tuple[date, ...] = ()
    ) -> Instance:
        credential, _ = Credential.objects.get_or_create(name="c", defaults={"username": "u"})
        instance, _ = Instance.objects.get_or_create(
            name=name, defaults={"engine": "postgresql", "host": name, "credential": credential}
        )
        totals: dict[date, int] = {}
        for database, of_days in sizes.items():
            first = noon(min(of_days)) if of_days else timezone.now()
            row, _ = Database.objects.get_or_create(
                instance=instance, name=database, defaults={"first_seen_at": first, "last_seen_at": first}
            )
            for day, size in of_days.items():
                DatabaseSize.objects.create(database=row, day=day, size=size, collected_at=noon(day))
                totals[day] = totals.get(day, shared) + size
        for day, size in totals.items():
            InstanceSize.objects.create(
                instance=instance,
                day=day,
                size=size,
                shared_size=shared,
                n_databases=len(sizes),
                is_complete=day not in incomplete,
                collected_at=noon(day),
            )
        if totals:
            Instance.objects.filter(pk=instance.pk).update(created_at=noon(min(totals)))
        return instance

    return make
