"""Who exists on each instance and what each may do: one graph with time in it.

A row of `Membership` or `Grant` is an interval: it holds from `since` until `until`, and now where `until` is null.
`since` is when a visit first saw it, which is as much as anybody outside the server can know. What a visit could not
read stays as it was, and `unobserved_since` says since when that is hearsay.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Count, F, FilteredRelation, OuterRef, Q, Subquery, TextField
from django.db.models.fields.json import KT
from django.db.models.functions import MD5, Cast, Coalesce, Collate, Left, Lower
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console.fields import NameField
from console.searching import containing, name_key
from engines.facts import AccountFact, grant_kind_choices
from instances.hiding import Filter
from instances.models import Instance
from sync.models import SyncRecord


class AccountQuerySet(models.QuerySet["Account"]):
    def present(self) -> AccountQuerySet:
        """Accounts that existed when their instance was last read."""
        return self.filter(gone_at=None)

    def at(self, moment: datetime | None) -> AccountQuerySet:
        """Accounts that existed at a moment (None: now). One that came back counts since it was first seen."""
        if moment is None:
            return self.present()
        return self.filter(Q(gone_at=None) | Q(gone_at__gt=moment), first_seen_at__lte=moment)

    def visible(self) -> AccountQuerySet:
        return self.filter(is_filtered=False)

    def containing(self, text: str) -> AccountQuerySet:
        """Accounts with each word in their name or host; "root@localhost" is the end of one and the beginning of the
        other."""

        def label(word: str) -> Q:
            name, at, host = word.rpartition("@")
            return Q(name__iendswith=name, host__istartswith=host) if at else Q()

        return self.filter(containing(text, self.model.SEARCHED, label))

    def with_counts(self) -> AccountQuerySet:
        """Each account with n_grants (held now, directly) and n_roles (reached now, by any path)."""

        def count(model: type[models.Model], owner: str, **conditions: object) -> Coalesce:
            rows = model._default_manager.filter(**{owner: OuterRef("pk")}, **conditions)
            return Coalesce(Subquery(rows.order_by().values(owner).annotate(n=Count("*")).values("n")), 0)

        return self.annotate(n_grants=count(Grant, "account", until=None), n_roles=count(RoleReach, "member"))

    def with_last_seen(self) -> AccountQuerySet:
        """Each account with last_seen_at, the start of the last visit that saw it, and unread, the fields that the last
        visit to its instance could not read."""
        # By a join, not row by row: lists are sorted by it.
        covered = FilteredRelation("instance__coverage", condition=Q(instance__coverage__until=None))
        seen_at = Coalesce("unobserved_since", "covered__read_at", "first_seen_at")
        return self.annotate(covered=covered).annotate(last_seen_at=seen_at, unread=F("covered__unread"))

    def with_unread(self, field: str) -> AccountQuerySet:
        """Accounts of which the last visit could not read that field."""
        covered = Q(instance__coverage__until=None, instance__coverage__unread__contains=[field])
        return self.filter(covered, **{f"{field}__isnull": True})


#: Fields of accounts that visits store as the engine reports them: those of the fact, without its key.
FACT_FIELDS = AccountFact._fields[2:]


class Account(models.Model):
    """A user or role inside a managed instance; never a user of Taifish.

    A field in `UNREADABLE` is null where the last visit could not read it, and some are where the engine has no such
    thing: `is_unread()` distinguishes the two. An empty `auth_method` is that of an engine or account without one.
    """

    #: The fields that a search looks at.
    SEARCHED = ("name", "host")

    class Kind(models.TextChoices):
        USER = "user", _("user")
        ROLE = "role", _("role")
        PUBLIC = "public", _("everyone")

    # Without an index, as some below: a constraint, or another index, begins with the column.
    instance = models.ForeignKey(
        Instance, on_delete=models.CASCADE, db_index=False, related_name="accounts", verbose_name=_("instance")
    )
    name = NameField(_("name"), blank=True)
    host = NameField(_("host"), blank=True, default="")
    kind = models.CharField(_("kind"), max_length=10, choices=Kind, null=True)  # noqa: DJ001
    native_id = models.CharField(_("native id"), max_length=100, blank=True)
    is_system = models.BooleanField(_("maintained by the engine"), default=False)
    is_filtered = models.BooleanField(_("filtered"), default=False)
    can_login = models.BooleanField(_("can log in"), null=True)
    is_locked = models.BooleanField(_("locked"), null=True)
    is_superuser = models.BooleanField(_("superuser"), null=True)
    valid_until = models.DateTimeField(_("valid until"), null=True)
    password_changed_at = models.DateTimeField(_("password changed"), null=True)
    password_expired = models.BooleanField(_("password expired"), null=True)
    auth_method = models.CharField(_("authentication"), max_length=200, blank=True, default="", null=True)  # noqa: DJ001
    connection_limit = models.BigIntegerField(_("connection limit"), null=True)
    last_login_at = models.DateTimeField(_("last login"), null=True)
    #: What fields held that the last visit could not read: to compare with when they can be read again.
    last_known = models.JSONField(default=dict, editable=False)
    first_seen_at = models.DateTimeField(_("first seen"))
    # Not the time it was last seen: a visit that finds no change would have to update every account.
    unobserved_since = models.DateTimeField(
        _("not observed since"),
        null=True,
        help_text=_("The last visit that saw it; later ones did not. Empty: all saw it."),
    )
    gone_at = models.DateTimeField(_("gone"), null=True)

    objects = AccountQuerySet.as_manager()

    class Meta:
        ordering = ["instance__name", "name", "host"]
        verbose_name = _("account")
        verbose_name_plural = _("accounts")
        constraints = [
            # A dropped account and the one that was created again under its name are two accounts.
            models.UniqueConstraint(
                fields=["instance", "name", "host"], condition=Q(gone_at=None), name="account_once_now"
            )
        ]
        indexes = [
            models.Index(fields=["name"], name="account_name"),
            models.Index(name_key("name"), name="account_by_beginning"),
            models.Index(fields=["instance", "name", "host"], name="account_of_instance"),
        ]

    def __str__(self) -> str:
        return account_label(self.name, self.host)

    @classmethod
    def unreadable(cls) -> list[tuple[str, Any]]:
        """The fields that a visit may be unable to read, and their names for people."""
        return [(field, cls._meta.get_field(field).verbose_name) for field in UNREADABLE]

    def is_unread(self, field: str) -> bool:
        """Whether a field is empty because the last visit could not read it. Takes `with_last_seen()`."""
        return getattr(self, field) is None and field in (self.unread or ())

    def role_paths(self) -> dict[int, list[str]]:
        """Id of each role reached now → the names of the steps to it, the role itself last. One query."""
        reached = {reach.role_id: reach for reach in self.reaches.select_related("role")}

        def path(role_id: int) -> list[str]:
            steps = []
            while role_id != self.pk:
                steps.append(str(reached[role_id].role))
                role_id = reached[role_id].via_id
            return steps[::-1]

        return {role_id: path(role_id) for role_id in reached}


#: Fields of accounts that a visit may be unable to read.
UNREADABLE = tuple(field for field in FACT_FIELDS if Account._meta.get_field(field).null)


def account_label(name: str, host: str) -> str:
    """An account as people call it: "root@localhost"."""
    return f"{name}@{host}" if host else name


class IntervalQuerySet(models.QuerySet[Any]):
    def at(self, moment: datetime) -> IntervalQuerySet:
        """What held at that moment."""
        return self.filter(Q(until=None) | Q(until__gt=moment), since__lte=moment)


class Ended(models.TextChoices):
    """Why an interval ended. Null for one that holds, and for those that ended before this was recorded."""

    REVOKED = "revoked", _("revoked")
    DROPPED = "dropped", _("account or object dropped")
    CHANGED = "changed", _("continued with other options, grantors or another name")
    UNRECORDED = "unrecorded", _("no longer recorded")


class Membership(models.Model):
    """`member` holds `role`, with these options, for this time.

    `since` is when the row began, `held_since` when the possession began. Other options begin another row of the same
    possession.
    `grantors` are the names of all who granted it: null if not recorded yet, empty if the engine names none.
    """

    member = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="memberships")
    role = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="members")
    admin_option = models.BooleanField(_("may pass it on"))
    inherit = models.BooleanField(_("inherits its privileges"))
    set_option = models.BooleanField(_("may switch to it"))
    grantors = ArrayField(models.TextField(), verbose_name=_("granted by"), null=True)
    held_since = models.DateTimeField(_("held since"), help_text=_("Without interruption."))
    since = models.DateTimeField(_("since"))
    until = models.DateTimeField(_("until"), null=True)
    ended = models.CharField(_("ended because"), max_length=10, choices=Ended, null=True)  # noqa: DJ001
    unobserved_since = models.DateTimeField(
        _("not observed since"),
        null=True,
        help_text=_("The last visit that saw it; later ones could not read where it stands. Empty: all saw it."),
    )

    objects = IntervalQuerySet.as_manager()

    class Meta:
        ordering = ["-until", "since", "id"]
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        constraints = [
            models.UniqueConstraint(fields=["member", "role"], condition=Q(until=None), name="membership_once_now")
        ]

    def __str__(self) -> str:
        return gettext("%(member)s in %(role)s") % {"member": self.member, "role": self.role}


def path_key(path: Any) -> Collate:
    """The expression that the index of paths is made of: the beginning of a path (a routine's may be longer than an
    index entry), without case, in the order of bytes."""
    return Collate(Lower(Left(path, 200)), "C")


class Grant(models.Model):
    """`account` holds `privilege` on `scope`, for this time.

    `object_id` and `grantors` are those of `engines.facts.GrantFact`, null if not recorded yet. `since` is when the row
    began, `held_since` when the possession began. Other options, grantors or another name of the object begin another
    row of the same possession.
    """

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="grants", verbose_name=_("account"))
    kind = models.CharField(_("kind"), max_length=20, choices=grant_kind_choices)
    database = models.TextField(_("database"), blank=True)
    scope = models.TextField(_("scope"), blank=True)
    privilege = models.CharField(_("privilege"), max_length=200)
    grantable = models.BooleanField(_("may pass it on"))
    denied = models.BooleanField(_("denied"))
    object_id = models.TextField(_("id of the object"), null=True)  # noqa: DJ001
    grantors = ArrayField(models.TextField(), verbose_name=_("granted by"), null=True)
    held_since = models.DateTimeField(_("held since"), help_text=_("Without interruption."))
    since = models.DateTimeField(_("since"))
    until = models.DateTimeField(_("until"), null=True)
    ended = models.CharField(_("ended because"), max_length=10, choices=Ended, null=True)  # noqa: DJ001
    unobserved_since = models.DateTimeField(
        _("not observed since"),
        null=True,
        help_text=_("The last visit that saw it; later ones could not read where it stands. Empty: all saw it."),
    )

    objects = IntervalQuerySet.as_manager()

    class Meta:
        ordering = ["kind", "scope", "privilege", "since"]
        verbose_name = _("grant")
        verbose_name_plural = _("grants")
        constraints = [
            # Hashed: a routine's scope holds its argument types, and may be longer than an index entry.
            models.UniqueConstraint(
                "account",
                "kind",
                "database",
                MD5("scope"),
                "privilege",
                "denied",
                condition=Q(until=None),
                name="grant_once_now",
            )
        ]
        indexes = [
            models.Index("privilege", "kind", MD5("scope"), name="grant_by_scope"),
            # For what people type of a path, whoever holds what there.
            models.Index(path_key("scope"), name="grant_by_path"),
            models.Index(fields=["database"], name="grant_by_database", condition=Q(kind="database")),
            models.Index(
                fields=["privilege"],
                name="grant_by_pattern",
                condition=Q(kind="database") & (Q(scope__contains="%") | Q(scope__contains="_")),
            ),
        ]

    def __str__(self) -> str:
        return describe_grant(self.privilege, self.kind, self.scope, self.grantable, self.denied)


def describe_grant(privilege: str, kind: str, scope: str, grantable: bool, denied: bool) -> str:
    """A grant as people say it: "CREATE on database shop, may pass it on"."""
    words = gettext("no %s") % privilege if denied else privilege
    if scope:
        words = gettext("%(privilege)s on %(kind)s %(scope)s") % {"privilege": words, "kind": kind, "scope": scope}
    return gettext("%s, may pass it on") % words if grantable else words


class RoleReach(models.Model):
    """The closure of today's memberships: `member` reaches `role` in `depth` steps at least, the last one from `via`.

    `inherits`: some path on which every step inherits, so the privileges apply at once. `can_set`: some path on which
    every step may be switched along. `is_admin`: some path whose last step may pass the role on. Rebuilt by
    `accounts.closure` in the visit's own transaction.
    """

    member = models.ForeignKey(Account, on_delete=models.CASCADE, db_index=False, related_name="reaches")
    role = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="reached_by")
    depth = models.PositiveIntegerField(_("steps"))
    via = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    inherits = models.BooleanField(_("inherits"))
    can_set = models.BooleanField(_("may switch"))
    is_admin = models.BooleanField(_("may pass it on"))

    class Meta:
        ordering = ["depth", "role__name"]
        verbose_name = _("role reached")
        verbose_name_plural = _("roles reached")
        constraints = [models.UniqueConstraint(fields=["member", "role"], name="reach_once")]

    def __str__(self) -> str:
        return f"{self.member} → {self.role}"


class Coverage(models.Model):
    """How much of an instance its visits read, for as long as that stayed the same.

    `covered` and `beyond` are grant kinds and "memberships": read, and left out by the read depth. `gaps` are what
    should have been read and was not, as `engines.facts.Gap` has them, and `unread` the fields of accounts
    among that.
    """

    instance = models.ForeignKey(
        Instance, on_delete=models.CASCADE, related_name="coverage", verbose_name=_("instance")
    )
    level = models.CharField(_("read depth"), max_length=1)
    covered = ArrayField(models.CharField(max_length=20), verbose_name=_("read"))
    beyond = ArrayField(models.CharField(max_length=20), verbose_name=_("beyond the read depth"))
    gaps = models.JSONField(_("gaps"), default=list)
    unread = ArrayField(models.CharField(max_length=30), default=list, verbose_name=_("unread fields of accounts"))
    digest = models.CharField(
        max_length=128,
        editable=False,
        help_text=_("Of all that the last visit read: another that reads the same is done."),
    )
    since = models.DateTimeField(_("since"))
    read_at = models.DateTimeField(_("last read"), help_text=_("When the last visit that read this much began."))
    until = models.DateTimeField(_("until"), null=True)

    objects = IntervalQuerySet.as_manager()

    class Meta:
        ordering = ["-since"]
        verbose_name = _("coverage")
        verbose_name_plural = _("coverage")
        constraints = [models.UniqueConstraint(fields=["instance"], condition=Q(until=None), name="coverage_once_now")]

    def __str__(self) -> str:
        return f"{self.instance}: {self.level}"


class AccountChangeQuerySet(models.QuerySet["AccountChange"]):
    def of_new_superusers(self) -> AccountChangeQuerySet:
        """Changes by which an account came to be a superuser, whether or not it still is one or is there. What a first
        visit finds was there before.

        An account is stored as it was seen last. What it was after a change is what the change itself says, else what
        the next change of that attribute says was before, else what is stored.
        """
        after = "details__attributes__is_superuser__1"
        came = Q(events__overlap=["appeared", "reappeared", "recreated"])
        later = AccountChange.objects.filter(
            Q(at__gt=OuterRef("at")) | Q(at=OuterRef("at"), pk__gt=OuterRef("pk")),
            account=OuterRef("account"),
            details__attributes__has_key="is_superuser",
        ).order_by("at", "pk")
        was = Coalesce(
            KT("details__attributes__is_superuser__1"),
            Subquery(later.values(before=KT("details__attributes__is_superuser__0"))[:1]),
            Cast("account__is_superuser", TextField()),
        )
        return self.filter(Q(**{after: True}) | came, baseline=False).annotate(was=was).filter(was="true")

    def of_the_last(self, days: int) -> AccountChangeQuerySet:
        return self.filter(at__gte=timezone.now() - timedelta(days=days))


class AccountChange(models.Model):
    """What one visit found changed on one account. Append-only.

    `events` are the words of `Event`; `details` holds granted and revoked (lists of grants), joined and left (lists of
    roles) and attributes (field → [before, after]). A baseline row belongs to the first visit of its instance: it says
    what was there, not what happened, and its details are the intervals that begin with it.
    """

    class Event(models.TextChoices):
        APPEARED = "appeared", _("appeared")
        DISAPPEARED = "disappeared", _("disappeared")
        REAPPEARED = "reappeared", _("reappeared")
        RECREATED = "recreated", _("dropped and created anew")
        LOCKED = "locked", _("locked")
        UNLOCKED = "unlocked", _("unlocked")
        ATTRIBUTES = "attributes", _("attributes changed")
        PRIVILEGES = "privileges", _("privileges changed")
        MEMBERSHIPS = "memberships", _("memberships changed")
        RENAMED = "renamed", _("renamed")
        PROBABLY_RENAMED = "probably_renamed", _("probably renamed")
        EXPIRED = "expired", _("expired")
        PASSWORD = "password", _("password changed")
        END_DATE = "end_date", _("end date changed")
        OPTIONS = "options", _("options changed")
        GRANTORS = "grantors", _("grantors changed")
        OBJECTS = "objects", _("objects renamed")

    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, db_index=False, related_name="changes", verbose_name=_("account")
    )
    record = models.ForeignKey(
        SyncRecord,
        null=True,
        on_delete=models.SET_NULL,
        related_name="account_changes",
        verbose_name=_("visit"),
    )
    at = models.DateTimeField(_("seen"))
    events = ArrayField(models.CharField(max_length=20, choices=Event), verbose_name=_("events"))
    details = models.JSONField(_("details"), default=dict)
    baseline = models.BooleanField(_("baseline"), default=False)

    objects = AccountChangeQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-id"]
        verbose_name = _("account change")
        verbose_name_plural = _("account changes")
        indexes = [
            models.Index(fields=["account", "-at"], name="change_of_account"),
            models.Index(fields=["-at"], name="change_at"),
            GinIndex(fields=["events"], name="change_events"),
        ]

    def __str__(self) -> str:
        return f"{self.account}: {', '.join(self.events)}"

    @property
    def is_over(self) -> bool:
        """Of one of `of_new_superusers()`: whether the account is gone, or no superuser any more."""
        return self.account.gone_at is not None or not self.account.is_superuser


class AccountFilter(Filter):
    """Hides accounts from lists. Filtered accounts are still read, stored and counted in roles."""

    hides = Account

    class Meta(Filter.Meta):
        verbose_name = _("account filter")
        verbose_name_plural = _("account filters")
