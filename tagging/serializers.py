from __future__ import annotations

from typing import Any

from rest_framework import serializers

from api.serializers import CleanSerializer
from console.visibility import ids_shown_to, limit_of, shown_to
from instances.filters import InstanceFilters
from instances.models import Instance

from .models import Tag, TagOperation
from .visibility import givable


class TagSerializer(CleanSerializer):
    class Meta:
        model = Tag
        fields = ["id", "slug", "label", "category", "colour", "active"]


def _ids(most: int, **options: Any) -> serializers.ListField:
    number = serializers.IntegerField(min_value=1, max_value=2**63 - 1)
    return serializers.ListField(child=number, allow_empty=False, max_length=most, **options)


class InstanceFilterSerializer(serializers.Serializer):
    """Parameters of GET /api/instances/ that choose instances."""

    name = serializers.CharField(required=False)
    engine = serializers.CharField(required=False)
    host = serializers.CharField(required=False)
    credential = serializers.IntegerField(required=False)
    retired = serializers.BooleanField(required=False)
    tag = serializers.CharField(required=False, help_text="Slug of a tag.")


class BulkSerializer(serializers.Serializer):
    """Tags to add to, or remove from, instances: each tag on each instance. Give the instances by `instance_ids` or by
    `filter`."""

    instance_ids = _ids(10_000, required=False)
    filter = InstanceFilterSerializer(required=False)
    tag_ids = _ids(1000)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Leaves `instance_ids` and `tag_ids`."""
        if ("instance_ids" in attrs) == ("filter" in attrs):
            raise serializers.ValidationError('Give one of "instance_ids" and "filter".')
        if "filter" in attrs:
            attrs["instance_ids"] = self._chosen(self.initial_data["filter"])
            del attrs["filter"]
        self._check_limit(attrs["instance_ids"], attrs["tag_ids"])
        return attrs

    def _check_limit(self, instance_ids: list[int], tag_ids: list[int]) -> None:
        """Users who are limited to tags may name only instances that they see, and tags that limit no user."""
        user = self.context["request"].user
        if limit_of(user) is None:
            return
        hidden = sorted({*instance_ids} - {*ids_shown_to(user, Instance.objects.filter(pk__in=instance_ids))})
        if hidden:
            raise serializers.ValidationError({"instance_ids": [f"Not there: {', '.join(map(str, hidden))}."]})
        tags = shown_to(givable(Tag.objects.filter(pk__in=tag_ids), user), user)
        if refused := sorted({*tag_ids} - {*tags.values_list("pk", flat=True)}):
            reason = f"Unknown tag, or a tag that limits what users see: {', '.join(map(str, refused))}."
            raise serializers.ValidationError({"tag_ids": [reason]})

    def _chosen(self, parameters: dict[str, Any]) -> list[int]:
        if unknown := sorted(parameters.keys() - InstanceFilterSerializer().fields.keys()):
            raise serializers.ValidationError({"filter": [f"Unknown: {', '.join(unknown)}."]})
        if not parameters:
            raise serializers.ValidationError({"filter": ["Empty: say which instances."]})
        values = {name: str(value) for name, value in parameters.items()}
        request = self.context["request"]
        chosen = InstanceFilters(values, queryset=shown_to(Instance.objects.all(), request.user), request=request)
        if not chosen.is_valid():
            raise serializers.ValidationError({"filter": chosen.errors})
        found = chosen.qs if "retired" in values else chosen.qs.active()
        ids = list(found.order_by().values_list("pk", flat=True))
        if not ids:
            raise serializers.ValidationError({"filter": ["No instance is like that."]})
        return ids


class FailureSerializer(serializers.Serializer):
    instance = serializers.IntegerField()
    tag = serializers.IntegerField()
    reason = serializers.CharField()


class BlockSerializer(serializers.Serializer):
    tags = serializers.ListField(child=serializers.IntegerField())
    instances = serializers.ListField(child=serializers.IntegerField())


class TagOperationSerializer(serializers.ModelSerializer):
    requested_by = serializers.CharField(source="requested_by.username", default=None, allow_null=True, read_only=True)
    totals = serializers.DictField(child=serializers.IntegerField(), help_text="Pairs by outcome.")
    outcomes = serializers.DictField(
        child=BlockSerializer(many=True),
        help_text="Outcome → blocks: it is that of every one of the tags on every one of the instances.",
    )
    failed = FailureSerializer(source="reasons", many=True)

    class Meta:
        model = TagOperation
        fields = [
            "id",
            "action",
            "requested_by",
            "undo_of",
            "created_at",
            "finished_at",
            "totals",
            "outcomes",
            "failed",
        ]
