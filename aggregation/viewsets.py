from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from api.filters import read_body, read_query
from api.viewsets import ComputedViewSet, ReadViewSet
from instances.models import Instance
from sync.models import SyncSession
from sync.serializers import SyncSessionSerializer
from sync.viewsets import session_response
from work.days import local_day

from . import reading, services
from .filters import DatabaseAggregateFilters, InstanceAggregateFilters
from .models import DatabaseAggregate, InstanceAggregate
from .periods import Period, Span, last_closed, span_of
from .serializers import (
    BackfillSerializer,
    DatabaseAggregateSerializer,
    InstanceAggregateSerializer,
    LackingSerializer,
    SelectionSerializer,
    SoFarQuestionSerializer,
    SoFarSerializer,
    TotalSerializer,
    TotalsQuestionSerializer,
)

ORDERINGS = ["start", "avg_size", "max_size", "last_size", "change", "change_percent"]


class InstanceAggregateViewSet(ReadViewSet):
    """Sizes of instances by closed period, in bytes. Posting to `backfill` aggregates a range of days again."""

    queryset = InstanceAggregate.objects.select_related("instance")
    serializer_class = InstanceAggregateSerializer
    filterset_class = InstanceAggregateFilters
    ordering_fields = ORDERINGS
    needs = {"backfill": "sync.run_visits"}

    @extend_schema(request=BackfillSerializer, responses={202: SyncSessionSerializer})
    @action(detail=False, methods=["post"])
    def backfill(self, request: Request) -> Response:
        """Aggregate every closed period with a day in the range; the work goes on in a session."""
        data = read_body(request, BackfillSerializer)
        try:
            session = services.backfill(
                data["period"],
                data["first"],
                data["last"],
                trigger=SyncSession.Trigger.API,
                instances=data.get("instance_ids"),
                user=request.user,
            )
        except ValueError as error:
            raise ValidationError({"detail": str(error)}) from error
        return session_response(request, session)


class DatabaseAggregateViewSet(ReadViewSet):
    """Sizes of databases by closed period, in bytes."""

    queryset = DatabaseAggregate.objects.select_related("database__instance")
    serializer_class = DatabaseAggregateSerializer
    filterset_class = DatabaseAggregateFilters
    ordering_fields = ORDERINGS


class _PeriodViewSet(ComputedViewSet):
    """Base for answers about a closed period, which they name."""

    queryset = InstanceAggregate.objects.all()

    def page_of(self, span: Span, rows: Sequence[Any]) -> Response:
        return self.page(rows, period=span.period.value, start=span.first, end=span.last)


def _chosen(question: dict[str, Any], user: User | None) -> QuerySet[Instance]:
    return reading.chosen_instances(question["tag"], question["engine"], user)


def _span(question: dict[str, Any]) -> Span:
    """The closed period of the question. Raises ValidationError for one that is not over."""
    period, today = Period(question["period"]), local_day()
    span = span_of(period, question["on"]) if question["on"] else last_closed(period, today)
    if not span.is_closed(today):
        raise ValidationError({"on": [f"This period is not over: it ends on {span.last}. See /api/sizes-so-far/."]})
    return span


class TotalViewSet(_PeriodViewSet):
    """Totals of a closed period per instance, engine or tag, the largest first."""

    serializer_class = TotalSerializer

    @extend_schema(parameters=[TotalsQuestionSerializer])
    def list(self, request: Request) -> Response:
        question = read_query(request, TotalsQuestionSerializer)
        span = _span(question)
        return self.page_of(span, reading.totals(question["by"], span, _chosen(question, self.person)))


class LackingViewSet(_PeriodViewSet):
    """The instances that a closed period does not hold wholly, those without any size first."""

    serializer_class = LackingSerializer

    @extend_schema(parameters=[SelectionSerializer])
    def list(self, request: Request) -> Response:
        question = read_query(request, SelectionSerializer)
        span = _span(question)
        return self.page_of(span, reading.lacking(span, _chosen(question, self.person)))


class SoFarViewSet(_PeriodViewSet):
    """The running period of one instance or database, as of now. It is computed for the answer, and never stored."""

    serializer_class = SoFarSerializer

    @extend_schema(parameters=[SoFarQuestionSerializer], responses=SoFarSerializer)
    def list(self, request: Request) -> Response:
        question = read_query(request, SoFarQuestionSerializer)
        owner: Any = question["instance"]
        if question["database"]:
            owner = owner.databases.named(question["database"]).first()
            if owner is None:
                raise ValidationError({"database": ["The instance has no such database."]})
        answer = reading.so_far(Period(question["period"]), owner)
        if answer is None:
            raise NotFound("There is no size in the running period yet.")
        return Response(self.get_serializer(answer).data)
