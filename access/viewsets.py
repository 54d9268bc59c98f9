from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.fields import DateTimeField
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.freshness import LastRead, last_reads
from accounts.models import Account, Grant
from accounts.serializers import AccountSerializer, CoverageSerializer
from accounts.viewsets import GrantViewSet, basis, unknown_rows
from api.filters import read_query
from api.viewsets import ComputedViewSet
from console.visibility import shown_to
from instances.models import Instance

from . import questions as access
from .asking import Asked, WrongParameterError, ask
from .compare import Asked as Compared
from .compare import compare
from .matrix_page import ask as ask_matrix
from .moments import past
from .serializers import (
    AccessQuestionSerializer,
    AccessSerializer,
    CellSerializer,
    CompareQuestionSerializer,
    DifferenceSerializer,
    EffectiveGrantSerializer,
    MatrixQuestionSerializer,
    TakenAwaySerializer,
    WhereQuestionSerializer,
)
from .where_page import where


class EffectiveGrantViewSet(GrantViewSet):
    """What one account may do by its own grants, through its roles and through PUBLIC; now, or `as_of` a time.
    With `by_database`, which grants on databases count depends on the database, and all are listed. `without_grant` are
    predefined roles that it reaches, with kind of object → privileges on each such object."""

    serializer_class = EffectiveGrantSerializer
    parameters = ["as_of"]
    # The page and the command make it: with what grants by nature, and links of each row.
    export = None

    @cached_property
    def effective(self) -> access.Effective:
        try:
            moment = DateTimeField(allow_null=True).run_validation(self.request.query_params.get("as_of") or None)
            return access.effective(self.parent, moment)
        except (ValueError, ValidationError) as error:
            raise ValidationError({"as_of": getattr(error, "detail", [str(error)])}) from error

    def get_queryset(self) -> QuerySet[Grant]:
        # Permissions are checked with a queryset before `list()` computes the answer.
        return self.effective.grants if "effective" in vars(self) else super().get_queryset()

    @extend_schema(parameters=[OpenApiParameter("as_of", OpenApiTypes.DATETIME, description="Now, if not given.")])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        effective = self.effective
        answer = super().list(request, *args, **kwargs)
        coverage = effective.coverage
        answer.data["as_of"] = effective.at
        answer.data["without_grant"] = [
            {"path": [str(role) for role in nature.path], "at_once": nature.at_once, "powers": _sorted(nature.powers)}
            for nature in effective.natures()
        ]
        answer.data["by_database"] = effective.by_database
        answer.data["coverage"] = CoverageSerializer(coverage).data if coverage else None
        return answer

    @property
    def read(self) -> LastRead:
        return self.effective.read

    def get_serializer_context(self) -> dict[str, Any]:
        if not self.kwargs:
            return super().get_serializer_context()
        links = self.effective.links(self.rows)
        return super().get_serializer_context() | {"effective": self.effective, "links": links}

    def paginate_queryset(self, queryset: QuerySet[Grant]) -> list[Grant]:
        self.rows = super().paginate_queryset(queryset)
        return self.rows


def _sorted(powers: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    return {kind: sorted(privileges) for kind, privileges in powers.items()}


class AccessViewSet(ComputedViewSet):
    """Accounts that hold a privilege, by any path; now, or `as_of` a time. `unknown` are the instances without a
    complete answer; `absent` are ids of instances on which visits show that there is no such object; `taken_away` are
    rights on a built-in object that the engine ships with and that were revoked; `warnings` are about the question."""

    queryset = Grant.objects.all()
    serializer_class = AccessSerializer

    @extend_schema(parameters=[AccessQuestionSerializer])
    def list(self, request: Request) -> Response:
        question = read_query(request, AccessQuestionSerializer, repeatable=["instance"])
        at = question.pop("as_of")
        try:
            answered = ask(Asked(**question, at=at, user=self.person))
        except ValueError as error:
            raise _refusal(error) from error
        answer = answered.answer
        more = basis(answer.reads.values()) | {"unknown": unknown_rows(answer.unknown)}
        more["taken_away"] = TakenAwaySerializer(answer.taken_away, many=True).data
        more |= {"on": answered.on, "warnings": answered.warnings}
        more["absent"] = [instance.pk for instance in answered.absent]
        return self.page(answer.rows, as_of=answer.at, **more)


def _refusal(error: ValueError) -> ValidationError:
    """Return the answer to a wrong question: by parameter, or "detail"."""
    if isinstance(error, WrongParameterError):
        return ValidationError({error.parameter: [str(error)]})
    return ValidationError({"detail": str(error)})


class WhereViewSet(ComputedViewSet):
    """Instances on which an account exists; now, or `as_of` a time. `unknown` are the instances that were not read
    lately."""

    queryset = Account.objects.all()
    serializer_class = AccountSerializer

    @extend_schema(parameters=[WhereQuestionSerializer])
    def list(self, request: Request) -> Response:
        question = read_query(request, WhereQuestionSerializer)
        try:
            at = past(question["as_of"]) if question["as_of"] else None
        except ValueError as error:
            raise ValidationError({"as_of": [str(error)]}) from error
        found = where(question["name"], at, self.person).with_counts().with_last_seen()
        reads = last_reads(shown_to(Instance.objects.active(), self.person), at, only_stale=True)
        unknown = unknown_rows({read.instance: read.reason for read in reads})
        return self.page(found, as_of=at or timezone.now(), unknown=unknown)


class MatrixViewSet(ComputedViewSet):
    """What each account may do with each object of a schema, a database, or the instances with a tag; now, or `as_of` a
    time. Only cells with rights are listed. `unknown` are the instances without a complete answer; `without_columns`
    are ids of those where grants on columns were not read."""

    queryset = Grant.objects.all()
    serializer_class = CellSerializer

    @extend_schema(parameters=[MatrixQuestionSerializer])
    def list(self, request: Request) -> Response:
        question = read_query(request, MatrixQuestionSerializer, repeatable=["instance"])
        try:
            found = ask_matrix(**question, user=self.person)
        except ValueError as error:
            raise _refusal(error) from error
        more = basis(found.reads.values()) | {"unknown": unknown_rows(found.unknown)}
        more["without_columns"] = [instance.pk for instance in found.without_columns]
        return self.page(found.listed(self.paginator.slice(request)), as_of=found.at, **more)


class CompareViewSet(ComputedViewSet):
    """Rights that two accounts, two instances, one account at two moments, or one account on the instances with a tag
    do not have alike. `unknown` are the instances without a complete answer; `absent` are those without the account.
    With `without_columns`, grants on columns are not compared, because no side has read them."""

    queryset = Grant.objects.all()
    serializer_class = DifferenceSerializer

    @extend_schema(parameters=[CompareQuestionSerializer])
    def list(self, request: Request) -> Response:
        question = read_query(request, CompareQuestionSerializer)
        at, other_at = question.pop("as_of"), question.pop("other_as_of")
        try:
            found = compare(Compared(**question, at=at, other_at=other_at, user=self.person))
        except ValueError as error:
            raise _refusal(error) from error
        unknown = {found.reads[name].instance: reason for name, reason in found.unknown.items()}
        more = basis(found.reads.values()) | {"unknown": unknown_rows(unknown), "absent": found.absent}
        more["without_columns"] = found.without_columns
        return self.page(list(found.differences()), **more)
