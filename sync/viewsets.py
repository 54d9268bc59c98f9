from __future__ import annotations

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from api.errors import Conflict
from api.filters import read_body
from api.viewsets import ChildViewSet, ReadViewSet

from . import services
from .filters import RecordsOfSessionFilters, SyncRecordFilters, SyncSessionFilters, VisitHealthFilters
from .models import SyncRecord, SyncSession, VisitHealth
from .serializers import StartSerializer, SyncRecordSerializer, SyncSessionSerializer, VisitHealthSerializer


def session_response(request: Request, session: SyncSession, status: int = 202) -> Response:
    """A session as it is now. Status 202 means that its visits continue."""
    current = SyncSession.objects.select_related("requested_by").with_counts(request.user).get(pk=session.pk)
    data = SyncSessionSerializer(current, context={"request": request}).data
    return Response(data, status=status, headers={"Location": data["url"]})


class SyncSessionViewSet(ReadViewSet):
    """Batches of visits. POST starts one."""

    queryset = SyncSession.objects.select_related("requested_by")
    serializer_class = SyncSessionSerializer
    filterset_class = SyncSessionFilters
    needs = dict.fromkeys(["create", "retry_failed", "cancel"], "sync.run_visits")

    def get_queryset(self) -> QuerySet[SyncSession]:
        # Grouping drops the model's ordering.
        return super().get_queryset().with_counts(self.person).order_by("-pk")

    @extend_schema(request=StartSerializer, responses={202: SyncSessionSerializer})
    def create(self, request: Request) -> Response:
        """Start visits in the workers."""
        body = read_body(request, StartSerializer)
        session = services.start(body["kind"], body["instances"], trigger=SyncSession.Trigger.API, user=request.user)
        return session_response(request, session)

    @extend_schema(request=None, responses={202: SyncSessionSerializer})
    @action(detail=True, methods=["post"], url_path="retry-failed")
    def retry_failed(self, request: Request, pk: str) -> Response:
        """Visit the instances that failed in this session again, in a new session."""
        session = services.retry_failed(self.get_object(), request.user)
        if session is None:
            raise Conflict(_("No visit of an active instance failed in this session."))
        return session_response(request, session)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Cancel a session: pending visits end at once, running ones after their phase."""
        session = self.get_object()
        if not session.is_open:
            raise Conflict(_("This session has ended: it is %s.") % session.get_status_display())
        if services.visits_hidden(session, request.user):
            raise Conflict(services.HIDDEN_VISITS)
        services.cancel(session)
        return session_response(request, session, status=200)


class SessionRecordViewSet(ChildViewSet):
    """The visits of one session."""

    queryset = SyncRecord.objects.select_related("instance")
    serializer_class = SyncRecordSerializer
    filterset_class = RecordsOfSessionFilters
    parents = SyncSession.objects.all()
    parent_field = "session"


class SyncRecordViewSet(ReadViewSet):
    """Visits of all sessions."""

    queryset = SyncRecord.objects.select_related("instance")
    serializer_class = SyncRecordSerializer
    filterset_class = SyncRecordFilters
    needs = {"confirm_shrink": "sync.confirm_shrink"}

    @extend_schema(request=None, responses={202: SyncSessionSerializer})
    @action(detail=True, methods=["post"], url_path="confirm-shrink")
    def confirm_shrink(self, request: Request, pk: str) -> Response:
        """Visit the instance again, and accept at most as many disappearances as this visit was held for."""
        try:
            session = services.confirm_shrink(self.get_object(), request.user)
        except ValueError as error:
            raise Conflict(str(error)) from error
        return session_response(request, session)


class VisitHealthViewSet(ReadViewSet):
    """Successes and failures of each kind of visit to each instance, and which are paused."""

    queryset = VisitHealth.objects.select_related("instance")
    serializer_class = VisitHealthSerializer
    filterset_class = VisitHealthFilters
    needs = {"resume": "sync.run_visits"}

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Resume the visits and reset their failure count."""
        health = self.get_object()
        services.resume(VisitHealth.objects.filter(pk=health.pk))
        health.refresh_from_db()
        return Response(self.get_serializer(health).data)
