from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from api.viewsets import ComputedViewSet, EditViewSet

from . import reading
from .filters import SizeLimitFilters
from .models import SizeLimit
from .serializers import ForecastSerializer, SizeLimitSerializer


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
        return self.page([{"ceiling": ceiling, "forecast": forecast} for ceiling, forecast in forecasts])
