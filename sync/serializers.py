from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers

from console.visibility import shown_to
from instances.models import Instance
from instances.serializers import InstanceIdsField, OfInstanceSerializer

from .models import SyncRecord, SyncSession, VisitHealth
from .registry import KINDS


class SyncSessionSerializer(serializers.ModelSerializer):
    """Expects `SyncSession.objects.with_counts()`."""

    url = serializers.HyperlinkedIdentityField(view_name="syncsession-detail")
    requested_by = serializers.CharField(source="requested_by.username", default=None, allow_null=True, read_only=True)
    counts = serializers.SerializerMethodField()

    class Meta:
        model = SyncSession
        fields = [
            "id",
            "url",
            "kind",
            "trigger",
            "params",
            "status",
            "requested_by",
            "retry_of",
            "created_at",
            "cancel_requested_at",
            "finished_at",
            "counts",
        ]

    def get_counts(self, session: SyncSession) -> dict[str, int]:
        return {name: getattr(session, f"n_{name}") for name in ["total", *SyncRecord.Status.values]}


class StartSerializer(serializers.Serializer):
    """Which visits to start: of `kind`, to the instances given by exactly one of `instance_ids`, `tag` and `all`."""

    kind = serializers.CharField()
    instance_ids = InstanceIdsField(required=False)
    tag = serializers.CharField(required=False, help_text="Slug of a tag.")
    all = serializers.BooleanField(required=False, help_text="Every active instance.")

    def validate_kind(self, kind: str) -> str:
        if kind not in KINDS:
            raise serializers.ValidationError(f"Unknown kind of visit. Choose from: {', '.join(sorted(KINDS))}.")
        return kind

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Adds `instances`, a queryset."""
        given = [name for name in ("instance_ids", "tag", "all") if attrs.get(name)]
        if len(given) != 1:
            raise serializers.ValidationError('Give one of "instance_ids", "tag" and "all": true.')
        name = given[0]
        attrs["instances"] = attrs[name] if name == "instance_ids" else getattr(self, f"_{name}")(attrs[name])
        return attrs

    def _active(self) -> QuerySet[Instance]:
        return shown_to(Instance.objects.active(), self.context["request"].user)

    def _tag(self, slug: str) -> QuerySet[Instance]:
        chosen = self._active().filter(tags__slug=slug)
        if not chosen.exists():
            raise serializers.ValidationError({"tag": [f"No active instance has the tag {slug!r}."]})
        return chosen

    def _all(self, _: bool) -> QuerySet[Instance]:
        chosen = self._active()
        if not chosen.exists():
            raise serializers.ValidationError({"all": ["There is no active instance."]})
        return chosen


class SyncRecordSerializer(OfInstanceSerializer):
    gaps = serializers.JSONField(source="not_read", read_only=True)

    class Meta:
        model = SyncRecord
        fields = [
            "id",
            "session",
            "instance",
            "instance_name",
            "kind",
            "status",
            "phase",
            "attempt",
            "max_attempts",
            "not_before",
            "started_at",
            "finished_at",
            "error_code",
            "parameters",
            "error",
            "hint",
            "held_count",
            "confirmed_count",
            "summary",
            "gaps",
        ]


class VisitHealthSerializer(OfInstanceSerializer):
    class Meta:
        model = VisitHealth
        fields = [
            "id",
            "instance",
            "instance_name",
            "kind",
            "failures",
            "succeeded_at",
            "failed_at",
            "paused_at",
            "error_code",
            "parameters",
            "error",
        ]
