"""Suggest the spelling of a word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from django.utils.translation import gettext as _

from engines.statements import printable


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "Did you mean …?" with the most similar known word, or ""."""
    return did_you_mean(similar(word, known))


def did_you_mean(word: str) -> str:
    """Return the sentence that suggests a word, "" without one. Hidden characters of a name are escaped."""
    return _(" Did you mean %s?") % printable(word) if word else ""


def similar(word: str, known: Iterable[str]) -> str:
    """Return the most similar known word, or ""."""
    names = {one.lower(): one for one in sorted(known)}
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.5)
    contained = [one for one in names if one in word.lower() or word.lower() in one]
    found = close or contained[:1]
    return names[found[0]] if found else ""
