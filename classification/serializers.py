from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.serializers import UnknownSerializer
from api.serializers import CleanSerializer, ShownKeyField, StrictSerializer
from instances.serializers import InstanceIdsField, OfInstanceSerializer

from .effect import Effect
from .models import Assignment, Classification, ClassificationCount, ClassificationRule, RuleResult, RuleVersion

#: Accounts of each outcome on a page of a dry run.
PER_PAGE = 1000


class ClassificationSerializer(CleanSerializer):
    """Expects `Classification.objects.with_counts()`, but for a new one."""

    n_accounts = serializers.IntegerField(read_only=True, default=0, help_text="That have it now, by any way.")
    n_rules = serializers.IntegerField(read_only=True, default=0, help_text="That are active.")

    class Meta:
        model = Classification
        fields = ["id", "code", "name", "risk", "colour", "priority", "note", "is_system", "n_accounts", "n_rules"]
        read_only_fields = ["is_system"]


class ClassificationCountSerializer(serializers.ModelSerializer):
    class Meta:
        model = ClassificationCount
        fields = ["day", "accounts", "unknown"]


class ClassificationRuleSerializer(CleanSerializer):
    classification_code = serializers.CharField(source="classification.code", read_only=True)
    warnings = serializers.ListField(
        child=serializers.CharField(),
        source="unseen",
        default=None,
        read_only=True,
        help_text="Of a rule that was just saved: what it names and no visit has seen. Otherwise null.",
    )

    class Meta:
        model = ClassificationRule
        fields = [
            "id",
            "code",
            "name",
            "classification",
            "classification_code",
            "engine",
            "expression",
            "active",
            "version",
            "mapping",
            "note",
            "is_system",
            "updated_at",
            "warnings",
        ]
        read_only_fields = ["version", "is_system", "updated_at"]

    def validate_classification(self, classification: Classification) -> Classification:
        if self.instance and classification != self.instance.classification:
            raise serializers.ValidationError("A rule stays with its classification: make another rule.")
        return classification


class RuleVersionSerializer(serializers.ModelSerializer):
    by = serializers.CharField(source="by.username", default=None, read_only=True)

    class Meta:
        model = RuleVersion
        fields = ["number", "engine", "expression", "at", "by"]


class RuleResultSerializer(OfInstanceSerializer):
    class Meta:
        model = RuleResult
        fields = ["instance", "instance_name", "version", "at", *RuleResult.COUNTS, "error"]


class AssignmentSerializer(OfInstanceSerializer):
    account_label = serializers.CharField(source="account.__str__", read_only=True)
    classification_code = serializers.CharField(source="classification.code", read_only=True)
    rule_code = serializers.CharField(source="rule.code", default=None, read_only=True)
    assigned_by = serializers.CharField(source="assigned_by.username", default=None, read_only=True)
    reason = serializers.CharField(help_text="Why a person says so.")

    serializer_related_field = ShownKeyField

    class Meta:
        model = Assignment
        fields = [
            "id",
            "account",
            "account_label",
            "instance",
            "instance_name",
            "classification",
            "classification_code",
            "rule",
            "rule_code",
            "rule_version",
            "reason",
            "assigned_by",
            "since",
            "until",
            "unconfirmed_since",
        ]
        read_only_fields = ["instance", "rule", "rule_version", "since", "until", "unconfirmed_since"]
        # The service refuses one that exists already, with its own message.
        validators: list[Any] = []


class AutoClassifySerializer(StrictSerializer):
    """Which rules to apply to which instances; without any, all that are active."""

    instance_ids = InstanceIdsField(required=False)
    rules = serializers.SlugRelatedField(
        slug_field="code",
        queryset=ClassificationRule._default_manager.all(),
        many=True,
        required=False,
        help_text="By code.",
    )

    def validate_rules(self, rules: list[ClassificationRule]) -> list[ClassificationRule]:
        if idle := sorted(rule.code for rule in rules if not rule.active or rule.retired_at):
            raise serializers.ValidationError(f"Not active: {', '.join(idle)}.")
        return rules


class DryRunSerializer(StrictSerializer):
    """Where, and as of when (default: now), a rule is tried out, and which page of the accounts to return."""

    instance_ids = InstanceIdsField(required=False)
    as_of = serializers.DateTimeField(default=None, allow_null=True)
    page = serializers.IntegerField(default=1, min_value=1, help_text=f"Has {PER_PAGE} accounts of each outcome.")


class UnsavedRuleSerializer(DryRunSerializer):
    """A rule as it could be saved; with `rule`, in place of what that one says."""

    rule = serializers.PrimaryKeyRelatedField(
        queryset=ClassificationRule.objects.present(), default=None, allow_null=True
    )
    expression = serializers.CharField(max_length=4000, trim_whitespace=False)
    engine = serializers.ChoiceField(
        choices=ClassificationRule._meta.get_field("engine").choices, default="", allow_blank=True
    )


class FoundSerializer(serializers.Serializer):
    """One `effect.Found`."""

    id = serializers.IntegerField(source="account.pk")
    label = serializers.CharField(source="account.__str__")
    instance = serializers.IntegerField(source="account.instance_id")
    instance_name = serializers.CharField(source="account.instance.name")
    reason = serializers.CharField(help_text="Why the rule is unknown for it; empty for other outcomes.")


class EffectSerializer(serializers.Serializer):
    """One `effect.Effect`, with the accounts of the page in the context."""

    as_of = serializers.DateTimeField(source="at")
    examined = serializers.IntegerField()
    matched = serializers.IntegerField(help_text="Gained and kept.")
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="Of all, by outcome.")
    page = serializers.SerializerMethodField()
    n_pages = serializers.SerializerMethodField()
    accounts = serializers.SerializerMethodField(help_text="Those of the page, by outcome.")
    unvisited = serializers.ListField(
        child=serializers.CharField(), help_text="Instances without any account read by then."
    )
    unknown = serializers.SerializerMethodField(help_text="Instances not read lately: their accounts are unknown.")

    def get_unknown(self, effect: Effect) -> list[dict[str, Any]]:
        rows = [{"instance": instance, "reason": reason} for instance, reason in effect.unknown.items()]
        return list(UnknownSerializer(rows, many=True).data)

    def get_page(self, effect: Effect) -> int:
        return self.context["page"]

    def get_n_pages(self, effect: Effect) -> int:
        return max(1, -(-max(effect.counts.values()) // PER_PAGE))

    def get_accounts(self, effect: Effect) -> dict[str, list[dict[str, Any]]]:
        last = self.context["page"] * PER_PAGE
        return {
            outcome: list(FoundSerializer(found[last - PER_PAGE : last], many=True).data)
            for outcome, found in effect.accounts.items()
        }


class LineSerializer(serializers.Serializer):
    """One `explain.Line`."""

    depth = serializers.IntegerField()
    text = serializers.CharField()
    verdict = serializers.BooleanField(allow_null=True, help_text="Null: unknown.")
    because = serializers.ListField(child=serializers.CharField())
