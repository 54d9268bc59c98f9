"""Events that no trigger writes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone

from .models import Event
from .origin import LONGEST

#: Uses of the same token or password from the same address are one event in this time.
ONE_USE_IN = timedelta(hours=1)


def record(
    kind: str,
    row: models.Model | None = None,
    *,
    user: AbstractUser | None = None,
    name: str = "",
    instance_id: int | None = None,
    **facts: Any,
) -> None:
    """Write an event about a row, or about `name`. `user` is needed only where the request has none yet."""
    Event.objects.create(
        kind=kind,
        user_id=user.pk if user else None,
        user_name=user.get_username() if user else "",
        model=row._meta.label_lower if row else "",
        object_id=str(row.pk) if row else "",
        object=(name or (str(row) if row else ""))[:LONGEST],
        instance_id=instance_id,
        after=facts or None,
    )


def record_use(kind: str, row: models.Model, user: AbstractUser, address: str | None, **facts: Any) -> None:
    """Write an event about the use of a token or password, at most one per row, address and hour."""
    recent = Event.objects.filter(
        kind=kind,
        model=row._meta.label_lower,
        object_id=str(row.pk),
        address=address,
        at__gt=timezone.now() - ONE_USE_IN,
    )
    if not recent.exists():
        record(kind, row, user=user, **facts)


def logged_in_from(address: str | None, within: timedelta = timedelta(days=30)) -> bool:
    """Whether anybody has logged in from an address lately."""
    since = timezone.now() - within
    return bool(address) and Event.objects.filter(kind=Event.Kind.LOGIN, address=address, at__gt=since).exists()
