from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import ProtectedError
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from api.errors import Conflict
from api.filters import read_body, read_query
from api.permissions import RecentLoginToWrite, ViewAndModelPermissions
from api.viewsets import EditViewSet

from . import services
from .filters import CredentialFilters, InstanceFilters
from .hiding import Filter, apply_filters
from .models import Credential, Instance
from .serializers import (
    AcceptCertificatesSerializer,
    ConnectionCheckSerializer,
    CredentialSerializer,
    DiagnosisSerializer,
    ExaminationRequestSerializer,
    FilterSerializer,
    InstanceSerializer,
    TightenedSerializer,
    TightenSerializer,
    TimelineQuestionSerializer,
    TimelineSerializer,
)
from .timeline import newest_first


class InstanceViewSet(EditViewSet):
    """Managed database servers. Deleting one retires it; `restore` makes it active again."""

    queryset = Instance.objects.select_related("credential")
    serializer_class = InstanceSerializer
    filterset_class = InstanceFilters
    search_fields = ["name", "host", "note"]
    needs = {
        "restore": "instances.change_instance",
        "test_connection": "instances.connect_instance",
        "check": "instances.connect_instance",
        "accept_certificates": "instances.use_credential",
        "tighten": "instances.use_credential",
    }

    def perform_destroy(self, instance: Instance) -> None:
        instance.retire()

    @extend_schema(parameters=[TimelineQuestionSerializer], responses=TimelineSerializer)
    @action(detail=True, filter_backends=[], filterset_class=None, pagination_class=None)
    def timeline(self, request: Request, pk: str) -> Response:
        """List the visits, changes and edits of an instance that you may see, newest first."""
        days = read_query(request, TimelineQuestionSerializer)["days"]
        since = timezone.now() - timedelta(days=days)
        events, is_cut = newest_first(self.get_object(), request.user, since)
        return Response(TimelineSerializer({"events": events, "is_cut": is_cut}).data)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: str) -> Response:
        """Make a retired instance active again."""
        instance = self.get_object()
        instance.restore()
        return Response(self.get_serializer(instance).data)

    @extend_schema(request=None, responses=ConnectionCheckSerializer)
    @action(detail=True, methods=["post"], url_path="test-connection")
    def test_connection(self, request: Request, pk: str) -> Response:
        """Connect now. `ok` says whether the server answered; if not, code, message and hint say why."""
        return Response(ConnectionCheckSerializer(services.check_connection(self.get_object())).data)

    @extend_schema(request=ExaminationRequestSerializer, responses=DiagnosisSerializer)
    @action(detail=True, methods=["post"])
    def check(self, request: Request, pk: str) -> Response:
        """Try all reads of a visit now: what works, which GRANTs are missing, and which privileges are not needed."""
        body = read_body(request, ExaminationRequestSerializer)
        return Response(DiagnosisSerializer(services.examine(self.get_object(), **body)).data)

    @extend_schema(request=AcceptCertificatesSerializer, responses=InstanceSerializer(many=True))
    @action(detail=False, methods=["post"], url_path="accept-certificates", filterset_class=None, pagination_class=None)
    def accept_certificates(self, request: Request) -> Response:
        """Pin certificates with compared fingerprints, all or none. A fingerprint that is not to be compared is a
        conflict."""
        certificates = read_body(request, AcceptCertificatesSerializer)["certificates"]
        compared = {one["instance"]: one["fingerprint"].replace(":", "").lower() for one in certificates}
        shown = {row.pk: row for row in self.get_queryset().filter(pk__in=compared)}
        wrong = sorted(pk for pk in compared if pk not in shown or shown[pk].certificate_to_compare != compared[pk])
        if wrong:
            raise Conflict(_("The certificate to compare is a different one: %s.") % ", ".join(map(str, wrong)))
        services.accept_certificates(compared)
        return Response(self.get_serializer(self.get_queryset().filter(pk__in=compared), many=True).data)

    @extend_schema(request=TightenSerializer, responses=TightenedSerializer(many=True))
    @action(detail=False, methods=["post"], filterset_class=None, pagination_class=None)
    def tighten(self, request: Request) -> Response:
        """Try strict connections to instances that are "as before", and set those to strict that succeed."""
        tried = services.tighten(read_body(request, TightenSerializer)["instance_ids"])
        return Response(TightenedSerializer(tried, many=True).data)


class CredentialViewSet(EditViewSet):
    """Logins on managed instances. Passwords are write-only."""

    queryset = Credential.objects.all()
    permission_classes = [ViewAndModelPermissions, RecentLoginToWrite]
    serializer_class = CredentialSerializer
    filterset_class = CredentialFilters
    search_fields = ["name", "username", "note"]

    def perform_destroy(self, instance: Credential) -> None:
        try:
            instance.delete()
        except ProtectedError as error:
            names = ", ".join(sorted(str(row) for row in error.protected_objects))
            raise Conflict(_("In use by: %s. Assign another credential to them first.") % names) from error


class FilterViewSet(EditViewSet):
    """Base for the filters of one kind of row."""

    @transaction.atomic
    def perform_create(self, serializer: FilterSerializer) -> None:
        apply_filters(self.queryset.model, serializer.save().concerned())

    @transaction.atomic
    def perform_update(self, serializer: FilterSerializer) -> None:
        before = serializer.instance.concerned()
        apply_filters(self.queryset.model, before | serializer.save().concerned())

    @transaction.atomic
    def perform_destroy(self, instance: Filter) -> None:
        concerned = instance.concerned()
        instance.delete()
        apply_filters(self.queryset.model, concerned)
