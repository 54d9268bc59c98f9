"""Search by words, as the lists of the admin do: each word is contained in one of the fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

from django.db.models import Q
from django.db.models.functions import Collate, Lower, Upper
from django.db.models.lookups import Contains
from django.utils.text import smart_split, unescape_string_literal


def words(text: str) -> list[str]:
    """Return the words of a search; blanks belong to a word in quotes."""
    found = (
        unescape_string_literal(word) if len(word) > 1 and word[0] == word[-1] in "'\"" else word
        for word in smart_split(text)
    )
    return [word for word in found if word]


def containing(text: str, fields: Sequence[str], more: Callable[[str], Q] = lambda word: Q()) -> Q:
    """Condition: each word is in one of the fields, without case, or meets the condition `more(word)`."""

    def of(word: str) -> Q:
        return reduce(Q.__or__, (_contains(field, word) for field in fields)) | more(word)

    return reduce(Q.__and__, map(of, words(text)), Q())


def _contains(field: str, word: str) -> Q:
    """As icontains; an ASCII word is looked for without the cost of the letters that it does not have."""
    if word.isascii():
        return Q(Contains(Lower(Collate(field, "C")), word.lower()))
    return Q(**{f"{field}__icontains": word})


def name_key(name: str) -> Collate:
    """The expression of an index of names: without case, in the order of bytes, so that it finds beginnings."""
    return Collate(Upper(name), "C")
