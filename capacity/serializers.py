from __future__ import annotations

from rest_framework import serializers

from api.serializers import StrictSerializer
from instances.serializers import FilterSerializer, InstanceQuestionSerializer, OfInstanceSerializer

from .growth import GROWTH_DAYS
from .models import Database, DatabaseFilter, DatabaseSize, InstanceSize, Tablespace, TablespaceSize


class DatabaseSerializer(OfInstanceSerializer):
    """Expects `Database.objects.with_growth()`."""

    growth = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="Bytes in the growth_days before size_day; null where unknown."
    )
    growth_days = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="30, or up to the nearest earlier day that has a size."
    )

    elsewhere = serializers.DictField(
        child=serializers.IntegerField(),
        read_only=True,
        allow_null=True,
        help_text="Tables with bytes that are not in size: their number by the shared part that has the bytes, and "
        "under the empty key of those without a known size. Null: unknown, or none in this engine.",
    )

    class Meta:
        model = Database
        fields = [
            "id",
            "instance",
            "instance_name",
            "engine",
            "name",
            "native_id",
            "is_system",
            "is_filtered",
            "first_seen_at",
            "last_seen_at",
            "gone_at",
            "size",
            "size_day",
            "growth",
            "growth_days",
            "elsewhere",
        ]


class DatabaseSizeSerializer(serializers.ModelSerializer):
    database_name = serializers.CharField(source="database.name", read_only=True)
    instance = serializers.IntegerField(source="database.instance_id", read_only=True)

    class Meta:
        model = DatabaseSize
        fields = [
            "database",
            "database_name",
            "instance",
            "day",
            "size",
            "data_size",
            "index_size",
            "log_size",
            "collected_at",
        ]


class InstanceSizeSerializer(OfInstanceSerializer):
    class Meta:
        model = InstanceSize
        fields = [
            "instance",
            "instance_name",
            "day",
            "size",
            "shared_size",
            "shared",
            "n_databases",
            "is_complete",
            "collected_at",
        ]


class TablespaceSerializer(OfInstanceSerializer):
    database_name = serializers.CharField(source="database.name", read_only=True, allow_null=True, default=None)

    class Meta:
        model = Tablespace
        fields = [
            "id",
            "instance",
            "instance_name",
            "engine",
            "database",
            "database_name",
            "name",
            "kind",
            "first_seen_at",
            "last_seen_at",
            "gone_at",
            "size",
            "used",
            "limit",
            "size_day",
        ]


class TablespaceSizeSerializer(serializers.ModelSerializer):
    tablespace_name = serializers.CharField(source="tablespace.name", read_only=True)
    instance = serializers.IntegerField(source="tablespace.instance_id", read_only=True)

    class Meta:
        model = TablespaceSize
        fields = ["tablespace", "tablespace_name", "instance", "day", "size", "used", "limit", "collected_at"]


class TableGrowthQuestionSerializer(StrictSerializer):
    """Parameters of `growth.table_growth`."""

    days = serializers.IntegerField(min_value=1, max_value=3650, default=GROWTH_DAYS)
    limit = serializers.IntegerField(min_value=1, max_value=2000, default=20)


class TableGrowthSerializer(serializers.Serializer):
    """One `growth.TableGrowth`."""

    schema = serializers.CharField()
    name = serializers.CharField()
    earlier = serializers.IntegerField(allow_null=True)
    size = serializers.IntegerField(allow_null=True)
    growth = serializers.IntegerField(allow_null=True)
    state = serializers.ChoiceField(["listed", "new", "gone", "not_before", "not_now"])


class GrowthOfTablesSerializer(serializers.Serializer):
    """One `growth.GrowthOfTables`."""

    earlier_day = serializers.DateField(allow_null=True)
    day = serializers.DateField(allow_null=True)
    tables = TableGrowthSerializer(many=True)


class TableSizesRequestSerializer(StrictSerializer):
    limit = serializers.IntegerField(min_value=1, max_value=1000, default=20)


class TableSizeSerializer(serializers.Serializer):
    """One `engines.facts.TableSize`."""

    schema = serializers.CharField()
    name = serializers.CharField()
    size = serializers.IntegerField()
    data_size = serializers.IntegerField(allow_null=True)
    index_size = serializers.IntegerField(allow_null=True)


class TableSizesSerializer(serializers.Serializer):
    """`tables`, or why there are none."""

    ok = serializers.BooleanField()
    tables = TableSizeSerializer(many=True)
    code = serializers.CharField(allow_blank=True)
    message = serializers.CharField(allow_blank=True)
    hint = serializers.CharField(allow_blank=True)


class GapQuestionSerializer(InstanceQuestionSerializer):
    """Parameters of `gaps.MissingDays`."""

    since = serializers.DateField(default=None, allow_null=True, help_text="Thirty days, if not given.")
    until = serializers.DateField(default=None, allow_null=True, help_text="Yesterday, at most.")
    kind = serializers.ChoiceField(["missing", "incomplete"], default="", allow_blank=True)


class GapSerializer(serializers.Serializer):
    """One `gaps.MissingDay`."""

    instance = serializers.IntegerField()
    instance_name = serializers.CharField()
    day = serializers.DateField()
    kind = serializers.ChoiceField(["missing", "incomplete"])
    status = serializers.CharField(help_text="Of the last visit made that day.")
    code = serializers.CharField()
    parameters = serializers.JSONField()
    error = serializers.CharField()


class DatabaseFilterSerializer(FilterSerializer):
    class Meta(FilterSerializer.Meta):
        model = DatabaseFilter
