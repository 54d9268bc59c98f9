from __future__ import annotations

from typing import Any

from rest_framework import serializers

from api.serializers import ShownKeyField, ShownSlugField, StrictSerializer
from engines.registry import engine_choices
from instances.models import Instance
from instances.serializers import InstanceIdsField, OfInstanceSerializer
from tagging.models import Tag

from .models import PERIODS, Aggregate, DatabaseAggregate, InstanceAggregate
from .periods import Period

#: What all aggregates hold.
FIGURES = [field.name for field in Aggregate._meta.fields]

#: For a field of an object that may lack it.
MISSING: dict[str, Any] = {"read_only": True, "default": None, "allow_null": True}


class InstanceAggregateSerializer(OfInstanceSerializer):
    class Meta:
        model = InstanceAggregate
        fields = ["id", "instance", "instance_name", *FIGURES, "days_complete"]


class DatabaseAggregateSerializer(serializers.ModelSerializer):
    database_name = serializers.CharField(source="database.name", read_only=True)
    instance = serializers.IntegerField(source="database.instance_id", read_only=True)
    instance_name = serializers.CharField(source="database.instance.name", read_only=True)

    class Meta:
        model = DatabaseAggregate
        fields = ["id", "database", "database_name", "instance", "instance_name", *FIGURES]


class PeriodField(serializers.ChoiceField):
    """One of the periods; another name is an error that lists them."""

    def __init__(self, *more: str, **kwargs: Any) -> None:
        super().__init__([*PERIODS, *((name, name) for name in more)], **kwargs)
        names = ", ".join(self.choices)
        self.error_messages["invalid_choice"] = f"There is no period “{{input}}”: {names}."


class BackfillSerializer(StrictSerializer):
    """What to aggregate: every closed period with a day in the range, of all active instances or of those named."""

    period = PeriodField("all")
    first = serializers.DateField()
    last = serializers.DateField()
    instance_ids = InstanceIdsField(required=False)


class SelectionSerializer(serializers.Serializer):
    """Instances by tag and engine, and a closed period by any day of it."""

    period = PeriodField(default=Period.MONTHLY.value)
    on = serializers.DateField(help_text="A day of the period; the last closed one.", default=None, allow_null=True)
    tag = ShownSlugField(slug_field="slug", queryset=Tag.objects.all(), default=None, allow_null=True)
    engine = serializers.ChoiceField(engine_choices(), default="", allow_blank=True)


class TotalsQuestionSerializer(SelectionSerializer):
    by = serializers.ChoiceField(["instance", "engine", "tag"], default="instance")


class TotalSerializer(serializers.Serializer):
    """One `reading.Total`."""

    name = serializers.CharField()
    size = serializers.IntegerField()
    change = serializers.IntegerField(allow_null=True, help_text="Null where no instance has a baseline.")
    n_instances = serializers.IntegerField()
    n_with_change = serializers.IntegerField()


class LackingSerializer(serializers.Serializer):
    """One `reading.Lacking`."""

    instance = serializers.IntegerField(source="instance.pk")
    instance_name = serializers.CharField(source="instance.name")
    collected = serializers.IntegerField()
    complete = serializers.IntegerField()
    expected = serializers.IntegerField()


class SoFarQuestionSerializer(serializers.Serializer):
    period = PeriodField()
    instance = ShownKeyField(queryset=Instance.objects.all())
    database = serializers.CharField(default="", allow_blank=True, help_text="Name of one of its databases.")


class SoFarSerializer(serializers.Serializer):
    """One `reading.SoFar`."""

    period = serializers.CharField()
    start = serializers.DateField()
    end = serializers.DateField()
    avg_size = serializers.DecimalField(max_digits=30, decimal_places=4)
    min_size = serializers.IntegerField()
    max_size = serializers.IntegerField()
    last_size = serializers.IntegerField()
    days_collected = serializers.IntegerField()
    days_so_far = serializers.IntegerField()
