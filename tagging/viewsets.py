from __future__ import annotations

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet, ModelViewSet

from instances.filters import InstanceFilters
from instances.models import Instance
from instances.serializers import InstanceSerializer

from .filters import TagFilters
from .models import Tag
from .serializers import TagSerializer


class TagViewSet(ModelViewSet):
    """Labels on instances."""

    queryset = Tag.objects.all()
    serializer_class = TagSerializer
    filterset_class = TagFilters
    search_fields = ["slug", "label"]


class TaggedInstanceViewSet(ListModelMixin, GenericViewSet):
    """The instances that have one tag."""

    queryset = Instance.objects.select_related("credential")
    serializer_class = InstanceSerializer
    filterset_class = InstanceFilters
    search_fields = ["name", "host", "note"]

    def get_queryset(self) -> QuerySet[Instance]:
        return super().get_queryset().filter(tags=self.kwargs.get("tag_id"))

    def list(self, request: Request, tag_id: str) -> Response:
        get_object_or_404(Tag, pk=tag_id)
        return super().list(request)
