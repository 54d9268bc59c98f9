from __future__ import annotations

from rest_framework import serializers

from api.serializers import CleanSerializer, StrictSerializer

from .models import SIDES, AcceptedConflict, DutyPair


class DutyPairSerializer(CleanSerializer):
    class Meta:
        model = DutyPair
        fields = [
            *("id", "name", "reason", "active"),
            *(f"{side}_{name}" for side in SIDES for name in ("classification", "privilege", "on")),
        ]


class HolderSerializer(serializers.Serializer):
    """An account that gives a side."""

    id = serializers.IntegerField()
    account = serializers.CharField()
    instance = serializers.IntegerField()
    instance_name = serializers.CharField()
    by = serializers.CharField(help_text="How it comes to hold the side: the path that can be used soonest.")


class ConflictAcceptanceSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    reason = serializers.CharField()
    ticket = serializers.CharField()
    ends_on = serializers.DateField(allow_null=True, help_text="The last day; null: without an end.")


class ConflictSerializer(serializers.Serializer):
    """An owner, or an account without owner, with the accounts that give each side."""

    key = serializers.CharField(help_text="Names the conflict, to accept it.")
    label = serializers.CharField()
    owner = serializers.IntegerField(allow_null=True)
    owner_name = serializers.CharField()
    first = HolderSerializer(many=True)
    second = HolderSerializer(many=True)
    accepted = ConflictAcceptanceSerializer(allow_null=True)


class ConflictQuestionSerializer(serializers.Serializer):
    accepted = serializers.BooleanField(required=False, allow_null=True, default=None)


class AcceptConflictsSerializer(StrictSerializer):
    conflicts = serializers.ListField(child=serializers.CharField(max_length=40), allow_empty=False, max_length=10_000)
    reason = serializers.CharField(max_length=500)
    ticket = serializers.CharField(max_length=200, default="", allow_blank=True)
    ends_on = serializers.DateField(default=None, allow_null=True)


class AcceptedConflictCountSerializer(serializers.Serializer):
    accepted = serializers.IntegerField()


class AcceptedConflictSerializer(serializers.ModelSerializer):
    pair_name = serializers.CharField(source="pair.name", read_only=True)
    owner_name = serializers.CharField(source="owner.name", default="", read_only=True)
    account_name = serializers.CharField(source="account.__str__", default="", read_only=True)
    accepted_by = serializers.CharField(source="accepted_by.username", default="", read_only=True)

    class Meta:
        model = AcceptedConflict
        fields = [
            *("id", "pair", "pair_name", "owner", "owner_name", "account", "account_name"),
            *("reason", "ticket", "ends_on", "accepted_by", "accepted_at"),
        ]
        read_only_fields = fields
