from __future__ import annotations

from rest_framework import serializers

from aggregation.serializers import MISSING
from api.serializers import CleanSerializer, ShownSlugField
from engines.registry import engine_choices
from tagging.models import Tag

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
    """A limit and its forecast, as stored at `computed_at` from sizes up to the day `as_of`. Days are counted from that
    day. Without a forecast `reason` says why, and the fields after it are null."""

    kind = serializers.ChoiceField(source="ceiling.kind", choices=KINDS)
    name = serializers.CharField(source="ceiling.name")
    instance = serializers.IntegerField(source="ceiling.instance.pk", **MISSING)
    instance_name = serializers.CharField(source="ceiling.instance.name", **MISSING)
    limit = serializers.IntegerField(source="ceiling.limit", allow_null=True)
    as_of = serializers.DateField(source="forecast.as_of", help_text="Day of the last size.", **MISSING)
    computed_at = serializers.DateTimeField(source="forecast.computed_at", **MISSING)
    is_stale = serializers.BooleanField(
        source="forecast.is_stale", help_text="The last size is older than TAIFISH_STALE_AFTER.", read_only=True
    )
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


class FillingQuestionSerializer(serializers.Serializer):
    """Things by kind, and by tag and engine of their instances."""

    days = serializers.IntegerField(default=90, min_value=0, max_value=365)
    kind = serializers.ChoiceField(KINDS, default="", allow_blank=True)
    tag = ShownSlugField(slug_field="slug", queryset=Tag.objects.all(), default=None, allow_null=True)
    engine = serializers.ChoiceField(engine_choices(), default="", allow_blank=True)
    without_limit = serializers.BooleanField(
        default=False, help_text="Instead, databases (or things of `kind`) without a limit, by expected growth."
    )


class FillingSerializer(ForecastSerializer):
    """A forecast with what the list is sorted by: the earliest day on which it may be full, or growth."""

    engine = serializers.CharField(source="ceiling.instance.engine", **MISSING)
    used_percent = serializers.FloatField(source="forecast.used_percent", **MISSING)
    earliest_on = serializers.DateField(source="forecast.earliest_on", **MISSING)
    latest_on = serializers.DateField(source="forecast.latest_on", **MISSING)
    grown_7_days = serializers.IntegerField(source="forecast.grown_7", **MISSING)
    grown_30_days = serializers.IntegerField(source="forecast.grown_30", **MISSING)
    is_unusual = serializers.BooleanField(
        source="forecast.is_unusual", help_text="Growth of 7 or 30 days beside that of earlier windows.", **MISSING
    )
    doubling_days = serializers.IntegerField(source="forecast.doubling", **MISSING)


class ReportSerializer(serializers.Serializer):
    """One `report.Line`."""

    kind = serializers.CharField()
    name = serializers.CharField()
    n_instances = serializers.IntegerField()
    as_of = serializers.DateField(source="forecast.as_of")
    is_stale = serializers.BooleanField(source="forecast.is_stale")
    reason = serializers.CharField(source="forecast.reason", default="")
    size = serializers.IntegerField(source="forecast.size", **MISSING)
    in_3_months = RangeSerializer(source="forecast.in_90_days", **MISSING)
    in_6_months = RangeSerializer(source="forecast.in_180_days", **MISSING)
    in_12_months = RangeSerializer(source="forecast.in_365_days", **MISSING)
    limit = serializers.IntegerField()
    limit_of = serializers.CharField()
    buy = serializers.IntegerField()
    buy_by = serializers.DateField()
