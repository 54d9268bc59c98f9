from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.translation import gettext
from rest_framework.request import Request
from rest_framework.response import Response

from api.viewsets import ChildViewSet, ReadViewSet
from console.visibility import shown_to
from instances.models import Instance
from instances.viewsets import FilterViewSet

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
    AccountChangeSerializer,
    AccountFilterSerializer,
    AccountSerializer,
    GrantSerializer,
    LastReadSerializer,
    MembershipSerializer,
    RoleReachSerializer,
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


def unknown_rows(reasons: Mapping[Instance, str]) -> list[dict[str, Any]]:
    rows = [{"instance": instance, "reason": reason} for instance, reason in reasons.items()]
    return UnknownSerializer(rows, many=True).data


class UnknownInstances:
    """For rows that visits found: the list names the `unknown` instances among those that the filters choose."""

    def unknown(self, request: Request) -> dict[Instance, str]:
        # The parameters of `OfInstances`, for instances themselves.
        paths = {"instance": "pk", "instance_name": "name", "tag": "tags__slug", "engine": "engine"}
        chosen = {paths[name]: value for name, value in request.query_params.items() if name in paths}
        return unknown_instances(shown_to(Instance.objects.filter(**chosen), self.person))

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        answer = super().list(request, *args, **kwargs)
        answer.data["unknown"] = unknown_rows(self.unknown(request))
        return answer

    def file_notes(self) -> list[list[object]]:
        notes = [[gettext("not known"), f"{row}: {reason}"] for row, reason in self.unknown(self.request).items()]
        return [*super().file_notes(), *notes]


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

    def file_notes(self) -> list[list[object]]:
        read = self.read
        note = [gettext("not known"), f"{read.instance}: {read.reason}"]
        return [*super().file_notes(), *([note] if read.is_stale else [])]


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
