"""The OpenAPI description: errors and authentication, which drf-spectacular does not derive from viewsets."""

from __future__ import annotations

import inspect
import re
from typing import Any

from django.utils.translation import override
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent

#: The shape of every error, as api/errors.py makes it.
ERROR = {
    "type": "object",
    "description": (
        "Why a request was refused. `detail` says it in a sentence. Where single fields or parameters are wrong, each "
        "is named with its reasons instead, and `non_field_errors` holds what concerns several; a field that is itself "
        "a list or an object holds the same once more, by position or name."
    ),
    "properties": {"detail": {"type": "string"}},
    "additionalProperties": True,
    "minProperties": 1,
    "example": {"detail": "Not found."},
}


#: Action of a viewset for single rows → what it does.
VERBS = {
    "create": "Add one %s",
    "retrieve": "Show one %s",
    "update": "Replace one %s",
    "partial_update": "Change one %s",
    "destroy": "Delete one %s",
}


class Schema(AutoSchema):
    """drf-spectacular's, with the errors that every operation may answer."""

    def get_summary(self) -> str:
        """The first sentence about the action, or what it does with rows of its model."""
        action = getattr(self.view, "action", "")
        doc = getattr(getattr(self.view, action, None), "__doc__", None)
        if not doc and action in VERBS:
            with override("en"):
                return VERBS[action] % self.view.queryset.model._meta.verbose_name
        doc = doc or inspect.getdoc(type(self.view)) or ""
        return re.split(r"[.:;](?:\s|$)", " ".join(doc.split()), maxsplit=1)[0]

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation = super().get_operation(*args, **kwargs)
        if operation:
            error = ResolvedComponent("Error", ResolvedComponent.SCHEMA, schema=ERROR, object="Error")
            self.registry.register_on_missing(error)
            content = {"application/json": {"schema": error.ref}}
            operation["responses"]["4XX"] = {"description": "Refused.", "content": content}
        return operation


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = "taifish.tokens.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A token made in the admin or by POST /api/tokens/."}


class PasswordScheme(OpenApiAuthenticationExtension):
    target_class = "taifish.login.PasswordAuthentication"
    name = "password"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "basic"}
