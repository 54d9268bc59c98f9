from __future__ import annotations

from copy import copy
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied

from api.serializers import CleanSerializer, EngineField, ShownKeyField, StrictSerializer
from console.suggestions import nearest
from console.visibility import shown_to

from . import services
from .destinations import check_password, moved
from .models import Credential, Instance
from .sources import KINDS
from .timeline import PERIODS


class CredentialSerializer(CleanSerializer):
    password = serializers.CharField(
        write_only=True,
        required=False,
        trim_whitespace=False,
        style={"input_type": "password"},
        help_text="Required for a new credential of kind password; other kinds store none.",
    )

    class Meta:
        model = Credential
        fields = [
            "id",
            "name",
            "username",
            "kind",
            "password",
            "reference",
            "hosts",
            "note",
            "created_at",
            "updated_at",
        ]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        before = self.instance.hosts if self.instance and self.instance.token else None
        attrs = super().validate(attrs)
        kind = attrs.get("kind", self.instance.kind if self.instance else "password")
        if not KINDS[kind].is_stored:
            if "password" in attrs:
                raise serializers.ValidationError({"password": [_("A credential of this kind stores no password.")]})
            # What was stored for another kind is deleted.
            return attrs | {"password": ""}
        if "password" not in attrs and (self.instance is None or self.instance.kind != kind):
            required = self.fields["password"].error_messages["required"]
            raise serializers.ValidationError({"password": [required]})
        if before is not None and attrs.get("hosts", before) != before and "password" not in attrs:
            raise serializers.ValidationError({"password": [_("Enter the password again: the allowed hosts changed.")]})
        return attrs


class InstanceSerializer(CleanSerializer):
    engine = EngineField()
    credential_password = serializers.CharField(
        write_only=True,
        required=False,
        trim_whitespace=False,
        style={"input_type": "password"},
        help_text="The password of the credential, if it lists no hosts and this request changes where it is sent.",
    )
    credential_name = serializers.CharField(source="credential.name", read_only=True)
    proved_by = serializers.CharField(read_only=True, help_text="What proves the server's identity; empty: nothing.")

    class Meta:
        model = Instance
        fields = [
            "id",
            "name",
            "engine",
            "host",
            "port",
            "database",
            "credential",
            "credential_name",
            "credential_password",
            "tls_mode",
            "tls_ca",
            "proof",
            "proved_by",
            "certificate",
            "certificate_compared",
            "seen_certificate",
            "seen_certificate_at",
            "connect_timeout",
            "statement_timeout",
            "budget",
            "level",
            "note",
            "product",
            "version",
            "retired_at",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["product", "version", "retired_at", "seen_certificate", "seen_certificate_at"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        password = attrs.pop("credential_password", "")
        attrs = super().validate(attrs)
        after = copy(self.instance) if self.instance else Instance()
        for name, value in attrs.items():
            setattr(after, name, value)
        if changed := moved(self.instance, after):
            if not self.context["request"].user.has_perm("instances.use_credential"):
                names = ", ".join(name for name in changed if name in attrs)
                raise PermissionDenied(_("You may not decide where a stored password is sent (%s).") % names)
            try:
                check_password(after.credential, password)
            except ValidationError as error:
                raise serializers.ValidationError({"credential_password": error.messages}) from None
        return attrs


# Base for rows of an instance; their `Meta.fields` may omit either field. A docstring would appear in the schema.
class OfInstanceSerializer(serializers.ModelSerializer):
    instance_name = serializers.CharField(source="instance.name", read_only=True)
    engine = serializers.CharField(source="instance.engine", read_only=True)


class InstanceIdsField(serializers.ListField):
    """Ids of active instances; the value is a queryset. An id is invalid if it is unknown, retired or hidden from the
    user."""

    def __init__(self, **kwargs: Any) -> None:
        child = serializers.IntegerField(min_value=1, max_value=2**63 - 1)
        super().__init__(child=child, **{"allow_empty": False, "max_length": 10_000, **kwargs})

    def to_internal_value(self, data: Any) -> QuerySet[Instance]:
        ids = super().to_internal_value(data)
        chosen = shown_to(Instance.objects.active(), self.context["request"].user).filter(pk__in=ids)
        if missing := sorted(set(ids) - set(chosen.order_by().values_list("pk", flat=True))):
            raise serializers.ValidationError(f"Unknown or retired: {', '.join(map(str, missing))}.")
        return chosen


class InstanceQuestionSerializer(serializers.Serializer):
    """Parameters that select instances, named as in the filters. `instance` may be repeated."""

    instance = ShownKeyField(
        queryset=Instance.objects.all(), many=True, required=False, help_text="Id of an instance; if missing: all."
    )
    tag = serializers.CharField(default="", allow_blank=True, help_text="Slug of a tag.")
    engine = EngineField(default="", allow_blank=True)

    def validate_tag(self, slug: str) -> str:
        tags = Instance._meta.get_field("tags").related_model._default_manager
        shown = shown_to(tags.all(), self.context["request"].user)
        if slug and not shown.filter(slug=slug).exists():
            raise serializers.ValidationError(
                f"Unknown tag “{slug}”." + nearest(slug, shown.order_by().values_list("slug", flat=True))
            )
        return slug


def chosen_instances(question: dict[str, Any]) -> QuerySet[Instance] | None:
    """The instances that the parameters of an `InstanceQuestionSerializer` select. None: all."""
    conditions = {
        "pk__in": [one.pk for one in question.get("instance", ())],
        "tags__slug": question["tag"],
        "engine": question["engine"],
    }
    conditions = {name: value for name, value in conditions.items() if value}
    return Instance.objects.filter(**conditions) if conditions else None


class TimelineEventSerializer(serializers.Serializer):
    """One `timeline.Event`."""

    at = serializers.DateTimeField()
    event = serializers.CharField(source="badge", help_text="What happened, as a key.")
    label = serializers.CharField()
    text = serializers.CharField()


class TimelineSerializer(serializers.Serializer):
    events = TimelineEventSerializer(many=True)
    is_cut = serializers.BooleanField(help_text="There are more events than these.")


class TimelineQuestionSerializer(serializers.Serializer):
    days = serializers.IntegerField(default=PERIODS[0], min_value=1, max_value=3650, help_text="Days until now.")


class ConnectionCheckSerializer(serializers.Serializer):
    """`instances.services.ConnectionCheck`."""

    ok = serializers.BooleanField()
    seconds = serializers.FloatField()
    product = serializers.CharField()
    version = serializers.CharField()
    driver = serializers.CharField()
    code = serializers.CharField()
    message = serializers.CharField()
    hint = serializers.CharField()
    certificate = serializers.CharField(help_text="SHA-256 fingerprint of the server's certificate.")


class ComparedCertificateSerializer(serializers.Serializer):
    """A compared fingerprint of an instance."""

    instance = serializers.IntegerField(min_value=1, max_value=2**63 - 1)
    fingerprint = serializers.RegexField("^[0-9a-fA-F:]+$", max_length=95)


class AcceptCertificatesSerializer(StrictSerializer):
    certificates = ComparedCertificateSerializer(many=True, allow_empty=False, max_length=10_000)


class TightenSerializer(StrictSerializer):
    instance_ids = InstanceIdsField(max_length=services.TIGHTENED_AT_ONCE)


class TightenedSerializer(serializers.Serializer):
    """The result of a strict connection to an instance. If it succeeded, the instance is strict now."""

    instance = serializers.IntegerField(source="instance.pk")
    instance_name = serializers.CharField(source="instance.name")
    check = ConnectionCheckSerializer()


class ExaminationRequestSerializer(serializers.Serializer):
    hash_blind = serializers.BooleanField(
        default=False, help_text="The account must not be able to see password hashes."
    )


class CapabilitySerializer(serializers.Serializer):
    """`engines.facts.Capability`."""

    name = serializers.CharField()
    works = serializers.BooleanField(allow_null=True, help_text="Null: not tried, because an earlier check failed.")
    message = serializers.CharField()
    missing = serializers.CharField(help_text="The SQL that makes it work.")
    cost = serializers.CharField(help_text="What stays unknown until it works.")
    level = serializers.CharField(help_text="The lowest read depth that needs it.")
    database = serializers.CharField(help_text="Where to run the SQL; empty: anywhere.")


class ExcessSerializer(serializers.Serializer):
    """`engines.facts.Excess`."""

    right = serializers.CharField()
    message = serializers.CharField()
    remedy = serializers.CharField(help_text="The SQL that revokes the right.")
    database = serializers.CharField(help_text="Where to run the SQL; empty: anywhere.")


class DiagnosisSerializer(serializers.Serializer):
    """`instances.services.Diagnosis`."""

    ok = serializers.BooleanField(help_text="Whether everything works.")
    connection = ConnectionCheckSerializer()
    capabilities = CapabilitySerializer(many=True)
    excess = ExcessSerializer(many=True, help_text="Rights that the collection account does not need.")
    warnings = serializers.ListField(
        child=serializers.CharField(), help_text="Recommended changes that are not required for visits."
    )


class FilterSerializer(CleanSerializer):
    """Base for the filters of one kind of row."""

    class Meta:
        fields = ["id", "action", "engine", "instance", "pattern", "system_only", "active", "note"]
