from __future__ import annotations

from typing import Any

from rest_framework import serializers

from api.serializers import CleanSerializer, ShownKeyField, StrictSerializer
from console.visibility import ids_shown_to
from instances.models import Instance
from instances.serializers import InstanceIdsField

from .models import AcceptedDeviation, Baseline
from .states import FORMATS
from .wording import WHAT


class MembersField(InstanceIdsField):
    def to_representation(self, data: Any) -> list[int]:
        return [instance.pk for instance in data.all()]


class BaselineSerializer(CleanSerializer):
    instances = MembersField(required=False, allow_empty=True)

    class Meta:
        model = Baseline
        fields = ["id", "name", "tag", "instances", "reference", "state_at", "ignored", "active", "note"]
        read_only_fields = ["state_at"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        # No model's field takes a list.
        instances = {"instances": attrs.pop("instances")} if "instances" in attrs else {}
        return super().validate(attrs) | instances

    def to_representation(self, row: Baseline) -> dict[str, Any]:
        """Without a reference that the user may not see."""
        found = super().to_representation(row)
        if "shown" not in self.context:
            # Looked up once for all rows; None: all.
            self.context["shown"] = ids_shown_to(self.context["request"].user)
        if self.context["shown"] is not None and found["reference"] not in self.context["shown"]:
            found["reference"] = None
        return found


class AcceptanceSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    reason = serializers.CharField()
    ticket = serializers.CharField()
    ends_on = serializers.DateField(allow_null=True, help_text="The last day; null: without an end.")


class DeviationSerializer(serializers.Serializer):
    """What one instance has otherwise than the reference. `expected` and `found` are null where there is nothing."""

    instance = serializers.IntegerField()
    instance_name = serializers.CharField()
    key = serializers.CharField(help_text="Names the deviation, to accept it.")
    what = serializers.ChoiceField(choices=[*WHAT])
    account = serializers.CharField()
    host = serializers.CharField()
    kind = serializers.CharField(help_text="account, field (of the account), membership, or the kind of the grant.")
    database = serializers.CharField()
    scope = serializers.CharField(help_text="The object of a grant, the role of a membership.")
    item = serializers.CharField(help_text="The privilege, the field, or the host of the role.")
    expected = serializers.CharField(allow_null=True)
    found = serializers.CharField(allow_null=True)
    text = serializers.CharField()
    accepted = AcceptanceSerializer(allow_null=True)


class StateQuestionSerializer(StrictSerializer):
    form = serializers.ChoiceField(choices=[*FORMATS], default="json")


class SavedStateSerializer(serializers.Serializer):
    state_at = serializers.DateTimeField()
    items = serializers.IntegerField()


class DeviationQuestionSerializer(serializers.Serializer):
    instance = ShownKeyField(queryset=Instance.objects.all(), required=False, help_text="Id of an instance.")
    what = serializers.ChoiceField(choices=[*WHAT], required=False)
    accepted = serializers.BooleanField(required=False, allow_null=True, default=None)


class ChosenSerializer(serializers.Serializer):
    instance = serializers.IntegerField(min_value=1, max_value=2**63 - 1)
    key = serializers.CharField(max_length=32)


class AcceptSerializer(StrictSerializer):
    deviations = ChosenSerializer(many=True, allow_empty=False, max_length=10_000)
    reason = serializers.CharField(max_length=500)
    ticket = serializers.CharField(max_length=200, default="", allow_blank=True)
    ends_on = serializers.DateField(default=None, allow_null=True)
    everywhere = serializers.BooleanField(default=False, help_text="On all instances of the baseline.")


class AcceptedCountSerializer(serializers.Serializer):
    accepted = serializers.IntegerField()


class AcceptedDeviationSerializer(serializers.ModelSerializer):
    baseline_name = serializers.CharField(source="baseline.name", read_only=True)
    instance_name = serializers.CharField(source="instance.name", default="", read_only=True)
    accepted_by = serializers.CharField(source="accepted_by.username", default="", read_only=True)

    class Meta:
        model = AcceptedDeviation
        fields = [
            *("id", "baseline", "baseline_name", "instance", "instance_name", "key", "account", "deviation"),
            *("reason", "ticket", "ends_on", "accepted_by", "accepted_at"),
        ]
        read_only_fields = fields
