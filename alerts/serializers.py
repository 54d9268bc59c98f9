from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers

from api.serializers import CleanSerializer, ShownSlugField
from tagging.models import Tag

from .models import Alert, AlertRule, Channel, Delivery


class AlertRuleSerializer(CleanSerializer):
    tag = ShownSlugField(
        slug_field="slug", queryset=Tag.objects.all(), allow_null=True, required=False, help_text="Slug of a tag."
    )

    class Meta:
        model = AlertRule
        fields = [
            "id",
            "name",
            "kind",
            "threshold",
            "min_bytes",
            "tag",
            "channels",
            "tell_resolved",
            "active",
            "active_since",
            "evaluated_at",
            "note",
        ]
        read_only_fields = ["active_since", "evaluated_at"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Channels are rows beside the rule: its own `clean()` says nothing of them."""
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
        help_text="For Feishu, DingTalk and JSON, to sign with; empty takes the stored one away.",
    )
    has_url = serializers.SerializerMethodField()
    has_secret = serializers.SerializerMethodField()

    class Meta:
        model = Channel
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
            "note",
            "created_at",
            "updated_at",
        ]

    def validate_kind(self, kind: str) -> str:
        if self.instance and kind != self.instance.kind:
            raise serializers.ValidationError(_("Another kind is another channel: make a new one."))
        return kind

    def get_has_url(self, channel: Channel) -> bool:
        return bool(channel.url_token)

    def get_has_secret(self, channel: Channel) -> bool:
        return bool(channel.secret_token)


class AlertSerializer(serializers.ModelSerializer):
    rule_name = serializers.CharField(source="rule.name", read_only=True)
    kind = serializers.CharField(source="rule.kind", read_only=True)
    instance_name = serializers.CharField(source="instance.name", read_only=True, default=None)

    class Meta:
        model = Alert
        fields = [
            "id",
            "rule",
            "rule_name",
            "kind",
            "instance",
            "instance_name",
            "text",
            "first_seen_at",
            "last_seen_at",
            "resolved_at",
        ]


class DeliverySerializer(serializers.ModelSerializer):
    channel_name = serializers.CharField(source="channel.name", read_only=True)

    class Meta:
        model = Delivery
        fields = [
            "id",
            "channel",
            "channel_name",
            "digest",
            "is_test",
            "status",
            "attempts",
            "not_before",
            "error",
            "created_at",
            "sent_at",
        ]
