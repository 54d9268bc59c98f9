from __future__ import annotations

import django_filters

from accounts.models import Account
from api.filters import KnownFilter, NotNullFilter, YesNoFilter
from engines.registry import engine_choices
from instances.filters import OfInstances

from .models import Assignment, Classification, ClassificationRule


class ClassificationFilters(django_filters.FilterSet):
    code = django_filters.CharFilter()
    risk = django_filters.ChoiceFilter(choices=Classification.Risk.choices)

    class Meta:
        model = Classification
        fields: list[str] = []


class ClassificationRuleFilters(django_filters.FilterSet):
    code = django_filters.CharFilter()
    classification = KnownFilter(queryset=Classification.objects.all())
    engine = django_filters.ChoiceFilter(choices=engine_choices)
    active = YesNoFilter()

    class Meta:
        model = ClassificationRule
        fields: list[str] = []


class AssignmentFilters(OfInstances):
    account = KnownFilter(queryset=Account.objects.all())
    classification = KnownFilter(queryset=Classification.objects.all())
    rule = KnownFilter(queryset=ClassificationRule.objects.all())
    risk = django_filters.ChoiceFilter(field_name="classification__risk", choices=Classification.Risk.choices)
    manual = NotNullFilter(field_name="rule", exclude=True, label="A person assigned it.")
    current = NotNullFilter(field_name="until", exclude=True, label="Holds now.")
    confirmed = NotNullFilter(field_name="unconfirmed_since", exclude=True, label="The last run could tell.")

    class Meta:
        model = Assignment
        fields: list[str] = []
