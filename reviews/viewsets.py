from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from api.errors import Conflict, Unavailable
from api.filters import read_body
from api.viewsets import EditViewSet, ReadViewSet
from console.visibility import limit_of, shown_to

from . import pack, services
from .filters import CampaignFilters, ItemFilters
from .models import Campaign, Item
from .serializers import (
    AcknowledgeSerializer,
    CampaignInstanceSerializer,
    CampaignSerializer,
    DecideSerializer,
    DelegateSerializer,
    DoneSerializer,
    ItemSerializer,
    ProgressSerializer,
)
from .stamps import StampError


def _or_conflict(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return work(*args, **kwargs)
    except ValueError as error:
        raise Conflict(str(error)) from error


class CampaignViewSet(EditViewSet):
    """Review campaigns. Drafts can be changed and deleted, others go on by `start`, `close`, `acknowledge`, `seal`."""

    queryset = Campaign.objects.prefetch_related("reviewers", "tags", "classifications")
    serializer_class = CampaignSerializer
    filterset_class = CampaignFilters
    search_fields = ["name", "note"]
    needs = {
        "start": "reviews.change_campaign",
        "close": "reviews.change_campaign",
        "acknowledge": "reviews.acknowledge_campaign",
        "seal": "reviews.acknowledge_campaign",
    }

    def get_queryset(self) -> QuerySet[Campaign]:
        return super().get_queryset().with_counts(shown_to(Item.objects.all(), self.person))

    def perform_create(self, serializer: CampaignSerializer) -> None:
        self._check_whole_fleet()
        serializer.save(created_by=self.request.user)

    def perform_update(self, serializer: CampaignSerializer) -> None:
        self._check_draft(serializer.instance)
        serializer.save()

    def perform_destroy(self, instance: Campaign) -> None:
        self._check_draft(instance)
        instance.delete()

    def _check_whole_fleet(self) -> None:
        """A campaign is about instances that somebody who is limited to some would not see."""
        if limit_of(self.person) is not None:
            raise PermissionDenied

    def _check_draft(self, campaign: Campaign) -> None:
        self._check_whole_fleet()
        if not campaign.is_draft:
            raise Conflict("Only drafts can be changed or deleted.")

    def _step(self, work: Callable[..., Campaign], *args: Any) -> Response:
        self._check_whole_fleet()
        _or_conflict(work, self.get_object(), *args)
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(request=None, responses=CampaignSerializer)
    @action(detail=True, methods=["post"])
    def start(self, request: Request, pk: str) -> Response:
        """Copy the population, and give the items to their reviewers."""
        return self._step(services.freeze)

    @extend_schema(request=None, responses=CampaignSerializer)
    @action(detail=True, methods=["post"])
    def close(self, request: Request, pk: str) -> Response:
        """End the decisions."""
        return self._step(services.close)

    @extend_schema(request=AcknowledgeSerializer, responses=CampaignSerializer)
    @action(detail=True, methods=["post"])
    def acknowledge(self, request: Request, pk: str) -> Response:
        """Store the acknowledgement of the management."""
        return self._step(services.acknowledge, request.user, read_body(request, AcknowledgeSerializer)["text"])

    @extend_schema(request=None, responses=CampaignSerializer)
    @action(detail=True, methods=["post"])
    def seal(self, request: Request, pk: str) -> Response:
        """Refuse every later change."""
        return self._step(services.seal)

    @extend_schema(responses=ProgressSerializer(many=True), filters=False)
    @action(detail=True, pagination_class=None)
    def progress(self, request: Request, pk: str) -> Response:
        """Decisions by reviewer; null: items without one."""
        return Response(ProgressSerializer(services.progress(self.get_object(), self.person), many=True).data)

    @extend_schema(responses=CampaignInstanceSerializer(many=True), filters=False)
    @action(detail=True, pagination_class=None)
    def instances(self, request: Request, pk: str) -> Response:
        """The instances in scope, and what was not known of them at the freeze."""
        rows = shown_to(self.get_object().instances.all(), self.person)
        return Response(CampaignInstanceSerializer(rows, many=True).data)

    @extend_schema(responses={(200, "application/zip"): OpenApiTypes.BINARY}, filters=False)
    @action(detail=True, pagination_class=None)
    def pack(self, request: Request, pk: str) -> HttpResponseBase:
        """The evidence pack of a sealed campaign. 503: it needs a time stamp, and the authority gave none."""
        self._check_whole_fleet()
        campaign = self.get_object()
        try:
            pieces = _or_conflict(pack.pack, campaign)
        except StampError as error:
            raise Unavailable(str(error)) from error
        services.exported(campaign, request.user)
        return StreamingHttpResponse(
            pieces,
            content_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{pack.name_of(campaign)}"'},
        )


class ItemViewSet(ReadViewSet):
    """The items of campaigns, with the last decision about each and what visits saw afterwards. Who may not view
    campaigns gets those that are theirs to decide."""

    queryset = (
        Item.objects.exclude(campaign__state=Campaign.State.DRAFT)
        .with_observed()
        .with_previous()
        .with_last_decision()
        .select_related("place")
    )
    serializer_class = ItemSerializer
    filterset_class = ItemFilters
    search_fields = ["account_label", "object", "place__name"]
    needs = {"decide": "reviews.decide_item", "delegate": "reviews.decide_item"}

    def get_queryset(self) -> QuerySet[Item]:
        return services.seen_by(super().get_queryset(), self.person)

    @extend_schema(request=DecideSerializer, responses=DoneSerializer)
    @action(detail=False, methods=["post"], filterset_class=None, pagination_class=None)
    def decide(self, request: Request) -> Response:
        """Decide about one or many items, all of them or none."""
        asked = read_body(request, DecideSerializer)
        made = _or_conflict(services.decide, asked["items"], asked["verdict"], request.user, reason=asked["reason"])
        return Response({"done": len(made)})

    @extend_schema(request=DelegateSerializer, responses=DoneSerializer)
    @action(detail=False, methods=["post"], filterset_class=None, pagination_class=None)
    def delegate(self, request: Request) -> Response:
        """Give items to another reviewer. Who may change campaigns can give away those of others."""
        asked = read_body(request, DelegateSerializer)
        made = _or_conflict(services.delegate, asked["items"], asked["to"], request.user, reason=asked["reason"])
        return Response({"done": sum(one.n_items for one in made)})
