"""Databases of an abacus and their sizes in bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from engines.facts import DatabaseFact, Databases, SizeFact, Sizes, TableSize
from engines.reads import SIZES, Answers

from .reads import READS


def databases(session: Any) -> tuple[Answers, Databases]:
    answers = Answers(session, READS)
    answers.ask(SIZES)
    found = [DatabaseFact(name) for name, _ in answers.rows.get("bases", ())]
    return answers, Databases(found, answers.gaps_in(frozenset({"databases"})))


def sizes(session: Any, answers: Answers) -> Sizes:
    return Sizes([SizeFact(name, size) for name, size in answers.rows.get("bases", ())])


def table_sizes(session: Any, databases: Sequence[str], limit: int) -> Iterator[tuple[str, list[TableSize]]]:
    for name in databases:
        yield name, []
