"""Which accounts the account filters hide. Pure: patterns and names in, yes or no out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from .models import AccountFilter


def matcher(filters: Iterable[AccountFilter]) -> Callable[[str, bool], bool]:
    """A function (name, is_system) → hidden, for one instance's active filters."""
    levels: dict[int, list[tuple[re.Pattern[str], bool, bool]]] = {}
    for item in filters:
        level = 2 if item.instance_id else 1 if item.engine else 0
        show = item.action == AccountFilter.Action.SHOW
        levels.setdefault(level, []).append((_compiled(item.pattern), item.system_only, show))
    ordered = [levels[level] for level in sorted(levels, reverse=True)]

    def hidden(name: str, is_system: bool) -> bool:
        for rules in ordered:
            verdicts = [
                show
                for pattern, system_only, show in rules
                if (is_system or not system_only) and pattern.fullmatch(name)
            ]
            if verdicts:
                return not any(verdicts)
        return False

    return hidden


def _compiled(pattern: str) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(char) or re.escape(char) for char in pattern), re.DOTALL)
