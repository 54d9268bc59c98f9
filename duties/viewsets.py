from __future__ import annotations

from django.core.exceptions import ValidationError as ModelError
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import DestroyModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.viewsets import unknown_rows
from api.filters import read_body, read_query
from api.viewsets import ComputedViewSet, EditViewSet, ReadViewSet

from . import rows, services
from .filters import AcceptedConflictFilters, DutyPairFilters
from .models import AcceptedConflict, DutyPair
from .serializers import (
    AcceptConflictsSerializer,
    AcceptedConflictCountSerializer,
    AcceptedConflictSerializer,
    ConflictQuestionSerializer,
    ConflictSerializer,
    DutyPairSerializer,
)
from .services import Conflict, Found, conflicts_of


class DutyPairViewSet(EditViewSet):
    """Pairs of duties that one owner must not hold together. A side is a classification, or a privilege with the path
    of an object as `access` takes them."""

    queryset = DutyPair.objects.all()
    serializer_class = DutyPairSerializer
    filterset_class = DutyPairFilters
    search_fields = ["name", "reason"]
    needs = {"accept": "duties.add_acceptedconflict"}

    @extend_schema(request=AcceptConflictsSerializer, responses=AcceptedConflictCountSerializer)
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def accept(self, request: Request, pk: str | None = None) -> Response:
        """Accept conflicts, all of them or none. Those that are accepted already get the new reason and end."""
        pair = self.get_object()
        body = read_body(request, AcceptConflictsSerializer)
        try:
            n = services.accept(pair, set(body.pop("conflicts")), request.user, **body)
        except ModelError as error:
            raise ValidationError(serializers.as_serializer_error(error)) from error
        return Response({"accepted": n})


class ConflictViewSet(ComputedViewSet):
    """Who holds both sides of a pair. `unknown` are the instances without a complete answer; `without_owner` is the
    number of accounts with one side and no owner; with an `error` there is no answer, and the numbers are null;
    `warnings` are about the sides. If `limited`, conflicts with a side on an instance that the user does not see are
    left out."""

    queryset = DutyPair.objects.select_related("first_classification", "second_classification")
    serializer_class = ConflictSerializer

    @extend_schema(parameters=[ConflictQuestionSerializer])
    def list(self, request: Request, pair_id: str | None = None) -> Response:
        accepted = read_query(request, ConflictQuestionSerializer)["accepted"]
        found = conflicts_of(get_object_or_404(self.get_queryset(), pk=pair_id), self.person)
        listed: list[Conflict] = [
            *(found.conflicts if accepted is not True else ()),
            *(found.accepted if accepted is not False else ()),
        ]
        page = rows.documents(found, self.paginate_queryset(listed) or [])
        answer = self.get_paginated_response(ConflictSerializer(page, many=True).data)
        answer.data |= _counts(found) | {"unknown": unknown_rows(found.unknown), "error": found.error}
        answer.data |= {"warnings": found.warnings, "limited": found.is_limited}
        return answer


def _counts(found: Found) -> dict[str, int | None]:
    if found.error:
        return dict.fromkeys(("conflicts", "accepted", "without_owner"))
    return {
        "conflicts": len(found.conflicts),
        "accepted": len(found.accepted),
        "without_owner": found.without_owner,
    }


class AcceptedConflictViewSet(DestroyModelMixin, ReadViewSet):
    """Accepted conflicts, including expired ones. Deleting one withdraws the acceptance."""

    queryset = AcceptedConflict.objects.select_related("pair", "owner", "account", "accepted_by")
    serializer_class = AcceptedConflictSerializer
    filterset_class = AcceptedConflictFilters
    search_fields = ["pair__name", "owner__name", "account__name", "reason", "ticket"]
