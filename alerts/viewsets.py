from __future__ import annotations

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from api.errors import Conflict
from api.filters import read_body
from api.viewsets import EditViewSet, ReadViewSet

from . import services
from .filters import AlertFilters, AlertRuleFilters, ChannelFilters, DeliveryFilters
from .models import Alert, AlertRule, Channel, Delivery
from .serializers import (
    AlertRuleSerializer,
    AlertSerializer,
    ChannelSerializer,
    DeliverySerializer,
    MarkedSerializer,
    MarkReadSerializer,
)


class AlertRuleViewSet(EditViewSet):
    """What to report, for which instances, to which channels."""

    queryset = AlertRule.objects.select_related("tag").prefetch_related("channels")
    serializer_class = AlertRuleSerializer
    filterset_class = AlertRuleFilters
    search_fields = ["name", "note"]


class ChannelViewSet(EditViewSet):
    """Where alerts are sent. URLs of webhooks and secrets are write-only."""

    queryset = Channel.objects.all()
    serializer_class = ChannelSerializer
    filterset_class = ChannelFilters
    search_fields = ["name", "note"]
    needs = {"test": "alerts.change_channel"}

    @extend_schema(request=None, responses=DeliverySerializer)
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:
        """Send a test message now. `status` is sent or failed; `error` says why it failed."""
        return Response(DeliverySerializer(services.send_test(self.get_object())).data)


class AlertViewSet(ReadViewSet):
    """What rules report. An alert stays open while each evaluation finds it again."""

    queryset = Alert.objects.select_related("rule", "instance")
    serializer_class = AlertSerializer
    filterset_class = AlertFilters
    search_fields = ["text", "instance__name"]
    needs = {"mark_read": "alerts.view_alert"}

    @extend_schema(request=MarkReadSerializer, responses=MarkedSerializer)
    @action(detail=False, methods=["post"], url_path="mark-read", filterset_class=None, pagination_class=None)
    def mark_read(self, request: Request) -> Response:
        """Mark alerts as read by you: those with these ids, or all."""
        ids = read_body(request, MarkReadSerializer).get("ids")
        alerts = None if ids is None else Alert.objects.filter(pk__in=ids)
        return Response({"marked": services.mark_read(request.user, alerts)})


class DeliveryViewSet(ReadViewSet):
    """Messages to channels and their status."""

    queryset = Delivery.objects.select_related("channel")
    serializer_class = DeliverySerializer
    filterset_class = DeliveryFilters
    needs = {"send_again": "alerts.change_delivery"}

    @extend_schema(request=None)
    @action(detail=True, methods=["post"], url_path="send-again")
    def send_again(self, request: Request, pk: str) -> Response:
        """Send a failed message again, within a minute."""
        delivery = self.get_object()
        if not services.send_again(delivery):
            raise Conflict(_("Only a failed message that is not a test can be sent again."))
        delivery.refresh_from_db()
        return Response(self.get_serializer(delivery).data)
