from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from api.filters import read_body
from api.viewsets import EditViewSet, FileOfList

from . import feeds
from .filters import OwnershipFilters, PersonFilters
from .models import Ownership, Person
from .serializers import (
    FedSerializer,
    OwnersFeedSerializer,
    OwnershipSerializer,
    PeopleFeedSerializer,
    PersonSerializer,
)


def _fed(request: Request, name: str, plan: feeds.Plan, asked: dict[str, Any]) -> Response:
    """Store a plan, or refuse all of it with the reasons by row and field."""
    if plan.problems:
        errors: list[dict[str, list[str]]] = [{} for _row in asked[name]]
        for problem in plan.problems:
            errors[problem.number].setdefault(problem.field, []).append(problem.message)
        raise ValidationError({name: errors})
    model = "person" if name == "people" else "ownership"
    if plan.new and not request.user.has_perm(f"owners.add_{model}"):
        raise PermissionDenied
    if not asked["dry_run"]:
        plan.save()
    return Response({"dry_run": asked["dry_run"], **plan.counts})


class PersonViewSet(
    FileOfList,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.CreateModelMixin,
    mixins.UpdateModelMixin,
    GenericViewSet,
):
    """People who answer for accounts. Who has left is set to inactive, not deleted."""

    queryset = Person.objects.select_related("user")
    serializer_class = PersonSerializer
    filterset_class = PersonFilters
    search_fields = ["name", "mail", "external_id"]
    needs = {"bulk": "owners.change_person"}

    def get_queryset(self) -> QuerySet[Person]:
        return super().get_queryset().with_counts(self.person)

    @extend_schema(request=PeopleFeedSerializer, responses=FedSerializer)
    @action(detail=False, methods=["post"], filterset_class=None, pagination_class=None)
    def bulk(self, request: Request) -> Response:
        """Add or change many people by their external ids, all of them or none."""
        asked = read_body(request, PeopleFeedSerializer)
        return _fed(request, "people", feeds.plan_people(list(enumerate(asked["people"]))), asked)


class OwnershipViewSet(EditViewSet):
    """Who answers for accounts, and what kind of user they serve."""

    queryset = Ownership.objects.select_related("account__instance", "owner")
    serializer_class = OwnershipSerializer
    filterset_class = OwnershipFilters
    search_fields = ["account__name", "owner__name", "ticket", "note"]
    needs = {"bulk": "owners.change_ownership"}

    @extend_schema(request=OwnersFeedSerializer, responses=FedSerializer)
    @action(detail=False, methods=["post"], filterset_class=None, pagination_class=None)
    def bulk(self, request: Request) -> Response:
        """Set the owners of many accounts by the names of instance and account, all of them or none."""
        asked = read_body(request, OwnersFeedSerializer)
        return _fed(request, "owners", feeds.plan_owners(list(enumerate(asked["owners"])), self.person), asked)
