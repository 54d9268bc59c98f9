from __future__ import annotations

from django.db.models import ProtectedError
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from api.errors import Conflict
from api.filters import read_body
from api.viewsets import ChildViewSet, EditViewSet, ReadViewSet
from instances.filters import InstanceFilters
from instances.models import Instance
from instances.serializers import InstanceSerializer

from . import services
from .filters import TagFilters, TagOperationFilters
from .models import Tag, TagOperation
from .serializers import BulkSerializer, TagOperationSerializer, TagSerializer


class TagViewSet(EditViewSet):
    """Labels on instances."""

    queryset = Tag.objects.all()
    serializer_class = TagSerializer
    filterset_class = TagFilters
    search_fields = ["slug", "label"]
    needs = {"bulk_assign": "tagging.add_instancetag", "bulk_remove": "tagging.delete_instancetag"}

    def perform_destroy(self, instance: Tag) -> None:
        try:
            instance.delete()
        except ProtectedError as error:
            raise Conflict(_("People are limited to it: take it from their limits first.")) from error

    @extend_schema(request=BulkSerializer, responses=TagOperationSerializer)
    @action(detail=False, methods=["post"], url_path="bulk/assign")
    def bulk_assign(self, request: Request) -> Response:
        """Add tags to instances. The receipt has the outcome of every pair; repeating it changes nothing."""
        return self._bulk(request, TagOperation.Action.ASSIGN)

    @extend_schema(request=BulkSerializer, responses=TagOperationSerializer)
    @action(detail=False, methods=["post"], url_path="bulk/remove")
    def bulk_remove(self, request: Request) -> Response:
        """Remove tags from instances. The receipt has the outcome of every pair; repeating it changes nothing."""
        return self._bulk(request, TagOperation.Action.REMOVE)

    def _bulk(self, request: Request, action: str) -> Response:
        operate = services.assign if action == TagOperation.Action.ASSIGN else services.remove
        operation = operate(**read_body(request, BulkSerializer), user=request.user)
        return Response(TagOperationSerializer(operation).data)


class TagOperationViewSet(ReadViewSet):
    """Receipts of bulk tagging. Newest first."""

    queryset = TagOperation.objects.select_related("requested_by")
    serializer_class = TagOperationSerializer
    filterset_class = TagOperationFilters

    # `undo()` checks the permission that the operation itself required.
    needs = {"undo": "tagging.view_tagoperation"}

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str) -> Response:
        """Take back what an operation changed, and only that."""
        operation = self.get_object()
        if not services.may_undo(operation, request.user):
            self.permission_denied(request)
        try:
            receipt = services.undo(operation, request.user)
        except services.NotUndoable as error:
            raise Conflict(str(error)) from error
        return Response(self.get_serializer(receipt).data)


class TaggedInstanceViewSet(ChildViewSet):
    """The instances that have one tag."""

    queryset = Instance.objects.select_related("credential")
    serializer_class = InstanceSerializer
    filterset_class = InstanceFilters
    search_fields = ["name", "host", "note"]
    parents = Tag.objects.all()
    parent_field = "tags"
