from __future__ import annotations

import django_filters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.utils.choices import CallableChoiceIterator

from accounts.models import Account
from api.filters import FilterSet, NotNullFilter
from engines.registry import engine_choices
from instances.filters import OfInstances

from .models import UNCLASSIFIED, Assignment, Classification, ClassificationRule, of_risk


class RiskOfAccount(django_filters.ChoiceFilter):
    """The highest risk among the classifications of an account."""

    def __init__(self) -> None:
        super().__init__(
            choices=[*Classification.Risk.choices, (UNCLASSIFIED, UNCLASSIFIED)], label="The highest of its risks now."
        )

    def filter(self, qs: QuerySet[Account], value: str) -> QuerySet[Account]:
        if not value:
            return qs
        if not self.parent.request.user.has_perm("classification.view_assignment"):
            raise PermissionDenied
        return of_risk(qs, value)


class ClassificationFilters(FilterSet):
    class Meta:
        model = Classification
        fields = ["code", "risk"]


class ClassificationRuleFilters(FilterSet):
    engine = django_filters.ChoiceFilter(choices=CallableChoiceIterator(engine_choices))

    class Meta:
        model = ClassificationRule
        fields = ["code", "classification", "active"]


class AssignmentFilters(OfInstances):
    risk = django_filters.ChoiceFilter(field_name="classification__risk", choices=Classification.Risk.choices)
    manual = NotNullFilter(field_name="rule", exclude=True, label="A user assigned it.")
    current = NotNullFilter(field_name="until", exclude=True, label="Holds now.")
    confirmed = NotNullFilter(field_name="unconfirmed_since", exclude=True, label="The last run confirmed it.")

    class Meta:
        model = Assignment
        fields = ["account", "classification", "rule"]
