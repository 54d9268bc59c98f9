from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers

from aggregation.serializers import MISSING
from api.serializers import CleanSerializer, EngineField, ShownSlugField, StrictSerializer
from instances.serializers import InstanceIdsField
from tagging.models import Tag

from .models import TARGETS, SizeLimit, Volume
from .reading import KINDS
from .visibility import may_limit


class SizeLimitSerializer(CleanSerializer):
    kind = serializers.CharField(read_only=True, help_text="instance, database, tablespace, tag or fleet.")
    name = serializers.CharField(read_only=True)
    instance_name = serializers.CharField(source="instance.name", default="", read_only=True)

    class Meta:
        model = SizeLimit
        fields = ["id", "kind", "name", "instance", "instance_name", *TARGETS[1:], "size", "note", "set_at"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        targets = {name: attrs.get(name, getattr(self.instance, name, None)) for name in TARGETS}
        if not may_limit(SizeLimit(**targets).kind, self.context["request"].user):
            raise serializers.ValidationError(
                _("You see some instances only, and may not limit a tag or the whole fleet.")
            )
        return attrs


class InstanceLimitSerializer(SizeLimitSerializer):
    class Meta:
        model = SizeLimit
        fields = ["id", "instance", "instance_name", "size", "note", "set_at"]
        extra_kwargs = {"instance": {"required": True, "allow_null": False}}


_id = {"required": False, "allow_null": True, "min_value": 1, "max_value": 2**63 - 1}


class LimitRowSerializer(serializers.Serializer):
    """The limit of one instance, database, tablespace or tag, by its id, or of the whole fleet. Without a note, the
    stored one stays."""

    instance = serializers.IntegerField(**_id)
    database = serializers.IntegerField(**_id)
    tablespace = serializers.IntegerField(**_id)
    tag = serializers.IntegerField(**_id)
    size = serializers.IntegerField(min_value=1, max_value=2**63 - 1, help_text="Bytes.")
    note = serializers.CharField(required=False, allow_blank=True, max_length=200)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, Mapping) and (unknown := sorted(data.keys() - self.fields.keys())):
            reason = f"Unknown. Valid are: {', '.join(sorted(self.fields))}."
            raise serializers.ValidationError({name: [reason] for name in unknown})
        return super().to_internal_value(data)


class BulkLimitsSerializer(StrictSerializer):
    limits = LimitRowSerializer(many=True, allow_empty=False, max_length=10_000)
    dry_run = serializers.BooleanField(default=False, help_text="Only say what would change.")


class BulkDoneSerializer(serializers.Serializer):
    dry_run = serializers.BooleanField()
    new = serializers.IntegerField()
    changed = serializers.IntegerField()
    unchanged = serializers.IntegerField()


class MembersField(InstanceIdsField):
    def to_representation(self, data: Any) -> list[int]:
        return [instance.pk for instance in data.all()]


class VolumeSerializer(CleanSerializer):
    instances = MembersField(required=False, allow_empty=True)
    is_stale = serializers.BooleanField(
        read_only=True, help_text="The figures were read from Prometheus, longer ago than TAIFISH_STALE_AFTER."
    )

    class Meta:
        model = Volume
        fields = ["id", "name", "instances", "size", "mount", "available", "read_at", "is_stale", "note"]
        read_only_fields = ["mount"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if self.instance and self.instance.mount and (measured := sorted(attrs.keys() & set(Volume.MEASURED))):
            reason = _("This is read from Prometheus. Leave it out.")
            raise serializers.ValidationError({name: [reason] for name in measured})
        # No model's field takes a list.
        instances = {"instances": attrs.pop("instances")} if "instances" in attrs else {}
        return super().validate(attrs) | instances


class RangeSerializer(serializers.Serializer):
    """`answers.Range` in bytes: in one of ten cases each the size is below `low` or above `high`."""

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
    limit_source = serializers.CharField(
        source="ceiling.source", help_text="typed, prometheus, or engine: of a tablespace that the engine limits."
    )
    as_of = serializers.DateField(source="forecast.as_of", help_text="Day of the last size.", **MISSING)
    computed_at = serializers.DateTimeField(source="forecast.computed_at", **MISSING)
    is_stale = serializers.BooleanField(
        source="forecast.is_stale", help_text="The last size is older than TAIFISH_STALE_AFTER.", read_only=True
    )
    reason = serializers.CharField(source="forecast.reason", default="")
    size = serializers.IntegerField(source="forecast.size", **MISSING)
    n_instances = serializers.IntegerField(source="forecast.n_parts", help_text="Of a total; else 0.")
    n_sized = serializers.IntegerField(
        source="forecast.n_sized", help_text="Of a total: the instances that have a size. `size` is that of these."
    )
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
    engine = EngineField(default="", allow_blank=True)
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
    n_sized = serializers.IntegerField(help_text="Instances that have a size; `size` is that of these.")
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


class VolumeReadSerializer(serializers.Serializer):
    """How the last read from Prometheus went."""

    tried_at = serializers.DateTimeField()
    read_at = serializers.DateTimeField(allow_null=True, help_text="Of the last success.")
    error = serializers.CharField(help_text="Empty: it succeeded.")
    skipped = serializers.ListField(
        child=serializers.CharField(), help_text="Why hosts have no volume, by the last success."
    )
