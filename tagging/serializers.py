from __future__ import annotations

from rest_framework import serializers

from instances.serializers import CleanSerializer

from .models import Tag, TagOperation


class TagSerializer(CleanSerializer):
    class Meta:
        model = Tag
        fields = ["id", "slug", "label", "category", "colour", "active"]


def _ids(most: int) -> serializers.ListField:
    number = serializers.IntegerField(min_value=1, max_value=2**63 - 1)
    return serializers.ListField(child=number, allow_empty=False, max_length=most)


class BulkSerializer(serializers.Serializer):
    """Which tags to put on, or take off, which instances: every one of the former on every one of the latter."""

    #: Pairs a request: what is worked on while the client waits.
    MOST_PAIRS = 100_000

    instance_ids = _ids(10_000)
    tag_ids = _ids(1000)

    def validate(self, attrs: dict[str, list[int]]) -> dict[str, list[int]]:
        pairs = len(set(attrs["instance_ids"])) * len(set(attrs["tag_ids"]))
        if pairs > self.MOST_PAIRS:
            raise serializers.ValidationError(
                f"These are {pairs} pairs; ask for {self.MOST_PAIRS} at most, in several requests."
            )
        return attrs


class FailureSerializer(serializers.Serializer):
    instance = serializers.IntegerField()
    tag = serializers.IntegerField()
    reason = serializers.CharField()


class BlockSerializer(serializers.Serializer):
    tags = serializers.ListField(child=serializers.IntegerField())
    instances = serializers.ListField(child=serializers.IntegerField())


class TagOperationSerializer(serializers.ModelSerializer):
    requested_by = serializers.CharField(source="requested_by.username", default=None, read_only=True)
    totals = serializers.DictField(child=serializers.IntegerField(), help_text="Pairs by outcome.")
    outcomes = serializers.DictField(
        child=BlockSerializer(many=True),
        help_text="Outcome → blocks: it is that of every one of the tags on every one of the instances.",
    )
    failed = FailureSerializer(source="reasons", many=True)

    class Meta:
        model = TagOperation
        fields = ["id", "action", "requested_by", "undo_of", "created_at", "totals", "outcomes", "failed"]
