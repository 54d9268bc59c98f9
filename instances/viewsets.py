from __future__ import annotations

from django.db import transaction
from django.db.models import ProtectedError
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ModelViewSet

from . import services
from .filters import CredentialFilters, InstanceFilters
from .hiding import Filter, apply_filters
from .models import Credential, Instance
from .serializers import (
    ConnectionCheckSerializer,
    CredentialSerializer,
    DiagnosisSerializer,
    ExaminationRequestSerializer,
    FilterSerializer,
    InstanceSerializer,
)
from .visibility import ShownRowsOfAPI


class Conflict(APIException):
    """What is asked for does not fit the state things are in."""

    status_code = 409
    default_code = "conflict"


class InstanceViewSet(ShownRowsOfAPI, ModelViewSet):
    """Database servers that are looked after. Deleting one retires it; `restore` takes it back."""

    queryset = Instance.objects.select_related("credential")
    serializer_class = InstanceSerializer
    filterset_class = InstanceFilters
    search_fields = ["name", "host", "note"]
    needs = {
        "restore": "instances.change_instance",
        "test_connection": "instances.connect_instance",
        "check": "instances.connect_instance",
    }

    def perform_destroy(self, instance: Instance) -> None:
        instance.retire()

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: str) -> Response:
        """Take a retired instance back, with its history."""
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
        """Try out now all that visits do: what works, the GRANT that is missing, and rights beyond need."""
        asked = ExaminationRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        return Response(DiagnosisSerializer(services.examine(self.get_object(), **asked.validated_data)).data)


class CredentialViewSet(ShownRowsOfAPI, ModelViewSet):
    """Logins on managed instances. Passwords go in and never come out."""

    queryset = Credential.objects.all()
    serializer_class = CredentialSerializer
    filterset_class = CredentialFilters
    search_fields = ["name", "username", "note"]

    def perform_destroy(self, instance: Credential) -> None:
        try:
            instance.delete()
        except ProtectedError as error:
            names = ", ".join(sorted(str(row) for row in error.protected_objects))
            raise Conflict(_("In use by: %s. Give them another credential first.") % names) from error


class FilterViewSet(ShownRowsOfAPI, ModelViewSet):
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
