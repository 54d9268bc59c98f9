"""Kinds of alert rule: what they are called and which numbers they take. `findings` has the rows that each reports."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class AlertKind:
    """`threshold` is the unit of the rule's number, "" for a kind without one.

    `is_event`: it reports what happened after the rule was activated, and sends no message when that is over.
    """

    label: str | Promise
    help: str | Promise
    threshold: str | Promise = ""
    has_min_bytes: bool = False
    is_event: bool = False
    of_instances: bool = True


KINDS: dict[str, AlertKind] = {
    "failing": AlertKind(
        _("visits keep failing"),
        _("Visits of one kind failed this many times in a row on an instance. Catch-ups do not count."),
        threshold=_("failures in a row"),
    ),
    "visit_failed": AlertKind(
        _("visit failed"),
        _("A visit failed, catch-ups included. Every failure is a new alert."),
        is_event=True,
    ),
    "paused": AlertKind(
        _("visits are paused"),
        _("Visits paused after TAIFISH_PAUSE_AFTER failures in a row. Remove the cause, then resume them."),
    ),
    "stale": AlertKind(
        _("accounts not known"),
        _(
            "The last account visit failed, or no visit has read the accounts within TAIFISH_STALE_AFTER hours. "
            "Answers about them are not current."
        ),
    ),
    "new_superuser": AlertKind(
        _("new superuser"),
        _("An account was created as a superuser or became one. An instance's first visit finds no new ones."),
        is_event=True,
    ),
    "moved": AlertKind(
        _("instance moved"),
        _("The address, database, TLS, credential or server proof of an instance was changed."),
        is_event=True,
    ),
    "account_expires": AlertKind(
        _("account expires"),
        _(
            "An account, or its password where the engine keeps that time, is valid for so many days at most. Accounts "
            "that are locked or cannot log in are left out, and so are those of which the time could not be read."
        ),
        threshold=_("days"),
    ),
    "password_expired": AlertKind(
        _("password expired"),
        _("The password of an account that can log in has expired: its next login must change it, or fails."),
    ),
    "end_date_near": AlertKind(
        _("end date near"),
        _("An account, membership or grant that is still there has to end within so many days."),
        threshold=_("days"),
    ),
    "end_date_passed": AlertKind(
        _("end date passed"),
        _("A visit after the end date of an account, membership or grant still saw it."),
    ),
    "privilege_changes": AlertKind(
        _("privileges changed"),
        _("One visit found other privileges, roles or options of this many accounts. Filtered accounts do not count."),
        threshold=_("accounts"),
        is_event=True,
    ),
    "drift": AlertKind(
        _("drift"),
        _(
            "An instance deviates from the reference of an active baseline, and the deviation is not accepted. While "
            "an instance is not known, its alert stays open."
        ),
    ),
    "duty_conflict": AlertKind(
        _("conflict of duties"),
        _(
            "An owner, or an account without owner, holds both sides of an active duty pair, and the conflict is not "
            "accepted. While an instance is not known, alerts of the pair stay open."
        ),
        of_instances=False,
    ),
    "growth": AlertKind(
        _("abnormal growth"),
        _("A database grew within one day by more than this percentage, and by at least this many bytes."),
        threshold=_("percent"),
        has_min_bytes=True,
        is_event=True,
    ),
    "limit_near": AlertKind(
        _("size limit near"),
        _(
            "Something with a size limit may be full within this many days, by the upper bound of its forecast. The "
            "alert is over when the days exceed this number by a fifth and three days more."
        ),
        threshold=_("days"),
    ),
    "nothing_collected": AlertKind(
        _("nothing collected"),
        _("An instance has no size for yesterday. Look at its capacity visits."),
    ),
    "review_near": AlertKind(
        _("review due soon"),
        _("A review campaign is due within so many days, and a reviewer has items without a decision."),
        threshold=_("days"),
        of_instances=False,
    ),
    "review_due": AlertKind(
        _("review overdue"),
        _(
            "A review campaign is past its due day, and a reviewer has items without a decision. Days later, as the "
            "campaign says, one more alert names the user to whom it is escalated."
        ),
        of_instances=False,
    ),
    "schedule_late": AlertKind(
        _("schedule late"),
        _(
            "A schedule is more than ten minutes late. A stopped scheduler evaluates no rule either: monitor /metrics "
            "for that."
        ),
        of_instances=False,
    ),
}


def kind_choices() -> list[tuple[str, str | Promise]]:
    return [(name, kind.label) for name, kind in KINDS.items()]
