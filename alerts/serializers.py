from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers

from api.serializers import CleanSerializer, ShownSlugField, StrictSerializer
from tagging.models import Tag

from .models import Alert, AlertRule, Channel, Delivery


class AlertRuleSerializer(CleanSerializer):
    tag = ShownSlugField(
        slug_field="slug", queryset=Tag.objects.all(), allow_null=True, required=False, help_text="Slug of a tag."
    )

    class Meta:
        model = AlertRule
        fields = "__all__"

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Set the channels aside: they are rows of their own, which the rule's `clean()` does not check."""
        beside = {"channels": attrs.pop("channels")} if "channels" in attrs else {}
        return super().validate(attrs) | beside


class ChannelSerializer(CleanSerializer):
    url = serializers.CharField(
        write_only=True, required=False, max_length=2000, style={"input_type": "password"}, help_text="For webhooks."
    )
    secret = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        max_length=500,
        style={"input_type": "password"},
        help_text="The signing secret, for Feishu, DingTalk and JSON. Empty deletes the stored one.",
    )
    has_url = serializers.BooleanField(source="url_token", read_only=True)
    has_secret = serializers.BooleanField(source="secret_token", read_only=True)

    class Meta:
        model = Channel
        # Named one by one: a new column of this model may be a secret.
        fields = [
            "id",
            "name",
            "kind",
            "addresses",
            "url",
            "secret",
            "has_url",
            "has_secret",
            "active",
            "daily",
            "note",
            "created_at",
            "updated_at",
        ]

    def validate_kind(self, kind: str) -> str:
        if self.instance and kind != self.instance.kind:
            raise serializers.ValidationError(_("The kind of a channel cannot be changed. Create another channel."))
        return kind


class AlertSerializer(serializers.ModelSerializer):
    rule_name = serializers.CharField(source="rule.name", read_only=True)
    kind = serializers.CharField(source="rule.kind", read_only=True)
    instance_name = serializers.CharField(source="instance.name", read_only=True, default=None)

    class Meta:
        model = Alert
        exclude = ["key"]


class DeliverySerializer(serializers.ModelSerializer):
    channel_name = serializers.CharField(source="channel.name", read_only=True)

    class Meta:
        model = Delivery
        fields = "__all__"


class MarkReadSerializer(StrictSerializer):
    ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1),
        required=False,
        max_length=10_000,
        help_text="Ids of alerts; if missing: all.",
    )


class MarkedSerializer(serializers.Serializer):
    marked = serializers.IntegerField(help_text="Alerts that were unread.")
