"""The texts of skipped, held and failed visits, made from a code and its parameters in the reader's language.

Messages of servers and drivers, and texts stored by earlier releases, are shown as they are instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from engines.advice import Advice

Parameters = Mapping[str, Any]


class Text(NamedTuple):
    """What happened, and what to do. Both are %-formats with %(name)s only; `compute` adds values to the parameters."""

    message: str | Promise = ""
    hint: str | Promise = ""
    compute: Callable[[Parameters], Parameters] = lambda parameters: {}


#: Code → text. `register` adds those of each kind.
TEXTS = {
    "retired": Text(_("The instance was retired.")),
    "paused": Text(_("Paused after too many failures in a row. Resume it under Health of visits, or sync it by hand.")),
    "waiting": Text(_("A visit of this kind is waiting already, in session %(session)s.")),
    "worker_lost": Text(
        _("The worker that ran this visit died or lost the store; nothing of it was stored."),
        _("If this happens again, check the logs and the memory of the workers."),
    ),
    "internal_error": Text(hint=_("Internal error in Taifish or its store. See the worker's log.")),
    "store_full": Text(
        hint=_("The disk of Taifish's store is full. Free some space on it; nothing of this visit was stored.")
    ),
    "suspicious_shrink": Text(
        _("%(ending)s of %(present)s %(what)s would end at once; nothing was stored."),
        _(
            "Check whether they are really gone. If so, confirm. If not, the collection account has probably lost "
            "privileges, or the address now leads to another server."
        ),
        lambda parameters: {"what": gettext(parameters["what"])},
    ),
}


class _Values(dict[str, Any]):
    """Parameters of a record. One that an earlier release did not store is shown as "?"."""

    def __missing__(self, name: str) -> str:
        return "?"


def stored_advice(hint: str) -> Parameters:
    """What a record keeps of an engine's advice, to show it in the reader's language."""
    return {"advice": {"template": hint.template, "values": hint.values}} if isinstance(hint, Advice) else {}


def shown_advice(advice: str, parameters: Parameters) -> str:
    """An engine's advice in the reader's language, its names as written. Other advice, such as SQL, is as stored."""
    made = parameters.get("advice")
    return gettext(made["template"]).format(**made["values"]) if made and made["template"] else advice


def text_of(code: str, parameters: Parameters, message: str = "", hint: str = "") -> tuple[str, str]:
    """What happened and what to do, by a code. A stored message or hint takes precedence."""
    text = TEXTS.get(code, Text())
    values = _Values(parameters)
    values.update(text.compute(values))
    return message or str(text.message) % values, hint or str(text.hint) % values
