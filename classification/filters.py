from __future__ import annotations

import django_filters
from django.utils.choices import CallableChoiceIterator

from api.filters import FilterSet, NotNullFilter
from engines.registry import engine_choices
from instances.filters import OfInstances

from .models import Assignment, Classification, ClassificationRule


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
