"""Model fields that say what their column holds. The table, and so the migrations, are those of the plain field."""

from __future__ import annotations

from typing import Any

from django.db import models


class _PlainInMigrations(models.Field):
    def deconstruct(self) -> tuple[str, str, Any, Any]:
        name, _path, args, kwargs = super().deconstruct()
        return name, f"django.db.models.{self.get_internal_type()}", args, kwargs


class NameField(_PlainInMigrations, models.TextField):
    """A name read from a managed server: hostile input, which pages show by `console.templatetags.names.visible`."""


class BytesField(_PlainInMigrations, models.BigIntegerField):
    """A size in bytes."""
