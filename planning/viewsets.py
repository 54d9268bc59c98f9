from __future__ import annotations

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from api.errors import Conflict
from api.filters import read_body, read_query
from api.viewsets import ComputedViewSet, EditViewSet

from . import bulk, reading
from .filters import SizeLimitFilters, VolumeFilters
from .models import SizeLimit, Volume
from .serializers import (
    BulkDoneSerializer,
    BulkLimitsSerializer,
    FillingQuestionSerializer,
    FillingSerializer,
    ForecastSerializer,
    InstanceLimitSerializer,
    SizeLimitSerializer,
    VolumeReadSerializer,
    VolumeSerializer,
)
from .volumes import read_volumes


class _LimitViewSet(EditViewSet):
    filterset_class = SizeLimitFilters

    def perform_create(self, serializer: SizeLimitSerializer) -> None:
        serializer.save(set_by=self.request.user)

    def perform_update(self, serializer: SizeLimitSerializer) -> None:
        serializer.save(set_by=self.request.user)


class SizeLimitViewSet(_LimitViewSet):
    """How big instances, databases, tablespaces, the instances of a tag or the fleet may become, for forecasts."""

    queryset = SizeLimit.objects.with_targets()
    serializer_class = SizeLimitSerializer
    needs = {"bulk": "planning.change_sizelimit"}

    @extend_schema(request=BulkLimitsSerializer, responses=BulkDoneSerializer)
    @action(detail=False, methods=["post"], filterset_class=None, pagination_class=None)
    def bulk(self, request: Request) -> Response:
        """Set many limits, all of them or none. A target that has a limit gets the new one."""
        asked = read_body(request, BulkLimitsSerializer)
        found = bulk.plan_ids(asked["limits"], request.user)
        if found.problems:
            errors: list[dict[str, list[str]]] = [{} for _row in asked["limits"]]
            for problem in found.problems:
                errors[problem.number][problem.field or "non_field_errors"] = [problem.message]
            raise ValidationError({"limits": errors})
        if not asked["dry_run"]:
            found.save(request.user)
        return Response({"dry_run": asked["dry_run"], **found.counts})


class InstanceLimitViewSet(_LimitViewSet):
    """The limits of instances alone, where they stood before databases, tags and the fleet had any."""

    queryset = SizeLimit.objects.exclude(instance=None).select_related("instance")
    serializer_class = InstanceLimitSerializer


class VolumeViewSet(EditViewSet):
    """Disks that several instances share, typed in or read from Prometheus."""

    queryset = Volume.objects.prefetch_related("instances")
    serializer_class = VolumeSerializer
    filterset_class = VolumeFilters
    search_fields = ["name", "note"]
    needs = {"read": "planning.change_volume"}

    @extend_schema(request=None, responses=VolumeReadSerializer)
    @action(detail=False, methods=["post"], filterset_class=None, pagination_class=None)
    def read(self, request: Request) -> Response:
        """Read the volumes from Prometheus now. `error` says whether it answered."""
        attempt = read_volumes()
        if attempt is None:
            raise Conflict(_("TAIFISH_PROMETHEUS_URL is not set."))
        return Response(VolumeReadSerializer(attempt).data)


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
