from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django_celery_beat.models import PeriodicTask
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.mixins import CreateModelMixin, DestroyModelMixin
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from api.filters import read_body, read_query
from api.permissions import RecentLoginToWrite, ViewAndModelPermissions
from api.serializers import CleanSerializer
from api.viewsets import ReadViewSet
from console.visibility import ShownRowsOfAPI

from . import search
from .models import ApiToken
from .serializers import ScheduleSerializer


class ApiTokenSerializer(CleanSerializer):
    user = serializers.CharField(source="user.username", read_only=True)

    class Meta:
        model = ApiToken
        fields = [
            "id",
            "name",
            "user",
            "read_only",
            "addresses",
            "created_at",
            "expires_at",
            "last_used_at",
            "last_used_from",
        ]
        read_only_fields = ["last_used_at", "last_used_from"]
        extra_kwargs = {
            "expires_at": {
                "allow_null": False,
                "required": False,
                "help_text": "If left out: after TAIFISH_TOKEN_DAYS. Null only in tokens of older releases.",
            }
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return super().validate({**attrs, "user": self.context["request"].user})


class NewApiTokenSerializer(ApiTokenSerializer):
    token = serializers.CharField(read_only=True, help_text="Shown in this response only.")

    class Meta(ApiTokenSerializer.Meta):
        fields = [*ApiTokenSerializer.Meta.fields, "token"]


class ApiTokenViewSet(CreateModelMixin, DestroyModelMixin, ReadViewSet):
    """Your API tokens. Superusers see and delete those of all users."""

    queryset = ApiToken.objects.select_related("user")
    permission_classes = [ViewAndModelPermissions, RecentLoginToWrite]
    serializer_class = ApiTokenSerializer

    def get_queryset(self) -> QuerySet[ApiToken]:
        return super().get_queryset().of(self.request.user)

    @extend_schema(responses={201: NewApiTokenSerializer})
    def create(self, request: Request) -> Response:
        """Create a token for yourself. Only this response shows it. Requests that use a token are refused."""
        if isinstance(request.auth, ApiToken):
            raise PermissionDenied(_("A token cannot create tokens. Log in, or send user name and password."))
        token = ApiToken(**read_body(request, ApiTokenSerializer))
        secret = token.draw()
        token.save()
        answer = NewApiTokenSerializer(token).data | {"token": secret}
        return Response(answer, status=201, headers={"Cache-Control": "no-store"})


class ScheduleViewSet(ReadViewSet):
    """When scheduled tasks run, when each ran last, and which are late."""

    queryset = PeriodicTask.objects.select_related("crontab", "interval", "solar", "clocked").order_by("name")
    serializer_class = ScheduleSerializer
    search_fields = ["name", "task"]


class SearchQuestionSerializer(serializers.Serializer):
    q = serializers.CharField(
        max_length=search.LONGEST,
        help_text="Words that must all be contained; blanks in double quotes belong to a word. #17: session 17.",
    )


class FoundRowSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    instance = serializers.IntegerField(allow_null=True)
    instance_name = serializers.CharField(allow_null=True)
    marks = serializers.ListField(
        child=serializers.CharField(), help_text="Such as gone, filtered, retired, inactive, superuser, role."
    )


class FoundSerializer(serializers.Serializer):
    kind = serializers.ChoiceField([kind.name for kind in search.KINDS])
    count = serializers.IntegerField(help_text="All that match; `rows` are the first of them.")
    rows = FoundRowSerializer(many=True)


@extend_schema_serializer(many=False)
class SearchAnswerSerializer(serializers.Serializer):
    results = FoundSerializer(many=True, help_text="By kind, without empty kinds.")


class SearchViewSet(ShownRowsOfAPI, ViewSet):
    """Search for instances, accounts and roles, databases, sessions, tags, classifications and rules by name. The
    answer has the first rows of each kind that you may view; names that begin with the word come first."""

    permission_classes = [IsAuthenticated]

    @extend_schema(parameters=[SearchQuestionSerializer], responses=SearchAnswerSerializer)
    def list(self, request: Request) -> Response:
        text = read_query(request, SearchQuestionSerializer)["q"]
        return Response({"results": [found.as_dict() for found in search.search(text, self.person)]})
