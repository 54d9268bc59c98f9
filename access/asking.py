"""The question "who can" as the page, the API and the command ask it, with one vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from console.suggestions import nearest
from console.visibility import shown_to
from engines.facts import GRANT_KINDS
from engines.paths import segments
from engines.registry import ENGINES, engine_named
from instances.models import Instance
from tagging.models import Tag

from .question import Question
from .questions import Answer, who_can
from .seen import Presence, did_you_mean, presence

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: Parameters of the question, in page, API and command.
WORDS = ("privilege", "on", "kind", "instance", "tag", "engine", "as_of")


class WrongParameterError(ValueError):
    """A parameter that names something that is not there."""

    def __init__(self, parameter: str, text: str) -> None:
        super().__init__(text)
        self.parameter = parameter


@dataclass(frozen=True)
class Asked:
    """Who has `privilege` on the object with the path `on` (empty: the whole instance), on the chosen instances, at a
    moment (None: now), among what `user` may see. `instance` are names or ids. `scope` is the earlier name of `on`."""

    privilege: str
    on: str = ""
    kind: str = ""
    instance: Sequence[str] = ()
    tag: str = ""
    engine: str = ""
    at: datetime | None = None
    user: User | None = None
    scope: str = ""


@dataclass(frozen=True)
class Answered:
    """The answer to a question about the path `on`. `absent` are instances on which visits show that there is no such
    object; the answer leaves them out, and `answer.reads` has them. `warnings` are sentences."""

    asked: Asked
    on: str
    answer: Answer
    absent: list[Instance]
    warnings: list[str]


def ask(asked: Asked) -> Answered:
    """Answer a question. Raises ValueError, which says what to change, also for what no visit has seen."""
    on, warnings = _object(asked)
    if asked.kind and asked.kind not in GRANT_KINDS:
        raise WrongParameterError("kind", _("There is no kind “%s”.") % asked.kind + nearest(asked.kind, GRANT_KINDS))
    instances = chosen(asked.instance, asked.tag, asked.engine, asked.user)
    answer, found = _answer(asked, on, instances)
    if not found.present and (folded := _folded(on, answer)) != on:
        by_case = _answer(asked, folded, instances)
        if by_case[1].present:
            warnings.append(_("Read as %s: the engine does so with names without quotes.") % folded)
            on, (answer, found) = folded, by_case
    if found.absent and not (found.present or found.unknown or found.unlisted):
        raise ValueError(_("No visit has seen %s.") % on + did_you_mean(segments(on), list(answer.reads)))
    if found.unlisted and found.present <= found.unlisted:
        warnings.append(
            _(
                "No grant names %s itself, and visits have not listed such objects on all instances. The answer holds "
                "if the object exists."
            )
            % on
            + did_you_mean(segments(on), list(answer.reads))
        )
    return Answered(asked, on, *_without_absent(answer, found), warnings)


def _object(asked: Asked) -> tuple[str, list[str]]:
    """Return the path that is asked about, and warnings about the earlier name of the parameter."""
    if not asked.scope:
        return asked.on.strip(), []
    if asked.on:
        raise ValueError(_("Give “on” only: “scope” is its earlier name."))
    return asked.scope.strip(), [_("“scope” is now called “on”. The next release refuses “scope”.")]


def _answer(asked: Asked, on: str, instances: QuerySet[Instance] | None) -> tuple[Answer, Presence]:
    answer = who_can(asked.privilege, on, kind=asked.kind, at=asked.at, instances=instances, user=asked.user)
    if instances is not None and not answer.reads:
        engines = ", ".join(sorted({ENGINES[one.engine].label for one in instances}))
        raise ValueError(
            _("%(engines)s cannot have the path “%(path)s” for the kind: %(kind)s.")
            % {"engines": engines, "path": on, "kind": asked.kind or _("object")}
        )
    return answer, presence(Question.parse(asked.privilege, on, asked.kind), list(answer.reads.values()))


def _without_absent(answer: Answer, found: Presence) -> tuple[Answer, list[Instance]]:
    reads, absent = answer.reads, found.absent
    unknown = {reads[pk].instance: reason for pk, reason in found.unknown.items()} | answer.unknown
    kept = replace(
        answer,
        rows=answer.rows.without(absent) if absent else answer.rows,
        unknown={instance: reason for instance, reason in unknown.items() if instance.pk not in absent},
    )
    return kept, [read.instance for read in reads.values() if read.instance.pk in absent]


def _folded(on: str, answer: Answer) -> str:
    """Return the path as the engines of the instances read it without quotes; the path itself if they differ."""
    engines = {read.instance.engine for read in answer.reads.values()}
    ways = {ENGINES[engine].semantics.unquoted for engine in engines} - {""}
    if '"' in on or len(ways) != 1:
        return on
    return on.lower() if ways == {"lower"} else on.upper()


def chosen(names: Sequence[str], tag: str, engine: str, user: User | None) -> QuerySet[Instance] | None:
    """Return the instances with one of these names or ids, with the tag, and of the engine; None for all.

    Raises ValueError for those that do not exist or that the user may not see, with suggestions.
    """
    names = [name.strip() for name in names if name.strip()]
    if not (names or tag or engine):
        return None
    shown = shown_to(Instance.objects.all(), user)
    found = shown
    if names:
        by_name = dict(shown.filter(name__in=names).values_list("name", "pk"))
        ids = [int(name) for name in names if name not in by_name and name.isdecimal() and len(name) < 19]
        by_id = {str(pk): pk for pk in shown.filter(pk__in=ids).values_list("pk", flat=True)}
        for name in names:
            if name not in by_name and name not in by_id:
                raise WrongParameterError(
                    "instance",
                    _("There is no instance “%s”.") % name + nearest(name, shown.values_list("name", flat=True)),
                )
        found = found.filter(pk__in=[*by_name.values(), *by_id.values()])
    if tag:
        tags = shown_to(Tag.objects.all(), user)
        if not tags.filter(slug=tag).exists():
            raise WrongParameterError(
                "tag", _("There is no tag “%s”.") % tag + nearest(tag, tags.values_list("slug", flat=True))
            )
        found = found.filter(tags__slug=tag)
    if engine:
        engine = engine_named(engine)
        if engine not in ENGINES:
            raise WrongParameterError("engine", _("There is no engine “%s”.") % engine + nearest(engine, ENGINES))
        found = found.filter(engine=engine)
    if not found.exists():
        raise ValueError(_("No instance has all of that: instance, tag, engine."))
    return found
