from __future__ import annotations

import django_filters

from api.filters import FilterSet, KnownFilter, NotNullFilter, moments
from instances.filters import OfInstances
from tagging.models import Tag

from .kinds import KINDS
from .models import Alert, AlertRule, Channel, Delivery

KIND_CHOICES = [(name, kind.label) for name, kind in KINDS.items()]


class AlertRuleFilters(FilterSet):
    kind = django_filters.ChoiceFilter(choices=KIND_CHOICES)
    channel = KnownFilter(field_name="channels", queryset=Channel.objects.all())
    tag = KnownFilter(queryset=Tag.objects.all(), to_field_name="slug")

    class Meta:
        model = AlertRule
        fields = ["name", "active"]


class ChannelFilters(FilterSet):
    class Meta:
        model = Channel
        fields = ["name", "kind", "active"]


class AlertFilters(OfInstances):
    kind = django_filters.ChoiceFilter(field_name="rule__kind", choices=KIND_CHOICES)
    open = NotNullFilter(field_name="resolved_at", exclude=True)
    since, until = moments("first_seen_at")

    class Meta:
        model = Alert
        fields = ["rule"]


class DeliveryFilters(FilterSet):
    since, until = moments("created_at")

    class Meta:
        model = Delivery
        fields = ["channel", "status", "is_test"]
