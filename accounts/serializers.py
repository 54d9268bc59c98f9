from __future__ import annotations

from rest_framework import serializers

from engines.facts import AccountFact
from engines.statements import printable
from instances.serializers import FilterSerializer, OfInstanceSerializer

from .models import Account, AccountChange, AccountFilter, Coverage, Grant, Membership, RoleReach
from .wording import details


class AccountSerializer(OfInstanceSerializer):
    """Expects `Account.objects.with_counts().with_last_seen()`."""

    label = serializers.CharField(source="__str__", read_only=True)
    last_seen_at = serializers.DateTimeField(read_only=True, help_text="When the last visit that saw it began.")
    n_grants = serializers.IntegerField(read_only=True, help_text="Held now, directly.")
    n_roles = serializers.IntegerField(read_only=True, help_text="Reached now, by any path.")

    class Meta:
        model = Account
        fields = [
            "id",
            "label",
            "instance",
            "instance_name",
            "engine",
            *AccountFact._fields,
            "is_filtered",
            "first_seen_at",
            "last_seen_at",
            "gone_at",
            "n_grants",
            "n_roles",
        ]


class GrantSerializer(serializers.ModelSerializer):
    text = serializers.CharField(source="__str__", read_only=True)
    since = serializers.DateTimeField(
        source="held_since",
        read_only=True,
        help_text="Held without interruption since then. Other options or names do not interrupt.",
    )

    class Meta:
        model = Grant
        fields = [
            "id",
            "text",
            "kind",
            "database",
            "scope",
            "privilege",
            "grantable",
            "denied",
            "grantors",
            "since",
            "until",
            "ended",
            "unobserved_since",
        ]


class MembershipSerializer(serializers.ModelSerializer):
    text = serializers.CharField(source="__str__", read_only=True)
    role_name = serializers.CharField(source="role.__str__", read_only=True)
    since = serializers.DateTimeField(
        source="held_since",
        read_only=True,
        help_text="Held without interruption since then. Other options do not interrupt.",
    )

    class Meta:
        model = Membership
        fields = [
            "id",
            "text",
            "role",
            "role_name",
            "admin_option",
            "inherit",
            "set_option",
            "grantors",
            "since",
            "until",
            "ended",
            "unobserved_since",
        ]


class RoleReachSerializer(serializers.ModelSerializer):
    """Expects `paths` in its context: role id → names of the steps, as `Account.role_paths()` gives them."""

    role_name = serializers.CharField(source="role.__str__", read_only=True)
    path = serializers.SerializerMethodField(help_text="The roles on the way, this one last.")

    class Meta:
        model = RoleReach
        fields = ["role", "role_name", "depth", "path", "inherits", "can_set", "is_admin"]

    def get_path(self, reach: RoleReach) -> list[str]:
        return self.context["paths"][reach.role_id]


class CoverageSerializer(serializers.ModelSerializer):
    class Meta:
        model = Coverage
        fields = ["level", "covered", "beyond", "gaps", "unread", "since", "read_at", "until"]


class LinkSerializer(serializers.Serializer):
    """One `evidence.Link`."""

    kind = serializers.ChoiceField(["membership", "grant"])
    id = serializers.IntegerField(source="pk")
    text = serializers.CharField()
    grantors = serializers.ListField(
        child=serializers.CharField(),
        allow_null=True,
        help_text="Null: not recorded yet. Empty: the engine names none.",
    )
    since = serializers.DateTimeField(help_text="Held without interruption since then.")
    first_session = serializers.IntegerField(allow_null=True, help_text="That saw it first. Null: no longer kept.")
    last_seen_at = serializers.DateTimeField(
        allow_null=True, help_text="When the last visit that saw it began. Null: no longer kept."
    )
    last_session = serializers.IntegerField(allow_null=True, help_text="That saw it last. Null: no longer kept.")


class UnknownSerializer(serializers.Serializer):
    instance = serializers.IntegerField(source="instance.pk")
    instance_name = serializers.CharField(source="instance.name")
    reason = serializers.CharField()


class LastReadSerializer(serializers.Serializer):
    """One `freshness.LastRead`: what an answer about an instance stands on."""

    instance = serializers.IntegerField(source="instance.pk")
    instance_name = serializers.CharField(source="instance.name")
    read_at = serializers.DateTimeField(allow_null=True, help_text="Null: no visit had read it by then.")
    session = serializers.IntegerField(allow_null=True, help_text="Null: no longer kept.")
    level = serializers.CharField(help_text="Read depth.")
    beyond = serializers.ListField(child=serializers.CharField(), help_text="Left out by the read depth.")
    gaps = serializers.JSONField(help_text="What could not be read.")
    unread = serializers.ListField(child=serializers.CharField(), help_text="Fields of accounts that were not read.")
    failures = serializers.IntegerField(help_text="Visits in a row that failed since the read.")
    failed_at = serializers.DateTimeField(allow_null=True, help_text="Null: none failed since the read.")
    error_code = serializers.CharField(help_text="Of the last one that failed.")
    paused_at = serializers.DateTimeField(allow_null=True)
    retired_at = serializers.DateTimeField(allow_null=True)
    is_stale = serializers.BooleanField(help_text="The facts do not answer for this moment.")
    reason = serializers.CharField(help_text="Why it is stale; empty if it is not.")


class AccountChangeSerializer(serializers.ModelSerializer):
    account_label = serializers.CharField(source="account.__str__", read_only=True)
    instance = serializers.IntegerField(source="account.instance_id", read_only=True)
    instance_name = serializers.CharField(source="account.instance.name", read_only=True)
    session = serializers.IntegerField(source="record.session_id", default=None, allow_null=True, read_only=True)
    lines = serializers.SerializerMethodField(help_text="The details in words.")

    class Meta:
        model = AccountChange
        fields = [
            "id",
            "at",
            "account",
            "account_label",
            "instance",
            "instance_name",
            "session",
            "record",
            "events",
            "details",
            "lines",
            "baseline",
        ]

    def get_lines(self, change: AccountChange) -> list[str]:
        return [f"{label} {printable(text)}" for _word, label, text in details(change)]


class AccountFilterSerializer(FilterSerializer):
    class Meta(FilterSerializer.Meta):
        model = AccountFilter
