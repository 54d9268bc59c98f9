from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from rest_framework import serializers

from api.serializers import CleanSerializer, EngineField, StrictSerializer

from .models import Campaign, CampaignInstance, Decision, Item, Reviewer


class ReviewerSerializer(serializers.ModelSerializer):
    class Meta:
        model = Reviewer
        fields = ["user", "tag"]


class CampaignSerializer(CleanSerializer):
    """Only drafts can be changed. `reviewers` replace those that were there."""

    reviewers = ReviewerSerializer(many=True, required=False)
    engines = serializers.ListField(child=EngineField(), required=False, help_text="Empty: all engines.")
    n_items = serializers.IntegerField(read_only=True, default=None, allow_null=True)
    n_decided = serializers.IntegerField(read_only=True, default=None, allow_null=True)
    n_revoked = serializers.IntegerField(read_only=True, default=None, allow_null=True)

    class Meta:
        model = Campaign
        fields = [
            "id",
            "name",
            "state",
            "due_on",
            "tags",
            "engines",
            "classifications",
            "privilege",
            "on",
            "by",
            "reviewers",
            "escalate_to",
            "escalate_after",
            "previous",
            "note",
            "scope_text",
            "query_text",
            "version",
            "created_at",
            "frozen_at",
            "closed_at",
            "acknowledged_name",
            "acknowledged_at",
            "acknowledged_text",
            "sealed_at",
            "n_items",
            "n_decided",
            "n_revoked",
        ]
        read_only_fields = [*fields[2:3], *fields[15:]]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        kept = {name: attrs.pop(name) for name in ("reviewers", "tags", "classifications") if name in attrs}
        return super().validate(attrs) | kept

    def create(self, validated_data: dict[str, Any]) -> Campaign:
        reviewers = validated_data.pop("reviewers", [])
        made = super().create(validated_data)
        self._name(made, reviewers)
        return made

    def update(self, instance: Campaign, validated_data: dict[str, Any]) -> Campaign:
        reviewers = validated_data.pop("reviewers", None)
        made = super().update(instance, validated_data)
        if reviewers is not None:
            made.reviewers.all().delete()
            self._name(made, reviewers)
        return made

    def _name(self, made: Campaign, reviewers: list[dict[str, Any]]) -> None:
        for one in reviewers:
            made.reviewers.create(**one)


class CampaignInstanceSerializer(serializers.ModelSerializer):
    is_unknown = serializers.BooleanField(read_only=True)

    class Meta:
        model = CampaignInstance
        fields = ["instance", "name", "engine", "session", "read_at", "level", "stale", "unread", "beyond", "unknown"]
        fields += ["n_left_out", "is_unknown"]


class ItemSerializer(serializers.ModelSerializer):
    instance = serializers.IntegerField(source="place.instance_id", read_only=True, allow_null=True)
    instance_name = serializers.CharField(source="place.name", read_only=True)
    engine = serializers.CharField(source="place.engine", read_only=True)
    right = serializers.CharField(read_only=True)
    days_held = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="Days, up to the last visit before the freeze that saw it."
    )
    is_at_least = serializers.BooleanField(
        read_only=True, allow_null=True, help_text="Whether it may have been held for longer: the first visit saw it."
    )
    reason = serializers.CharField(read_only=True, allow_null=True)
    decided_by = serializers.CharField(read_only=True, allow_null=True)
    decided_at = serializers.DateTimeField(read_only=True, allow_null=True)
    is_gone = serializers.BooleanField(read_only=True, allow_null=True)
    observed_at = serializers.DateTimeField(read_only=True, allow_null=True)
    observed_in = serializers.IntegerField(read_only=True, allow_null=True)
    previous_verdict = serializers.CharField(read_only=True, allow_null=True)

    class Meta:
        model = Item
        fields = [
            "id",
            "campaign",
            "instance",
            "instance_name",
            "engine",
            "account",
            "account_label",
            "what",
            "privilege",
            "object_kind",
            "object",
            "right",
            "chain",
            "since",
            "held_since",
            "days_held",
            "is_at_least",
            "extent",
            "usable",
            "risk",
            "unobserved_since",
            "owner_name",
            "reviewer",
            "verdict",
            "reason",
            "decided_by",
            "decided_at",
            "is_gone",
            "observed_at",
            "observed_in",
            "previous_verdict",
        ]


class _ItemsSerializer(StrictSerializer):
    items = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1), min_length=1, max_length=5000
    )


class DecideSerializer(_ItemsSerializer):
    verdict = serializers.ChoiceField(choices=Decision.Verdict.choices)
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=2000)


class DelegateSerializer(_ItemsSerializer):
    to = serializers.SlugRelatedField("username", queryset=User.objects.filter(is_active=True))
    reason = serializers.CharField(max_length=2000)


class AcknowledgeSerializer(StrictSerializer):
    text = serializers.CharField(max_length=4000)


class DoneSerializer(serializers.Serializer):
    done = serializers.IntegerField(help_text="Items.")


class ProgressSerializer(serializers.Serializer):
    reviewer = serializers.CharField(source="user", allow_null=True)
    n = serializers.IntegerField()
    undecided = serializers.IntegerField()
    keep = serializers.IntegerField()
    revoke = serializers.IntegerField()
    change = serializers.IntegerField()
