from __future__ import annotations

import django_filters

from api.filters import KnownFilter, MomentFilter, NotNullFilter, YesNoFilter
from instances.filters import OfInstances
from tagging.models import Tag

from .kinds import KINDS
from .models import Alert, AlertRule, Channel, Delivery

KIND_CHOICES = [(name, kind.label) for name, kind in KINDS.items()]


class AlertRuleFilters(django_filters.FilterSet):
    name = django_filters.CharFilter()
    kind = django_filters.ChoiceFilter(choices=KIND_CHOICES)
    active = YesNoFilter()
    channel = KnownFilter(field_name="channels", queryset=Channel.objects.all())
    tag = KnownFilter(queryset=Tag.objects.all(), to_field_name="slug")

    class Meta:
        model = AlertRule
        fields: list[str] = []


class ChannelFilters(django_filters.FilterSet):
    name = django_filters.CharFilter()
    kind = django_filters.ChoiceFilter(choices=Channel.Kind.choices)
    active = YesNoFilter()

    class Meta:
        model = Channel
        fields: list[str] = []


class AlertFilters(OfInstances):
    rule = KnownFilter(queryset=AlertRule.objects.all())
    kind = django_filters.ChoiceFilter(field_name="rule__kind", choices=KIND_CHOICES)
    open = NotNullFilter(field_name="resolved_at", exclude=True)
    since = MomentFilter(field_name="first_seen_at", lookup_expr="gte")
    until = MomentFilter(field_name="first_seen_at", lookup_expr="lt")

    class Meta:
        model = Alert
        fields: list[str] = []


class DeliveryFilters(django_filters.FilterSet):
    channel = KnownFilter(queryset=Channel.objects.all())
    status = django_filters.ChoiceFilter(choices=Delivery.Status.choices)
    is_test = YesNoFilter()
    since = MomentFilter(field_name="created_at", lookup_expr="gte")
    until = MomentFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Delivery
        fields: list[str] = []
