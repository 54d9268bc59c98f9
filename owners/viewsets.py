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

from accounts.models import Grant
from accounts.viewsets import unknown_rows
from api.filters import read_body, read_query
from api.viewsets import ComputedViewSet, EditViewSet, FileOfList

from . import feeds
from .end_dates import UNKNOWN, dated
from .filters import EndDateFilters, OwnerRuleFilters, OwnershipFilters, PersonFilters
from .leavers import leavers
from .matching import matching
from .models import EndDate, OwnerRule, Ownership, Person
from .serializers import (
    DatedQuestionSerializer,
    DatedSerializer,
    EndDateSerializer,
    FedSerializer,
    FeedSerializer,
    LeaverSerializer,
    LeaversQuestionSerializer,
    MatchedSerializer,
    OwnerRuleSerializer,
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


class EndDateViewSet(EditViewSet):
    """The days by which accounts, memberships and grants are to end."""

    queryset = EndDate.objects.select_related("account__instance", "role")
    serializer_class = EndDateSerializer
    filterset_class = EndDateFilters
    search_fields = ["account__name", "reason", "ticket", "approver"]

    def perform_create(self, serializer: EndDateSerializer) -> None:
        serializer.save(created_by=self.request.user)


class DatedViewSet(ComputedViewSet):
    """What visits have seen of everything with an end date, what needs attention first. `unknown` counts those that
    no current read answers."""

    queryset = EndDate.objects.all()
    serializer_class = DatedSerializer

    @extend_schema(parameters=[DatedQuestionSerializer])
    def list(self, request: Request) -> Response:
        question = read_query(request, DatedQuestionSerializer)
        found = dated(self.get_queryset(), question["days"])
        rows = [one for one in found if question.get("state", one.state) == one.state]
        return self.page(rows, unknown=sum(one.state == UNKNOWN for one in found))


class OwnerRuleViewSet(EditViewSet):
    """How accounts without an owner are matched with people by name."""

    queryset = OwnerRule.objects.all()
    serializer_class = OwnerRuleSerializer
    filterset_class = OwnerRuleFilters
    search_fields = ["pattern"]
    needs = {"match": "owners.change_ownership"}

    @extend_schema(request=FeedSerializer, responses=MatchedSerializer)
    @action(detail=False, methods=["post"], filterset_class=None, pagination_class=None)
    def match(self, request: Request) -> Response:
        """Set the owners of accounts that have none and that one person matches."""
        if not request.user.has_perms(["owners.add_ownership", "owners.view_person", "accounts.view_account"]):
            raise PermissionDenied
        asked = read_body(request, FeedSerializer)
        found = matching(self.person)
        if not asked["dry_run"]:
            found.save()
        answer = {"dry_run": asked["dry_run"], "found": found.found, "ambiguous": found.ambiguous}
        return Response(MatchedSerializer(answer).data)


class LeaversViewSet(ComputedViewSet):
    """Everything that people who leave have on all instances, and what visits have seen of its end. `unknown` are the
    instances that were not read lately."""

    queryset = Grant.objects.all()
    serializer_class = LeaverSerializer

    @extend_schema(parameters=[LeaversQuestionSerializer])
    def list(self, request: Request) -> Response:
        question = read_query(request, LeaversQuestionSerializer, repeatable=["people"])
        if not request.user.has_perms(["accounts.view_account", "owners.view_person", "owners.view_ownership"]):
            raise PermissionDenied
        try:
            found = leavers(question["people"], self.person)
        except ValueError as error:
            raise ValidationError({"people": [str(error)]}) from error
        unknown = unknown_rows({read.instance: read.reason for read in found.unknown})
        return self.page(found.rows, nameless=found.nameless, unknown=unknown)
