from __future__ import annotations

import django_filters
from django.db.models import QuerySet

from api.filters import FilterSet, NotNullFilter, YesNoFilter, moments
from engines.facts import GRANT_KINDS
from instances.filters import FilterFilters, OfInstances

from .models import UNREADABLE, Account, AccountChange, AccountFilter, AccountQuerySet, Grant, RoleReach


class AccountFilters(OfInstances):
    superuser = YesNoFilter(field_name="is_superuser")
    locked = YesNoFilter(field_name="is_locked")
    gone = NotNullFilter(field_name="gone_at")
    filtered = YesNoFilter(field_name="is_filtered")
    system = YesNoFilter(field_name="is_system")
    unread = django_filters.ChoiceFilter(
        choices=[(field, field) for field in UNREADABLE], method="has_unread", label="The last visit could not read it."
    )

    class Meta:
        model = Account
        fields = ["kind", "name", "host", "can_login"]

    def has_unread(self, queryset: AccountQuerySet, name: str, value: str) -> AccountQuerySet:
        return queryset.with_unread(value)


class GrantFilters(FilterSet):
    kind = django_filters.ChoiceFilter(choices=list(GRANT_KINDS.items()))
    privilege = django_filters.CharFilter(lookup_expr="iexact")
    current = NotNullFilter(field_name="until", exclude=True, label="Holds now.")

    class Meta:
        model = Grant
        fields = ["database", "scope", "grantable", "denied"]


class RoleReachFilters(FilterSet):
    role = django_filters.CharFilter(field_name="role__name", label="Name of the role.")
    steps = django_filters.NumberFilter(field_name="depth", label="In how many steps.")

    class Meta:
        model = RoleReach
        fields = ["inherits", "can_set", "is_admin"]


class AccountChangeFilters(OfInstances):
    path = "account__instance"
    event = django_filters.ChoiceFilter(choices=AccountChange.Event.choices, method="has_event")
    since, until = moments("at")

    class Meta:
        model = AccountChange
        fields = ["account", "record", "baseline"]

    def has_event(self, queryset: QuerySet, name: str, value: str) -> QuerySet:
        return queryset.filter(events__contains=[value])


class AccountFilterFilters(FilterFilters):
    class Meta(FilterFilters.Meta):
        model = AccountFilter
