from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from accounts.models import Grant, Membership
from api.serializers import CleanSerializer, StrictSerializer

from .end_dates import SOON, STATES, Dated
from .matching import Match
from .models import EndDate, OwnerRule, Ownership, Person, named_end


class PersonSerializer(CleanSerializer):
    """Expects `Person.objects.with_counts()`, but for a new one."""

    user_name = serializers.SerializerMethodField(help_text="The login in Taifish; set in the admin.")
    n_accounts = serializers.IntegerField(
        read_only=True, default=0, help_text="Accounts that the person answers for: present, and not filtered."
    )

    class Meta:
        model = Person
        fields = ["id", "name", "mail", "external_id", "active", "user_name", "n_accounts"]

    def get_user_name(self, person: Person) -> str | None:
        return person.user and person.user.username


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


class EndDateSerializer(CleanSerializer):
    """`membership` or `grant` names what ends by its id when the end date is made; without one it is the account."""

    membership = serializers.IntegerField(write_only=True, required=False, min_value=1, max_value=2**63 - 1)
    grant = serializers.IntegerField(write_only=True, required=False, min_value=1, max_value=2**63 - 1)
    what = serializers.CharField(read_only=True)
    account_label = serializers.CharField(source="account.__str__", read_only=True)
    instance = serializers.IntegerField(source="account.instance_id", read_only=True)
    instance_name = serializers.CharField(source="account.instance.name", read_only=True)

    class Meta:
        model = EndDate
        fields = [
            "id",
            "account",
            "account_label",
            "instance",
            "instance_name",
            "of",
            "what",
            "membership",
            "grant",
            "ends_on",
            "reason",
            "ticket",
            "approver",
            "created_at",
        ]
        read_only_fields = ["of"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        named = {kind: attrs.pop(kind) for kind in ("membership", "grant") if kind in attrs}
        account = attrs.get("account", getattr(self.instance, "account", None))
        if self.instance:
            if named or account != self.instance.account:
                raise serializers.ValidationError("What ends cannot be changed: make another end date.")
            return super().validate(attrs)
        if len(named) > 1:
            raise serializers.ValidationError("Name a membership or a grant, not both.")
        kind, pk = next(iter(named.items()), ("account", 0))
        owned = {
            "membership": Membership.objects.filter(member=account),
            "grant": Grant.objects.filter(account=account),
        }
        if named and not owned[kind].filter(pk=pk, until=None).exists():
            raise serializers.ValidationError({kind: ["The account has none with this id now."]})
        attrs |= named_end(kind, pk)
        return super().validate(attrs)


class DatedQuestionSerializer(serializers.Serializer):
    state = serializers.ChoiceField(list(STATES.items()), required=False)
    days = serializers.IntegerField(default=SOON, min_value=0, max_value=3650, help_text="Until a date is due soon.")


class DatedSerializer(serializers.Serializer):
    """An end date and what visits have seen of it."""

    id = serializers.IntegerField(source="end.pk")
    instance = serializers.CharField(source="end.account.instance.name")
    account = serializers.CharField(source="end.account.__str__")
    of = serializers.CharField(source="end.of")
    what = serializers.CharField(source="end.what")
    ends_on = serializers.DateField(source="end.ends_on")
    state = serializers.ChoiceField(list(STATES.items()))
    detail = serializers.CharField()
    days_left = serializers.IntegerField(help_text="Negative after the end.")
    held_since = serializers.DateTimeField(allow_null=True, help_text="Without interruption; null: it is not there.")
    days_held = serializers.IntegerField(allow_null=True)
    seen_at = serializers.DateTimeField(allow_null=True, help_text="By the last visit that saw it there.")
    ended_at = serializers.DateTimeField(allow_null=True, help_text="By the visit that no longer saw it.")
    session = serializers.IntegerField(allow_null=True, help_text="Of that visit.")
    reason = serializers.CharField(source="end.reason")
    ticket = serializers.CharField(source="end.ticket")
    approver = serializers.CharField(source="end.approver")


def as_rows(answers: list[Dated]) -> list[dict[str, Any]]:
    return list(DatedSerializer(answers, many=True).data)


class OwnerRuleSerializer(CleanSerializer):
    class Meta:
        model = OwnerRule
        fields = ["id", "order", "match", "pattern", "engine", "tag", "kind", "active"]


class MatchSerializer(serializers.Serializer):
    """An account without an owner, and the people that a rule names."""

    instance = serializers.CharField(source="account.instance.name")
    account = serializers.CharField(source="account.__str__")
    rule = serializers.CharField(source="rule.__str__")
    people = serializers.SerializerMethodField()

    def get_people(self, match: Match) -> list[str]:
        return [person.external_id or person.mail or person.name for person in match.people]


class MatchedSerializer(serializers.Serializer):
    dry_run = serializers.BooleanField()
    found = MatchSerializer(many=True)
    ambiguous = MatchSerializer(many=True, help_text="They stay open.")


class LeaversQuestionSerializer(serializers.Serializer):
    people = serializers.ListField(
        child=serializers.CharField(max_length=254),
        max_length=500,
        help_text="External id or mail of a person, or the name of an account. May be repeated.",
    )


class LeaverSerializer(serializers.Serializer):
    """An account of somebody who leaves. `way` is owner or name; `session` saw it gone or locked first."""

    leaver = serializers.CharField()
    way = serializers.CharField()
    instance = serializers.CharField(source="account.instance.name")
    engine = serializers.CharField(source="account.instance.engine")
    account_id = serializers.IntegerField(source="account.pk")
    account = serializers.CharField(source="account.__str__")
    state = serializers.CharField(help_text="present, locked, gone or unknown.")
    reason = serializers.CharField(help_text="Why the state is unknown.")
    ended_at = serializers.DateTimeField(allow_null=True)
    session = serializers.IntegerField(allow_null=True)
    superuser = serializers.BooleanField(source="account.is_superuser", allow_null=True)
    n_grants = serializers.IntegerField(source="account.n_grants", help_text="Direct ones.")
    n_roles = serializers.IntegerField(source="account.n_roles", help_text="Reached by any path.")
    objects = serializers.ListField(child=serializers.CharField(), help_text="That it owns.")
    roles = serializers.ListField(child=serializers.CharField(), help_text="That nobody else holds.")
    statements = serializers.ListField(child=serializers.CharField(), help_text="SQL for you to run.")
    by_hand = serializers.ListField(child=serializers.CharField())
