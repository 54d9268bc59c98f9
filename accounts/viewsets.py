from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.fields import DateTimeField
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet, ReadOnlyModelViewSet

from api.filters import asked
from console.visibility import ShownRowsOfAPI, shown_to
from instances.models import Instance
from instances.serializers import chosen_instances
from instances.viewsets import FilterViewSet

from . import access
from .filters import (
    AccountChangeFilters,
    AccountFilterFilters,
    AccountFilters,
    GrantFilters,
    RoleReachFilters,
)
from .freshness import LastRead, last_read, unknown_instances
from .models import Account, AccountChange, AccountFilter, Grant, RoleReach
from .serializers import (
    AccessQuestionSerializer,
    AccessSerializer,
    AccountChangeSerializer,
    AccountFilterSerializer,
    AccountSerializer,
    CoverageSerializer,
    EffectiveGrantSerializer,
    GrantSerializer,
    LastReadSerializer,
    RoleReachSerializer,
    UnknownSerializer,
)


def basis(reads: Iterable[LastRead]) -> dict[str, Any]:
    """What an answer stands on: `instances`, and those of them that are `unknown`."""
    reads = list(reads)
    unknown = [read for read in reads if read.is_stale]
    return {
        "instances": LastReadSerializer(reads, many=True).data,
        "unknown": UnknownSerializer(unknown, many=True).data,
    }


class UnknownInstances:
    """For a viewset of rows that visits found: its list names the `unknown` instances among those asked about."""

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        answer = super().list(request, *args, **kwargs)
        # As `OfInstances` chooses the rows.
        words = {"instance": "pk", "instance_name": "name", "tag": "tags__slug", "engine": "engine"}
        chosen = {words[name]: value for name, value in request.query_params.items() if name in words}
        unknown = unknown_instances(shown_to(Instance.objects.filter(**chosen), self.person))
        rows = [{"instance": instance, "reason": reason} for instance, reason in unknown.items()]
        answer.data["unknown"] = UnknownSerializer(rows, many=True).data
        return answer


class AccountViewSet(UnknownInstances, ShownRowsOfAPI, ReadOnlyModelViewSet):
    """Users and roles inside the managed instances; those that are gone or filtered too, and marked so. `unknown` are
    the instances that were not read lately."""

    queryset = Account.objects.select_related("instance").with_counts().with_last_seen()
    serializer_class = AccountSerializer
    filterset_class = AccountFilters
    search_fields = ["name", "host"]

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        account = self.get_object()
        return Response(self.get_serializer(account).data | basis([last_read(account.instance)]))


class GrantViewSet(ShownRowsOfAPI, ListModelMixin, GenericViewSet):
    """What one account holds directly, and what it held."""

    queryset = Grant.objects.all()
    serializer_class = GrantSerializer
    filterset_class = GrantFilters
    search_fields = ["scope", "privilege"]

    def get_queryset(self) -> QuerySet[Grant]:
        return super().get_queryset().filter(account=self.kwargs.get("account_id"))

    def list(self, request: Request, account_id: str) -> Response:
        accounts = shown_to(Account.objects.select_related("instance"), self.person)
        account = get_object_or_404(accounts, pk=account_id)
        answer = super().list(request)
        answer.data |= basis([last_read(account.instance)])
        return answer


class RoleReachViewSet(ShownRowsOfAPI, ListModelMixin, GenericViewSet):
    """The roles that one account reaches now, nearest first, and by which path."""

    queryset = RoleReach.objects.select_related("role")
    serializer_class = RoleReachSerializer
    filterset_class = RoleReachFilters

    def get_queryset(self) -> QuerySet[RoleReach]:
        return super().get_queryset().filter(member=self.kwargs.get("account_id"))

    def list(self, request: Request, account_id: str) -> Response:
        accounts = shown_to(Account.objects.select_related("instance"), self.person)
        self.account = get_object_or_404(accounts, pk=account_id)
        answer = super().list(request)
        answer.data |= basis([last_read(self.account.instance)])
        return answer

    def get_serializer_context(self) -> dict[str, Any]:
        account = getattr(self, "account", None)
        return super().get_serializer_context() | {"paths": account.role_paths() if account else {}}


class EffectiveGrantViewSet(ShownRowsOfAPI, ListModelMixin, GenericViewSet):
    """What one account may do, by its own grants, through its roles, and as anybody; now, or `as_of` a moment."""

    queryset = Grant.objects.all()
    serializer_class = EffectiveGrantSerializer
    filterset_class = GrantFilters
    search_fields = ["scope", "privilege"]
    parameters = ["as_of"]

    def get_queryset(self) -> QuerySet[Grant]:
        effective = getattr(self, "effective", None)
        return effective.grants if effective else super().get_queryset()

    @extend_schema(parameters=[OpenApiParameter("as_of", OpenApiTypes.DATETIME, description="Now, if not given.")])
    def list(self, request: Request, account_id: str) -> Response:
        accounts = shown_to(Account.objects.select_related("instance"), self.person)
        account = get_object_or_404(accounts, pk=account_id)
        moment = DateTimeField(allow_null=True)
        try:
            self.effective = access.effective(account, moment.run_validation(request.query_params.get("as_of") or None))
        except (ValueError, ValidationError) as error:
            raise ValidationError({"as_of": getattr(error, "detail", [str(error)])}) from error
        answer = super().list(request)
        coverage = self.effective.coverage
        answer.data |= {
            "as_of": self.effective.at,
            "coverage": CoverageSerializer(coverage).data if coverage else None,
            **basis([self.effective.read]),
        }
        return answer

    def get_serializer_context(self) -> dict[str, Any]:
        effective = getattr(self, "effective", None)
        return super().get_serializer_context() | {
            "effective": effective,
            "names": effective.names() if effective else {},
        }


class AccessViewSet(ShownRowsOfAPI, GenericViewSet):
    """Who may do this, by whatever way; now, or `as_of` a moment. `unknown` are the instances of which the answer is
    not known, or not wholly."""

    queryset = Grant.objects.all()
    serializer_class = AccessSerializer
    filter_backends: list[type] = []

    @extend_schema(parameters=[AccessQuestionSerializer])
    def list(self, request: Request) -> Response:
        question = asked(request, AccessQuestionSerializer, repeatable=["instance"])
        try:
            answer = access.who_can(
                question["privilege"],
                question["scope"],
                kind=question["kind"],
                at=question["as_of"],
                instances=chosen_instances(question),
                user=self.person,
            )
        except ValueError as error:
            raise ValidationError({"detail": str(error)}) from error
        page = self.get_serializer(self.paginate_queryset(answer.rows), many=True).data
        response = self.get_paginated_response(page)
        unknown = [{"instance": instance, "reason": reason} for instance, reason in answer.unknown.items()]
        response.data |= {
            "as_of": answer.at,
            **basis(answer.reads.values()),
            "unknown": UnknownSerializer(unknown, many=True).data,
        }
        return response


class AccountChangeViewSet(UnknownInstances, ShownRowsOfAPI, ReadOnlyModelViewSet):
    """What visits found changed. Newest first; nothing is ever edited or taken away."""

    queryset = AccountChange.objects.select_related("account__instance", "record")
    serializer_class = AccountChangeSerializer
    filterset_class = AccountChangeFilters


class AccountFilterViewSet(FilterViewSet):
    """Which accounts lists hide. A change takes effect at once."""

    queryset = AccountFilter.objects.all()
    serializer_class = AccountFilterSerializer
    filterset_class = AccountFilterFilters
