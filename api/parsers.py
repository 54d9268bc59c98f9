"""The parser of request bodies. REST framework's views import this module, so it must not import them."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

#: Levels of lists and objects in a JSON body. Valid bodies have fewer than ten.
DEEPEST = 32


class ShallowJSONParser(JSONParser):
    """JSON of at most DEEPEST levels: code that walks it later recurses once per level."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: dict[str, Any] | None = None) -> Any:
        try:
            data = super().parse(stream, media_type, parser_context)
        except RecursionError:
            data = None
            is_deep = True
        else:
            is_deep = _is_deep(data)
        if is_deep:
            raise ParseError(_("The JSON is nested too deeply: at most %d levels.") % DEEPEST)
        return data


def _is_deep(data: Any) -> bool:
    level = [data]
    for _level in range(DEEPEST + 1):
        level = [container for container in level if isinstance(container, dict | list)]
        if not level:
            return False
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)]
    return True
