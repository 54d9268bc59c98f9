from __future__ import annotations

import django_filters
from django.db.models import QuerySet

from api.filters import FilterSet, KnownFilter, NotNullFilter, YesNoFilter, moments
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
    unread = YesNoFilter(method="by_reader", label="Open, and not marked as read by you.")

    class Meta:
        model = Alert
        fields = ["rule"]

    def by_reader(self, queryset: QuerySet[Alert], name: str, value: bool) -> QuerySet[Alert]:
        unread = Alert.objects.unread(self.request.user).values("pk")
        return queryset.filter(pk__in=unread) if value else queryset.exclude(pk__in=unread)


class DeliveryFilters(FilterSet):
    since, until = moments("created_at")

    class Meta:
        model = Delivery
        fields = ["channel", "status", "is_test"]
