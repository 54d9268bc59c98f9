from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from api.filters import read_query
from api.viewsets import ComputedViewSet, EditViewSet

from . import reading
from .filters import SizeLimitFilters
from .models import SizeLimit
from .serializers import FillingQuestionSerializer, FillingSerializer, ForecastSerializer, SizeLimitSerializer


class SizeLimitViewSet(EditViewSet):
    """How big instances, databases, the instances of a tag or the fleet may become, for forecasts."""

    queryset = SizeLimit.objects.select_related("instance", "database__instance", "tag")
    serializer_class = SizeLimitSerializer
    filterset_class = SizeLimitFilters

    def perform_create(self, serializer: SizeLimitSerializer) -> None:
        serializer.save(set_by=self.request.user)

    def perform_update(self, serializer: SizeLimitSerializer) -> None:
        serializer.save(set_by=self.request.user)


class InstanceLimitViewSet(SizeLimitViewSet):
    """The limits of instances alone, where they stood before databases, tags and the fleet had any."""

    queryset = SizeLimit.objects.exclude(instance=None).select_related("instance")


class ForecastViewSet(ComputedViewSet):
    """When everything with a limit will reach it, the nearest first, and how wrong such forecasts were."""

    queryset = SizeLimit.objects.all()
    serializer_class = ForecastSerializer
    filterset_class = SizeLimitFilters
    filter_backends = GenericViewSet.filter_backends

    def list(self, request: Request) -> Response:
        forecasts = reading.forecasts(reading.ceilings(self.person, self.filter_queryset(self.get_queryset())))
        return self.page(reading.as_rows(forecasts))


class FillingUpViewSet(ComputedViewSet):
    """Everything with a limit that may be full within some days by the upper bound of its forecast, the nearest first;
    or what has no limit, by growth. `unknown` counts what has no forecast, or one of old sizes."""

    queryset = SizeLimit.objects.all()
    serializer_class = FillingSerializer

    @extend_schema(parameters=[FillingQuestionSerializer])
    def list(self, request: Request) -> Response:
        question = read_query(request, FillingQuestionSerializer)
        days, without_limit = question.pop("days"), question.pop("without_limit")
        if not without_limit:
            found = reading.filling(days, self.person, **question)
            return self.page(reading.as_rows(found.rows), unknown=len(found.unknown))
        if not self.person.has_perm("capacity.view_database"):
            raise PermissionDenied
        try:
            growing = reading.growing(self.person, **question)
        except ValueError as error:
            raise ValidationError({"kind": [str(error)]}) from error
        rows = reading.named(self.paginate_queryset(growing))
        return self.get_paginated_response(self.get_serializer(reading.as_rows(rows), many=True).data)
