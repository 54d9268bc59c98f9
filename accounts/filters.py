from __future__ import annotations

import django_filters
from django.db.models import QuerySet

from api.filters import KnownFilter, MomentFilter, NotNullFilter, YesNoFilter
from engines.facts import GRANT_KINDS
from instances.filters import FilterFilters, OfInstances
from sync.models import SyncRecord

from .models import UNREADABLE, Account, AccountChange, AccountFilter, AccountQuerySet, Grant, RoleReach


class AccountFilters(OfInstances):
    kind = django_filters.ChoiceFilter(choices=Account.Kind.choices)
    name = django_filters.CharFilter()
    host = django_filters.CharFilter()
    superuser = YesNoFilter(field_name="is_superuser")
    can_login = YesNoFilter()
    locked = YesNoFilter(field_name="is_locked")
    gone = NotNullFilter(field_name="gone_at")
    filtered = YesNoFilter(field_name="is_filtered")
    system = YesNoFilter(field_name="is_system")
    unread = django_filters.ChoiceFilter(
        choices=[(field, field) for field in UNREADABLE], method="has_unread", label="The last visit could not read it."
    )

    class Meta:
        model = Account
        fields: list[str] = []

    def has_unread(self, queryset: AccountQuerySet, name: str, value: str) -> AccountQuerySet:
        return queryset.with_unread(value)


class GrantFilters(django_filters.FilterSet):
    kind = django_filters.ChoiceFilter(choices=list(GRANT_KINDS.items()))
    database = django_filters.CharFilter()
    scope = django_filters.CharFilter()
    privilege = django_filters.CharFilter(lookup_expr="iexact")
    grantable = YesNoFilter()
    denied = YesNoFilter()
    current = NotNullFilter(field_name="until", exclude=True, label="Holds now.")

    class Meta:
        model = Grant
        fields: list[str] = []


class RoleReachFilters(django_filters.FilterSet):
    role = django_filters.CharFilter(field_name="role__name", label="Name of the role.")
    steps = django_filters.NumberFilter(field_name="depth", label="In how many steps.")
    inherits = YesNoFilter()
    can_set = YesNoFilter()
    is_admin = YesNoFilter()

    class Meta:
        model = RoleReach
        fields: list[str] = []


class AccountChangeFilters(OfInstances):
    path = "account__instance"
    account = KnownFilter(queryset=Account.objects.all())
    record = KnownFilter(queryset=SyncRecord.objects.all())
    event = django_filters.ChoiceFilter(choices=AccountChange.Event.choices, method="has_event")
    since = MomentFilter(field_name="at", lookup_expr="gte")
    until = MomentFilter(field_name="at", lookup_expr="lt")
    baseline = YesNoFilter()

    class Meta:
        model = AccountChange
        fields: list[str] = []

    def has_event(self, queryset: QuerySet, name: str, value: str) -> QuerySet:
        return queryset.filter(events__contains=[value])


class AccountFilterFilters(FilterFilters):
    class Meta(FilterFilters.Meta):
        model = AccountFilter
