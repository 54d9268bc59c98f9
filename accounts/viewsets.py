from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.fields import DateTimeField
from rest_framework.request import Request
from rest_framework.response import Response

from api.filters import read_query
from api.viewsets import ChildViewSet, ComputedViewSet, ReadViewSet
from console.visibility import shown_to
from instances.models import Instance
from instances.serializers import chosen_instances
from instances.viewsets import FilterViewSet

from . import access
from .filters import (
    BY_NAME,
    AccountChangeFilters,
    AccountFilterFilters,
    AccountFilters,
    GrantFilters,
    MembershipFilters,
    RoleReachFilters,
)
from .freshness import LastRead, last_read, unknown_instances
from .models import Account, AccountChange, AccountFilter, Ended, Grant, Membership, RoleReach
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
    MembershipSerializer,
    RoleReachSerializer,
    TakenAwaySerializer,
    UnknownSerializer,
)


def basis(reads: Iterable[LastRead]) -> dict[str, Any]:
    """The last read of each instance, and the instances that are `unknown`."""
    reads = list(reads)
    unknown = [read for read in reads if read.is_stale]
    return {
        "instances": LastReadSerializer(reads, many=True).data,
        "unknown": UnknownSerializer(unknown, many=True).data,
    }


def _unknown(reasons: Mapping[Instance, str]) -> list[dict[str, Any]]:
    rows = [{"instance": instance, "reason": reason} for instance, reason in reasons.items()]
    return UnknownSerializer(rows, many=True).data


class UnknownInstances:
    """For rows that visits found: the list names the `unknown` instances among those that the filters choose."""

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        answer = super().list(request, *args, **kwargs)
        # The parameters of `OfInstances`, for instances themselves.
        paths = {"instance": "pk", "instance_name": "name", "tag": "tags__slug", "engine": "engine"}
        chosen = {paths[name]: value for name, value in request.query_params.items() if name in paths}
        unknown = unknown_instances(shown_to(Instance.objects.filter(**chosen), self.person))
        answer.data["unknown"] = _unknown(unknown)
        return answer


class AccountViewSet(UnknownInstances, ReadViewSet):
    """Users and roles inside the managed instances, including those that are gone or filtered. `unknown` are the
    instances that were not read lately."""

    queryset = Account.objects.select_related("instance").with_counts().with_last_seen().order_by(*BY_NAME)
    serializer_class = AccountSerializer
    filterset_class = AccountFilters
    search_fields = ["name", "host"]

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        account = self.get_object()
        return Response(self.get_serializer(account).data | basis([last_read(account.instance)]))


class _OfAccount(ChildViewSet):
    """Base for rows of one account. The answer includes the last read of its instance."""

    parents = Account.objects.select_related("instance")
    parent_field = "account"

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        answer = super().list(request, *args, **kwargs)
        answer.data |= basis([self.read])
        return answer

    @property
    def read(self) -> LastRead:
        return last_read(self.parent.instance)


class GrantViewSet(_OfAccount):
    """What one account holds directly, and what it held. A grant that continued with other options, grantors or under
    another name is one row."""

    queryset = Grant.objects.exclude(ended=Ended.CHANGED)
    serializer_class = GrantSerializer
    filterset_class = GrantFilters
    search_fields = ["scope", "privilege"]


class MembershipViewSet(_OfAccount):
    """The roles that one account is in directly, and was in. A membership that continued with other options or grantors
    is one row."""

    queryset = Membership.objects.exclude(ended=Ended.CHANGED).select_related("member", "role")
    serializer_class = MembershipSerializer
    filterset_class = MembershipFilters
    search_fields = ["role__name"]
    parent_field = "member"


class RoleReachViewSet(_OfAccount):
    """The roles that one account reaches now, nearest first, and by which path."""

    queryset = RoleReach.objects.select_related("role")
    serializer_class = RoleReachSerializer
    filterset_class = RoleReachFilters
    parent_field = "member"

    def get_serializer_context(self) -> dict[str, Any]:
        return super().get_serializer_context() | {"paths": self.parent.role_paths() if self.kwargs else {}}


class EffectiveGrantViewSet(GrantViewSet):
    """What one account may do by its own grants, through its roles and through PUBLIC; now, or `as_of` a time."""

    serializer_class = EffectiveGrantSerializer
    parameters = ["as_of"]

    @cached_property
    def effective(self) -> access.Effective:
        try:
            moment = DateTimeField(allow_null=True).run_validation(self.request.query_params.get("as_of") or None)
            return access.effective(self.parent, moment)
        except (ValueError, ValidationError) as error:
            raise ValidationError({"as_of": getattr(error, "detail", [str(error)])}) from error

    def get_queryset(self) -> QuerySet[Grant]:
        # Permissions are checked with a queryset before `list()` computes the answer.
        return self.effective.grants if "effective" in vars(self) else super().get_queryset()

    @extend_schema(parameters=[OpenApiParameter("as_of", OpenApiTypes.DATETIME, description="Now, if not given.")])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        effective = self.effective
        answer = super().list(request, *args, **kwargs)
        coverage = effective.coverage
        answer.data["as_of"] = effective.at
        answer.data["coverage"] = CoverageSerializer(coverage).data if coverage else None
        return answer

    @property
    def read(self) -> LastRead:
        return self.effective.read

    def get_serializer_context(self) -> dict[str, Any]:
        if not self.kwargs:
            return super().get_serializer_context()
        names = self.effective.names()
        links = self.effective.links(self.rows, names)
        return super().get_serializer_context() | {"effective": self.effective, "names": names, "links": links}

    def paginate_queryset(self, queryset: QuerySet[Grant]) -> list[Grant]:
        self.rows = super().paginate_queryset(queryset)
        return self.rows


class AccessViewSet(ComputedViewSet):
    """Accounts that hold a privilege, by any path; now, or `as_of` a time. `unknown` are the instances without a
    complete answer; `taken_away` are rights on a built-in object that the engine ships with and that were revoked."""

    queryset = Grant.objects.all()
    serializer_class = AccessSerializer

    @extend_schema(parameters=[AccessQuestionSerializer])
    def list(self, request: Request) -> Response:
        question = read_query(request, AccessQuestionSerializer, repeatable=["instance"])
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
        more = basis(answer.reads.values()) | {"unknown": _unknown(answer.unknown)}
        more["taken_away"] = TakenAwaySerializer(answer.taken_away, many=True).data
        return self.page(answer.rows, as_of=answer.at, **more)


class AccountChangeViewSet(UnknownInstances, ReadViewSet):
    """Changes that visits found, newest first. They are never edited or deleted."""

    queryset = AccountChange.objects.select_related("account__instance", "record")
    serializer_class = AccountChangeSerializer
    filterset_class = AccountChangeFilters


class AccountFilterViewSet(FilterViewSet):
    """Which accounts lists hide. A change takes effect at once."""

    queryset = AccountFilter.objects.all()
    serializer_class = AccountFilterSerializer
    filterset_class = AccountFilterFilters
