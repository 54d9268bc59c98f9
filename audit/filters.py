from __future__ import annotations

import django_filters
from django import forms
from django.db.models import QuerySet

from api.filters import FilterSet, moments

from .models import Event


class AddressFilter(django_filters.CharFilter):
    field_class = forms.GenericIPAddressField


class EventFilters(FilterSet):
    since, until = moments("at")
    kind = django_filters.ChoiceFilter(choices=Event.Kind.choices)
    door = django_filters.ChoiceFilter(choices=Event.Door.choices)
    person = django_filters.CharFilter(field_name="user_name")
    address = AddressFilter()
    instance_id = django_filters.NumberFilter(label="Also of an instance that is gone.")
    model = django_filters.CharFilter(method="of_model", label="Object type, such as instances.instance.")

    class Meta:
        model = Event
        fields = ["request", "object_id"]

    def of_model(self, events: QuerySet[Event], name: str, value: str) -> QuerySet[Event]:
        return events.filter(model=value.lower())
