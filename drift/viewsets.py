from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError as ModelError
from django.db.models import Prefetch, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ParseError, PermissionDenied, ValidationError
from rest_framework.mixins import DestroyModelMixin
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.viewsets import basis, unknown_rows
from api.filters import read_body, read_query
from api.viewsets import ComputedViewSet, EditViewSet, ReadViewSet
from console.visibility import limit_of, shown_to
from instances.models import Instance

from . import rows, services, states
from .compare import drift_of
from .filters import AcceptedDeviationFilters, BaselineFilters
from .models import AcceptedDeviation, Baseline
from .serializers import (
    AcceptedCountSerializer,
    AcceptedDeviationSerializer,
    AcceptSerializer,
    BaselineSerializer,
    DeviationQuestionSerializer,
    DeviationSerializer,
    SavedStateSerializer,
    StateQuestionSerializer,
)


def _refuse_limited(request: Request) -> None:
    """Raise PermissionDenied for users who see some instances only: the reference may be one that they do not see."""
    if limit_of(request.user) is not None:
        raise PermissionDenied(_("You see some instances only, and may not edit baselines."))


class JSONText(BaseParser):
    """The document as text, which `states` reads."""

    media_type = states.FORMATS["json"]

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> str:
        try:
            return str(stream.read().decode())
        except UnicodeDecodeError as error:
            raise ParseError(_("The file is not UTF-8.")) from error


class YAMLText(JSONText):
    media_type = states.FORMATS["yaml"]


class BaselineViewSet(EditViewSet):
    """Groups of instances, each with the instance or saved state that they should be like."""

    queryset = Baseline.objects.without_documents()
    serializer_class = BaselineSerializer
    filterset_class = BaselineFilters
    search_fields = ["name", "note"]
    needs = {"accept": "drift.add_accepteddeviation", "import_state": "drift.change_baseline"}

    def get_queryset(self) -> QuerySet[Baseline]:
        shown = shown_to(Instance.objects.all(), self.person)
        return super().get_queryset().prefetch_related(Prefetch("instances", shown))

    @extend_schema(
        parameters=[StateQuestionSerializer],
        responses={(200, media_type): OpenApiTypes.OBJECT for media_type in states.FORMATS.values()},
    )
    @action(
        detail=True,
        filterset_class=None,
        pagination_class=None,
        filter_backends=[],
        parser_classes=[JSONText, YAMLText],
    )
    def state(self, request: Request, pk: str | None = None) -> HttpResponse:
        """The saved state, as a document that can be imported and compared with others by any diff."""
        form = read_query(request, StateQuestionSerializer)["form"]
        baseline = self.get_object()
        _refuse_limited(request)
        if baseline.state is None:
            raise NotFound
        return HttpResponse(states.written(baseline.state, form), content_type=states.FORMATS[form])

    @extend_schema(
        request=dict.fromkeys(states.FORMATS.values(), OpenApiTypes.OBJECT),
        responses=SavedStateSerializer,
    )
    @state.mapping.post
    def import_state(self, request: Request, pk: str | None = None) -> Response:
        """Compare with this state from now on, instead of the reference. The body is a document of the same form."""
        baseline = self.get_object()
        _refuse_limited(request)
        try:
            services.save_state(baseline, states.parsed(request.data))
        except ValueError as error:
            raise ValidationError({"state": [str(error)]}) from error
        return Response(
            SavedStateSerializer({"state_at": baseline.state_at, "items": len(baseline.state["items"])}).data
        )

    @extend_schema(request=AcceptSerializer, responses=AcceptedCountSerializer)
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def accept(self, request: Request, pk: str | None = None) -> Response:
        """Accept deviations, all of them or none, on their instances or everywhere. Those that are accepted already get
        the new reason and end."""
        baseline = self.get_object()
        body = read_body(request, AcceptSerializer)
        chosen = {(one["instance"], one["key"]) for one in body.pop("deviations")}
        try:
            n = services.accept(baseline, chosen, request.user, **body)
        except ModelError as error:
            raise ValidationError(serializers.as_serializer_error(error)) from error
        return Response({"accepted": n})


class DeviationViewSet(ComputedViewSet):
    """What the instances of a baseline have otherwise than its reference. `unknown` are the instances that are not
    compared, or not in all parts; `reference` is "" for one that the user may not see."""

    queryset = Baseline.objects.select_related("reference")
    serializer_class = DeviationSerializer

    @extend_schema(parameters=[DeviationQuestionSerializer])
    def list(self, request: Request, baseline_id: str | None = None) -> Response:
        question = read_query(request, DeviationQuestionSerializer)
        instance, what, accepted = question.get("instance"), question.get("what"), question["accepted"]
        found = drift_of(get_object_or_404(self.get_queryset(), pk=baseline_id), self.person)
        listed: list[dict[str, Any]] = [
            {"instance": one.instance.pk, "instance_name": one.instance.name, **rows.as_dict(row, acceptance)}
            for one in found.compared
            for row, acceptance in rows.of_instance(one)
            if instance in (None, one.instance)
            and what in (None, row.what)
            and accepted in (None, acceptance is not None)
        ]
        unknown = {
            one.instance: "; ".join(filter(None, [one.unknown, *one.parts])) for one in found.compared if one.is_unknown
        }
        counts = {"deviations": found.count, "accepted": found.accepted}
        more = basis([one.read for one in found.compared]) | {"unknown": unknown_rows(unknown)}
        return self.page(listed, reference=found.reference, **counts, **more)


class AcceptedDeviationViewSet(DestroyModelMixin, ReadViewSet):
    """Accepted deviations, including expired ones. Deleting one withdraws the acceptance."""

    queryset = AcceptedDeviation.objects.select_related("baseline", "instance", "accepted_by")
    serializer_class = AcceptedDeviationSerializer
    filterset_class = AcceptedDeviationFilters
    search_fields = ["account", "deviation", "reason", "ticket"]

    def perform_destroy(self, instance: AcceptedDeviation) -> None:
        if instance.instance_id is None:
            _refuse_limited(self.request)
        instance.delete()
