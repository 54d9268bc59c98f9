from __future__ import annotations

import django_filters
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from api.filters import FilterSet, NotNullFilter, YesNoFilter, moments
from engines.facts import GRANT_KINDS
from instances.filters import FilterFilters, OfInstances

from .models import (
    UNREADABLE,
    Account,
    AccountChange,
    AccountFilter,
    AccountQuerySet,
    Ended,
    Grant,
    Membership,
    RoleReach,
)

#: Of accounts with one name, the present one comes first.
BY_NAME = ("instance__name", "name", "host", F("gone_at").desc(nulls_first=True), "pk")


class AccountFilters(OfInstances):
    superuser = YesNoFilter(field_name="is_superuser")
    locked = YesNoFilter(field_name="is_locked")
    gone = NotNullFilter(field_name="gone_at")
    filtered = YesNoFilter(field_name="is_filtered")
    system = YesNoFilter(field_name="is_system")
    unread = django_filters.ChoiceFilter(
        choices=[(field, field) for field in UNREADABLE], method="has_unread", label="The last visit could not read it."
    )

    grantor = django_filters.CharFilter(method="by_grantor", label="Holds something now that this name granted.")

    class Meta:
        model = Account
        fields = ["kind", "name", "host", "can_login"]

    def by_grantor(self, queryset: AccountQuerySet, name: str, value: str) -> AccountQuerySet:
        held = {"until": None, "grantors__contains": [value]}
        grants = Grant.objects.filter(account=OuterRef("pk"), **held)
        return queryset.filter(Exists(grants) | Exists(Membership.objects.filter(member=OuterRef("pk"), **held)))

    def has_unread(self, queryset: AccountQuerySet, name: str, value: str) -> AccountQuerySet:
        return queryset.with_unread(value)


class PossessionFilters(FilterSet):
    """For rows with an interval and grantors."""

    current = NotNullFilter(field_name="until", exclude=True, label="Holds now.")
    ended = django_filters.ChoiceFilter(choices=[one for one in Ended.choices if one[0] != Ended.CHANGED])
    grantor = django_filters.CharFilter(method="by_grantor", label="Name of one who granted it.")

    def by_grantor(self, queryset: QuerySet, name: str, value: str) -> QuerySet:
        return queryset.filter(grantors__contains=[value])


class GrantFilters(PossessionFilters):
    kind = django_filters.ChoiceFilter(choices=list(GRANT_KINDS.items()))
    privilege = django_filters.CharFilter(lookup_expr="iexact")

    class Meta:
        model = Grant
        fields = ["database", "scope", "grantable", "denied"]


class MembershipFilters(PossessionFilters):
    role = django_filters.CharFilter(field_name="role__name", label="Name of the role.")

    class Meta:
        model = Membership
        fields = ["admin_option", "inherit", "set_option"]


class RoleReachFilters(FilterSet):
    role = django_filters.CharFilter(field_name="role__name", label="Name of the role.")
    steps = django_filters.NumberFilter(field_name="depth", label="In how many steps.")

    class Meta:
        model = RoleReach
        fields = ["inherits", "can_set", "is_admin"]


class AccountChangeFilters(OfInstances):
    path = "account__instance"
    account_name = django_filters.CharFilter(method="of_account", label="Name of the account, or name@host.")
    event = django_filters.ChoiceFilter(choices=AccountChange.Event.choices, method="has_event")
    since, until = moments("at")

    class Meta:
        model = AccountChange
        fields = ["account", "record", "baseline"]

    def of_account(self, queryset: QuerySet, name: str, value: str) -> QuerySet:
        user, _at, host = value.rpartition("@")
        return queryset.filter(Q(account__name=value) | Q(account__name=user, account__host=host))

    def has_event(self, queryset: QuerySet, name: str, value: str) -> QuerySet:
        return queryset.filter(events__contains=[value])


class AccountFilterFilters(FilterFilters):
    class Meta(FilterFilters.Meta):
        model = AccountFilter
