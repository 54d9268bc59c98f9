"""Patterns that people write: * stands for any characters, ? for one."""

from __future__ import annotations

import re


def has_wildcards(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def like(pattern: str, text: str) -> bool:
    """Whether the whole text matches the pattern."""
    return bool(re.fullmatch(regex(pattern), text, re.DOTALL))


def regex(pattern: str) -> str:
    """Return the pattern as a regular expression, for Python and for the store."""
    wild = {"*": ".*", "?": "."}
    return "".join(wild.get(char) or re.escape(char) for char in pattern)
