from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from api.filters import read_body, read_query
from api.viewsets import ComputedViewSet, ListViewSet, ReadViewSet
from console.visibility import ids_shown_to
from engines.errors import AdapterError
from instances.serializers import chosen_instances
from instances.viewsets import FilterViewSet

from . import services
from .filters import (
    DatabaseFilterFilters,
    DatabaseFilters,
    DatabaseSizeFilters,
    InstanceSizeFilters,
    TablespaceFilters,
    TablespaceSizeFilters,
)
from .gaps import MissingDays
from .growth import table_growth
from .models import Database, DatabaseFilter, DatabaseSize, InstanceSize, Tablespace, TablespaceSize
from .serializers import (
    DatabaseFilterSerializer,
    DatabaseSerializer,
    DatabaseSizeSerializer,
    GapQuestionSerializer,
    GapSerializer,
    GrowthOfTablesSerializer,
    InstanceSizeSerializer,
    TableGrowthQuestionSerializer,
    TableSizesRequestSerializer,
    TableSizesSerializer,
    TablespaceSerializer,
    TablespaceSizeSerializer,
)


class DatabaseViewSet(ReadViewSet):
    """Databases of the managed instances with their latest size; those that are gone or filtered too, marked so."""

    queryset = Database.objects.select_related("instance").with_growth()
    serializer_class = DatabaseSerializer
    filterset_class = DatabaseFilters
    search_fields = ["name"]
    needs = {"tables": "capacity.read_tables", "table_growth": "capacity.view_tablesize"}

    @extend_schema(request=TableSizesRequestSerializer, responses=TableSizesSerializer)
    @action(detail=True, methods=["post"])
    def tables(self, request: Request, pk: str) -> Response:
        """Ask the instance now for the largest tables of this database. `ok` says whether it answered."""
        limit = read_body(request, TableSizesRequestSerializer)["limit"]
        answer = {"ok": True, "tables": [], "code": "", "message": "", "hint": ""}
        try:
            answer["tables"] = services.largest_tables(self.get_object(), limit)
        except AdapterError as error:
            answer |= {"ok": False, "code": error.code, "message": str(error), "hint": error.hint}
        return Response(TableSizesSerializer(answer).data)

    @extend_schema(parameters=[TableGrowthQuestionSerializer], responses=GrowthOfTablesSerializer)
    @action(detail=True, url_path="table-growth", filter_backends=[], pagination_class=None)
    def table_growth(self, request: Request, pk: str) -> Response:
        """Compare the latest stored reading of the largest tables with one that is `days` older, or the oldest. A table
        that is missing from one of them has an unknown growth, unless that reading lists every table."""
        question = read_query(request, TableGrowthQuestionSerializer)
        return Response(GrowthOfTablesSerializer(table_growth(self.get_object(), **question)).data)


class TablespaceViewSet(ReadViewSet):
    """Tablespaces with their latest size: Oracle's by container, PostgreSQL's, and the general ones of MySQL."""

    queryset = Tablespace.objects.select_related("instance", "database")
    serializer_class = TablespaceSerializer
    filterset_class = TablespaceFilters
    search_fields = ["name"]
    ordering_fields = ["name", "size", "used", "limit", "size_day"]


class TablespaceSizeViewSet(ListViewSet):
    """What each tablespace took on each day, in bytes. A day that is not there is a gap."""

    queryset = TablespaceSize.objects.select_related("tablespace")
    serializer_class = TablespaceSizeSerializer
    filterset_class = TablespaceSizeFilters
    ordering_fields = ["day", "size"]


class DatabaseSizeViewSet(ListViewSet):
    """What each database took on each day, in bytes. A day that is not there is a gap."""

    queryset = DatabaseSize.objects.select_related("database")
    serializer_class = DatabaseSizeSerializer
    filterset_class = DatabaseSizeFilters
    ordering_fields = ["day", "size"]


class InstanceSizeViewSet(ListViewSet):
    """What each instance took on each day, its databases and what they share, in bytes."""

    queryset = InstanceSize.objects.select_related("instance")
    serializer_class = InstanceSizeSerializer
    filterset_class = InstanceSizeFilters
    ordering_fields = ["day", "size"]


class GapViewSet(ComputedViewSet):
    """Days on which an instance has no size, or not a whole one; newest first."""

    queryset = InstanceSize.objects.all()
    serializer_class = GapSerializer

    @extend_schema(parameters=[GapQuestionSerializer])
    def list(self, request: Request) -> Response:
        question = read_query(request, GapQuestionSerializer, repeatable=["instance"])
        chosen = ids_shown_to(self.person, chosen_instances(question))
        return self.page(MissingDays(question["since"], question["until"], chosen, question["kind"]))


class DatabaseFilterViewSet(FilterViewSet):
    """Which databases lists hide. A change takes effect at once."""

    queryset = DatabaseFilter.objects.all()
    serializer_class = DatabaseFilterSerializer
    filterset_class = DatabaseFilterFilters
