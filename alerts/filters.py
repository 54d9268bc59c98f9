from __future__ import annotations

import django_filters

from api.filters import FilterSet, KnownFilter, NotNullFilter, moments
from instances.filters import OfInstances
from tagging.models import Tag

from .kinds import kind_choices
from .models import Alert, AlertRule, Channel, Delivery


class AlertRuleFilters(FilterSet):
    channel = KnownFilter(field_name="channels", queryset=Channel.objects.all())
    tag = KnownFilter(queryset=Tag.objects.all(), to_field_name="slug")

    class Meta:
        model = AlertRule
        fields = ["name", "kind", "active"]


class ChannelFilters(FilterSet):
    class Meta:
        model = Channel
        fields = ["name", "kind", "active"]


class AlertFilters(OfInstances):
    kind = django_filters.ChoiceFilter(field_name="rule__kind", choices=kind_choices())
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
