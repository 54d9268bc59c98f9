"""Serializers that reject unknown fields and rows that the user may not see."""

from __future__ import annotations

from copy import copy
from typing import Any, NoReturn

from django.core.exceptions import ValidationError as ModelError
from django.db.models import QuerySet
from rest_framework import serializers

from console.suggestions import nearest
from console.visibility import shown_to
from engines.registry import engine_choices, engine_named


class _Shown:
    """A related field that finds only rows that the user may see."""

    def get_queryset(self) -> QuerySet:
        return shown_to(super().get_queryset(), self.context["request"].user)


class ShownKeyField(_Shown, serializers.PrimaryKeyRelatedField):
    pass


class ShownSlugField(_Shown, serializers.SlugRelatedField):
    """The error for an unknown name suggests one of those that the user may see."""

    def fail(self, key: str, **kwargs: Any) -> NoReturn:
        try:
            super().fail(key, **kwargs)
        except serializers.ValidationError as error:
            if key != "does_not_exist":
                raise
            known = self.get_queryset().order_by().values_list(self.slug_field, flat=True)
            text = str(error.detail[0]) + nearest(kwargs["value"], known)
            raise serializers.ValidationError(text, code=key) from None


class EngineField(serializers.ChoiceField):
    """The key of an engine, or another name of it: postgres, mariadb."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(engine_choices(), **kwargs)

    def to_internal_value(self, data: Any) -> str:
        return super().to_internal_value(engine_named(data) if isinstance(data, str) else data)


class StrictSerializer(serializers.Serializer):
    """A request body without unknown fields: with a misspelled one ignored, the request would apply to everything."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(self.initial_data.keys() - self.fields.keys()):
            reason = f"Unknown. Valid are: {', '.join(sorted(self.fields))}."
            raise serializers.ValidationError({name: [reason] for name in unknown})
        return attrs


class CleanSerializer(serializers.ModelSerializer):
    """A model serializer that calls the model's `full_clean()`, as the forms of the admin do."""

    serializer_related_field = ShownKeyField

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        row = copy(self.instance) if self.instance else self.Meta.model()
        for name, value in attrs.items():
            setattr(row, name, value)
        try:
            # REST framework's validators check unique fields, and no constraint of another kind.
            row.full_clean(validate_unique=False)
        except ModelError as error:
            raise serializers.ValidationError(serializers.as_serializer_error(error)) from error
        return {name: getattr(row, name) for name in attrs}
