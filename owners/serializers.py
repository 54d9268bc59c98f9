from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from api.serializers import CleanSerializer, StrictSerializer

from .models import Ownership, Person


class PersonSerializer(CleanSerializer):
    """Expects `Person.objects.with_counts()`, but for a new one."""

    user_name = serializers.CharField(
        source="user.username", default=None, read_only=True, help_text="The login in Taifish; set in the admin."
    )
    n_accounts = serializers.IntegerField(
        read_only=True, default=0, help_text="Accounts that the person answers for: present, and not filtered."
    )

    class Meta:
        model = Person
        fields = ["id", "name", "mail", "external_id", "active", "user_name", "n_accounts"]


class OwnershipSerializer(CleanSerializer):
    account_label = serializers.CharField(source="account.__str__", read_only=True)
    instance = serializers.IntegerField(source="account.instance_id", read_only=True)
    instance_name = serializers.CharField(source="account.instance.name", read_only=True)
    owner_name = serializers.CharField(source="owner.name", default=None, read_only=True)
    owner_external_id = serializers.CharField(source="owner.external_id", default=None, read_only=True)

    class Meta:
        model = Ownership
        fields = [
            "id",
            "account",
            "account_label",
            "instance",
            "instance_name",
            "owner",
            "owner_name",
            "owner_external_id",
            "kind",
            "note",
            "ticket",
        ]

    def validate_account(self, account: Any) -> Any:
        if self.instance and account != self.instance.account:
            raise serializers.ValidationError("It stays with its account: make another one.")
        return account


class _Row(serializers.Serializer):
    """A row of a feed. The values are checked with those of all other rows."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, Mapping) and (unknown := sorted(data.keys() - self.fields.keys())):
            reason = f"Unknown. Valid are: {', '.join(sorted(self.fields))}."
            raise serializers.ValidationError({name: [reason] for name in unknown})
        return super().to_internal_value(data)


_text = {"required": False, "allow_blank": True}


class PersonRowSerializer(_Row):
    """A person by external id. What is left out stays as it is."""

    external_id = serializers.CharField()
    name = serializers.CharField(**_text)
    mail = serializers.CharField(**_text)
    active = serializers.CharField(**_text, help_text="yes or no.")


class OwnerRowSerializer(_Row):
    """The owner of an account. What is left out stays as it is; an empty value is removed."""

    instance = serializers.CharField(help_text="Its name.")
    account = serializers.CharField(help_text="Its name, or name@host.")
    owner = serializers.CharField(**_text, help_text="External id or mail of a person.")
    kind = serializers.CharField(**_text)
    note = serializers.CharField(**_text)
    ticket = serializers.CharField(**_text)


class FeedSerializer(StrictSerializer):
    dry_run = serializers.BooleanField(default=False, help_text="Only say what would change.")


class PeopleFeedSerializer(FeedSerializer):
    people = PersonRowSerializer(many=True, allow_empty=False, max_length=100_000)


class OwnersFeedSerializer(FeedSerializer):
    owners = OwnerRowSerializer(many=True, allow_empty=False, max_length=100_000)


class FedSerializer(serializers.Serializer):
    dry_run = serializers.BooleanField()
    new = serializers.IntegerField()
    changed = serializers.IntegerField()
    unchanged = serializers.IntegerField()
