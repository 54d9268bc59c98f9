"""Advice about failed reads: English here, translated by those who show it."""

from __future__ import annotations


def gettext_noop(text: str) -> str:
    """Mark a text for the catalogue of translations. This package does not translate."""
    return text


class Advice(str):
    """Advice in English, and what it is made of: a `template`, and `values` for its {names}, which are kept as written
    in every language."""

    template: str
    values: dict[str, str]

    def __new__(cls, template: str, **values: str) -> Advice:
        # Copies are made of the finished text alone.
        made = super().__new__(cls, template.format(**values) if values else template)
        made.template, made.values = template, values
        return made
