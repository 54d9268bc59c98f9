from __future__ import annotations

import django_filters
from django.db.models import QuerySet

from api.filters import FilterSet, NotNullFilter
from instances.filters import OfInstances

from .models import EndDate, OwnerRule, Ownership, Person


class PersonFilters(FilterSet):
    class Meta:
        model = Person
        fields = ["name", "external_id", "active"]

    mail = django_filters.CharFilter(field_name="mail", lookup_expr="iexact")


class OwnershipFilters(OfInstances):
    path = "account__instance"
    owned = NotNullFilter(field_name="owner", label="Has an owner.")
    owner_left = django_filters.ChoiceFilter(
        choices=[("true", "true"), ("false", "false")], method="of_left", label="The owner has left."
    )

    class Meta:
        model = Ownership
        fields = ["account", "owner", "kind", "ticket"]

    def of_left(self, rows: QuerySet[Ownership], name: str, value: str) -> QuerySet[Ownership]:
        return rows.filter(owner__active=value == "false")


class EndDateFilters(OfInstances):
    path = "account__instance"

    class Meta:
        model = EndDate
        fields = ["account", "of", "ticket"]


class OwnerRuleFilters(FilterSet):
    class Meta:
        model = OwnerRule
        fields = ["match", "engine", "tag", "kind", "active"]
