from __future__ import annotations

from typing import Any

from django.db.models import ProtectedError, QuerySet
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.mixins import CreateModelMixin, DestroyModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Account
from accounts.viewsets import UnknownInstances
from api.errors import Conflict
from api.filters import check_parameters, read_body
from api.viewsets import EditViewSet, ReadViewSet
from console.visibility import limit_of, shown_to
from instances.models import Instance
from sync.models import SyncSession
from sync.serializers import SyncSessionSerializer
from sync.viewsets import session_response

from . import services
from .effect import effect_of
from .explain import explain
from .filters import AssignmentFilters, ClassificationFilters, ClassificationRuleFilters
from .models import Assignment, Classification, ClassificationRule
from .rules import RuleError
from .serializers import (
    AssignmentSerializer,
    AutoClassifySerializer,
    ClassificationCountSerializer,
    ClassificationRuleSerializer,
    ClassificationSerializer,
    DryRunSerializer,
    EffectSerializer,
    LineSerializer,
    RuleResultSerializer,
    RuleVersionSerializer,
    UnsavedRuleSerializer,
)
from .unseen import unseen


class ClassificationViewSet(EditViewSet):
    """Classifications that accounts can have."""

    queryset = Classification.objects.all()
    serializer_class = ClassificationSerializer
    filterset_class = ClassificationFilters
    search_fields = ["code", "name", "note"]
    needs = {"auto_classify": "classification.run_classification"}

    def get_queryset(self) -> QuerySet[Classification]:
        return super().get_queryset().with_counts(self.person)

    def perform_destroy(self, instance: Classification) -> None:
        if instance.is_system:
            raise Conflict("It is shipped with Taifish: switch its rules off.")
        try:
            instance.delete()
        except ProtectedError as error:
            raise Conflict("It has rules or assignments, now or in the past.") from error

    @extend_schema(request=AutoClassifySerializer, responses={202: SyncSessionSerializer})
    @action(detail=False, methods=["post"], url_path="auto-classify")
    def auto_classify(self, request: Request) -> Response:
        """Apply the rules, in the workers."""
        body = read_body(request, AutoClassifySerializer)
        session = services.run(
            _chosen(body, request), trigger=SyncSession.Trigger.API, user=request.user, rules=body.get("rules", ())
        )
        return session_response(request, session)

    @extend_schema(responses=ClassificationCountSerializer(many=True), filters=False)
    @action(detail=True, pagination_class=None)
    def counts(self, request: Request, pk: str) -> Response:
        """How many accounts had it, day by day, newest first. Counted for the whole fleet: not for users
        who are limited to tags."""
        if limit_of(request.user) is not None:
            raise PermissionDenied(_("These counts are of all instances, and you do not see all."))
        return Response(ClassificationCountSerializer(self.get_object().counts.all()[:1000], many=True).data)


class ClassificationRuleViewSet(EditViewSet):
    """Who gets a classification. Deleting a rule ends what it assigned at the next run, and keeps its history."""

    queryset = ClassificationRule.objects.present().select_related("classification")
    serializer_class = ClassificationRuleSerializer
    filterset_class = ClassificationRuleFilters
    search_fields = ["code", "name", "expression", "mapping"]
    needs = dict.fromkeys(["dry_run", "dry_run_unsaved", "explain"], "accounts.view_account")

    def perform_create(self, serializer: ClassificationRuleSerializer) -> None:
        self._keep(serializer, ClassificationRule(**serializer.validated_data))

    def perform_update(self, serializer: ClassificationRuleSerializer) -> None:
        for name, value in serializer.validated_data.items():
            setattr(serializer.instance, name, value)
        self._keep(serializer, serializer.instance)

    def _keep(self, serializer: ClassificationRuleSerializer, rule: ClassificationRule) -> None:
        serializer.instance = services.keep_rule(rule, self.request.user)
        serializer.instance.unseen = unseen(rule, self.request.user)

    def perform_destroy(self, instance: ClassificationRule) -> None:
        services.retire_rule(instance)

    @extend_schema(request=DryRunSerializer, responses=EffectSerializer)
    @action(detail=True, methods=["post"], url_path="dry-run")
    def dry_run(self, request: Request, pk: str) -> Response:
        """Who would gain and lose the classification if the rule ran now, or would have at a moment in the past, and
        for whom it is unknown, with the reason. Accounts are in pages."""
        return _effect(request, self.get_object(), DryRunSerializer)

    @extend_schema(
        request=UnsavedRuleSerializer, responses=EffectSerializer, operation_id="classification_rules_dry_run_unsaved"
    )
    @action(detail=False, methods=["post"], url_path="dry-run")
    def dry_run_unsaved(self, request: Request) -> Response:
        """The same, of a rule that is not saved yet."""
        return _effect(request, None, UnsavedRuleSerializer)

    @extend_schema(responses=RuleVersionSerializer(many=True), filters=False)
    @action(detail=True, pagination_class=None)
    def versions(self, request: Request, pk: str) -> Response:
        """What the rule has said, newest first."""
        return Response(RuleVersionSerializer(self.get_object().versions.select_related("by"), many=True).data)

    @extend_schema(responses=RuleResultSerializer(many=True), filters=False)
    @action(detail=True, pagination_class=None)
    def results(self, request: Request, pk: str) -> Response:
        """The result of the last run on each instance."""
        results = shown_to(self.get_object().results.all(), request.user)
        return Response(RuleResultSerializer(results.select_related("instance"), many=True).data)

    @extend_schema(
        responses=LineSerializer(many=True),
        filters=False,
        parameters=[OpenApiParameter("account", OpenApiTypes.INT, required=True)],
    )
    @action(detail=True, pagination_class=None, filter_backends=[])
    def explain(self, request: Request, pk: str) -> Response:
        """Each part of the rule with its result for one account, and why. Empty: the rule does not apply to it."""
        check_parameters(request, ["account"])
        account_id = request.query_params.get("account", "")
        if not account_id.isdecimal():
            raise ValidationError({"account": ["Give the id of an account."]})
        accounts = shown_to(Account.objects.select_related("instance"), request.user)
        account = get_object_or_404(accounts, pk=account_id)
        try:
            lines = explain(self.get_object(), account)
        except RuleError as error:
            raise Conflict(str(error)) from error
        return Response(LineSerializer(lines, many=True).data)


def _chosen(body: dict[str, Any], request: Request) -> QuerySet[Instance]:
    """The named instances, or every active one that the user sees."""
    return body["instance_ids"] if "instance_ids" in body else shown_to(Instance.objects.active(), request.user)


def _effect(request: Request, rule: ClassificationRule | None, serializer_class: type[DryRunSerializer]) -> Response:
    body = read_body(request, serializer_class)
    if rule is None:
        rule = body["rule"] or ClassificationRule()
        rule.expression, rule.engine = body["expression"], body["engine"]
    try:
        effect = effect_of(rule, _chosen(body, request), at=body["as_of"])
    except RuleError as error:
        place = {"line": error.line, "column": error.column}
        raise ValidationError({"expression": [str(error)], "place": place}) from error
    except ValueError as error:
        raise ValidationError({"as_of": [str(error)]}) from error
    return Response(EffectSerializer(effect, context={"page": body["page"]}).data)


class AssignmentViewSet(UnknownInstances, CreateModelMixin, DestroyModelMixin, ReadViewSet):
    """Classifications of accounts, now and in the past. Posting assigns by hand; deleting ends a manual assignment."""

    queryset = Assignment.objects.select_related("account", "instance", "classification", "rule", "assigned_by")
    serializer_class = AssignmentSerializer
    filterset_class = AssignmentFilters
    search_fields = ["account__name"]

    def perform_create(self, serializer: AssignmentSerializer) -> None:
        try:
            serializer.instance = services.assign(**serializer.validated_data, user=self.request.user)
        except ValueError as error:
            raise Conflict(str(error)) from error

    def perform_destroy(self, instance: Assignment) -> None:
        try:
            services.withdraw(instance)
        except ValueError as error:
            raise Conflict(str(error)) from error
