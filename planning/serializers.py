from __future__ import annotations

from rest_framework import serializers

from aggregation.serializers import MISSING
from api.serializers import CleanSerializer

from .models import SizeLimit
from .reading import KINDS


class SizeLimitSerializer(CleanSerializer):
    instance_name = serializers.CharField(source="instance.name", default="", read_only=True)

    class Meta:
        model = SizeLimit
        fields = ["id", "instance", "instance_name", "database", "tag", "size", "note", "set_at"]


class RangeSerializer(serializers.Serializer):
    """`forecast.Range` in bytes: in one of ten cases each the size is below `low` or above `high`."""

    low = serializers.IntegerField()
    expected = serializers.IntegerField()
    high = serializers.IntegerField()


class ForecastSerializer(serializers.Serializer):
    """A limit and its forecast. Without a forecast `reason` says why, and the fields after it are null."""

    kind = serializers.ChoiceField(source="ceiling.kind", choices=KINDS)
    name = serializers.CharField(source="ceiling.name")
    instance = serializers.IntegerField(source="ceiling.instance.pk", **MISSING)
    instance_name = serializers.CharField(source="ceiling.instance.name", **MISSING)
    limit = serializers.IntegerField(source="ceiling.limit")
    reason = serializers.CharField(source="forecast.reason", default="")
    size = serializers.IntegerField(source="forecast.size", **MISSING)
    days = serializers.IntegerField(
        source="forecast.days", help_text="Null: not within a year, or not known.", **MISSING
    )
    on = serializers.DateField(source="forecast.on", **MISSING)
    earliest = serializers.IntegerField(
        source="forecast.earliest", help_text="Days until the limit by the upper bound.", **MISSING
    )
    latest = serializers.IntegerField(
        source="forecast.latest", help_text="Days until the limit by the lower bound.", **MISSING
    )
    in_30_days = RangeSerializer(source="forecast.in_30_days", **MISSING)
    in_90_days = RangeSerializer(source="forecast.in_90_days", **MISSING)
    in_365_days = RangeSerializer(source="forecast.in_365_days", **MISSING)
    model = serializers.CharField(source="forecast.model", **MISSING)
    slope = serializers.FloatField(source="forecast.slope", help_text="Bytes a day over the next 30 days.", **MISSING)
    error = serializers.FloatField(
        source="forecast.error", help_text="Median miss of the model 30 days ahead, bytes.", **MISSING
    )
    since = serializers.DateField(source="forecast.since", help_text="First day that was looked at.", **MISSING)
