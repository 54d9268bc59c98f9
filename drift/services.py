"""Accept deviations, and save states."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext, override

from console.visibility import limit_of

from .compare import drift_of, state_of
from .models import AcceptedDeviation, Baseline

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def accept(
    baseline: Baseline,
    chosen: Collection[tuple[int, str]],
    user: User | None,
    *,
    reason: str,
    ticket: str = "",
    ends_on: date | None = None,
    everywhere: bool = False,
) -> int:
    """Accept deviations, given by instance and key, on their instances or on all instances of the baseline. Returns how
    many. Raises ValidationError; those that are there no longer are an error, too."""
    if not chosen:
        raise ValidationError(gettext("Choose deviations."))
    if everywhere and limit_of(user) is not None:
        raise ValidationError(gettext("You see some instances only, and may not accept a deviation on all."))
    found = {
        (row.instance_id, row.key): row
        for one in drift_of(baseline, user).compared
        for row in (*one.deviations, *(row for row, _accepted in one.accepted))
    }
    if gone := {*chosen} - found.keys():
        raise ValidationError(gettext("%d of the deviations are no longer there. Look again.") % len(gone))
    rows = {}
    for instance, key in chosen:
        deviation = found[instance, key]
        place = None if everywhere else instance
        # It is stored in the language of the installation, not in that of the user.
        with override(settings.LANGUAGE_CODE):
            sentence = deviation.sentence
        rows[place, key] = AcceptedDeviation(
            baseline=baseline,
            instance_id=place,
            key=key,
            account=deviation.label,
            deviation=sentence,
            reason=reason.strip(),
            ticket=ticket.strip(),
            ends_on=ends_on,
            accepted_by=user if user and user.pk else None,
            accepted_at=timezone.now(),
        )
    for row in rows.values():
        row.clean_fields(exclude=["baseline", "instance", "accepted_by"])
        row.clean()
    AcceptedDeviation.objects.bulk_create(
        rows.values(),
        update_conflicts=True,
        unique_fields=["baseline", "instance", "key"],
        update_fields=["account", "deviation", "reason", "ticket", "ends_on", "accepted_by", "accepted_at"],
    )
    return len(rows)


@transaction.atomic
def save_state(baseline: Baseline, state: dict[str, Any] | None = None) -> None:
    """Keep the state of the reference, or one that was imported, to compare with instead of the reference. Raises
    ValueError."""
    if state is None:
        if baseline.reference is None:
            raise ValueError(gettext("The baseline has no reference instance."))
        state = state_of(baseline.reference)
    baseline.state, baseline.state_at, baseline.reference = state, timezone.now(), None
    baseline.save(update_fields=["state", "state_at", "reference"])
