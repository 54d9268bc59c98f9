"""The answer to "who can" in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.models import Account

from .asking import Answered
from .question import ALL_POWERFUL, ANY_WRITE
from .questions import Access, Rows

#: Questions that every engine answers, beside the privileges that it names.
BROAD: dict[str, Promise] = {
    ANY_WRITE: _("any writing: INSERT, UPDATE, DELETE, TRUNCATE, MERGE"),
    ALL_POWERFUL: _("everything: superuser, SUPER, ALL, DBA, SYSDBA"),
}

#: How a right can be used, soonest first.
USABLE: dict[str, Promise] = {
    "login": _("at login"),
    "switch": _("after SET ROLE"),
    "grant": _("after a GRANT to itself"),
    "blocked": _("blocked"),
}
_RANKS = list(USABLE)


def usable(row: Access) -> str:
    """Return how and from where the account can use the right, or why not: "blocked: locked; no USAGE on s"."""
    word = _from_clients(str(USABLE[row.usable]), row.clients)
    return f"{word}: {'; '.join(row.blocked)}" if row.blocked else word


def usable_at_once(at_once: bool, clients: str = "") -> str:
    """Return how, and from which clients, the account can use a right that nothing blocks."""
    return _from_clients(str(USABLE["login" if at_once else "switch"]), clients)


def _from_clients(word: str, hosts: str) -> str:
    if not hosts:
        return word
    return gettext("%(usable)s, from clients that match %(hosts)s") % {"usable": word, "hosts": hosts}


def by_database() -> str:
    """Return why a list of all rights of an account says more than it has on one database."""
    return gettext(
        "Patterns of database names overlap here, or a privilege is revoked for a database: which grants on databases "
        "count depends on the database. Who can answers that for one; here are all."
    )


@dataclass(frozen=True)
class Chain:
    """A row with its words, for pages."""

    row: Access

    @property
    def usable(self) -> str:
        return usable(self.row)


@dataclass(frozen=True)
class Holder:
    """An account with its chains: those that can be used soonest first, of these the shortest."""

    account: Account
    chains: list[Chain]

    @property
    def first(self) -> Chain:
        return self.chains[0]

    @property
    def others(self) -> list[Chain]:
        return self.chains[1:]


class Holders(Sequence[Holder]):
    """The rows by account, in their order. They are read from the store, and put into words, by the slice."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._slices = rows.by_account()

    def __len__(self) -> int:
        return len(self._slices)

    @overload
    def __getitem__(self, index: int) -> Holder: ...
    @overload
    def __getitem__(self, index: slice) -> list[Holder]: ...
    def __getitem__(self, index: int | slice) -> Holder | list[Holder]:
        if isinstance(index, int):
            return self[index : index + 1 or None][0]
        slices = self._slices[index]
        if not slices:
            return []
        first = slices[0].start
        rows = self._rows[first : slices[-1].stop]
        return [_holder(rows[one.start - first : one.stop - first]) for one in slices]


def _holder(rows: Sequence[Access]) -> Holder:
    soonest = sorted(rows, key=lambda row: (_RANKS.index(row.usable), len(row.path)))
    return Holder(rows[0].account, [Chain(row) for row in soonest])


def question(answered: Answered) -> str:
    """Return the question in words: "Who may SELECT on shop.public.orders?"."""
    asked = answered.asked
    privilege = asked.privilege.strip()
    words = str(BROAD.get(privilege.lower(), privilege.upper()))
    if not answered.on:
        return gettext("Who may: %(privilege)s?") % {"privilege": words}
    return gettext("Who may: %(privilege)s, on %(kind)s %(path)s?") % {
        "privilege": words,
        "kind": asked.kind or gettext("object"),
        "path": answered.on,
    }


def summary(answered: Answered, n_accounts: int) -> str:
    """Return the answer in one line: how many accounts on how many instances, and what is not known."""
    answer = answered.answer
    at = f"{timezone.localtime(answer.at):%Y-%m-%d %H:%M %Z}"
    parts = [gettext("no known account")]
    if n_accounts:
        n = len({one.instance for one in answer.rows.holdings})
        accounts = ngettext("%(n)d account", "%(n)d accounts", n_accounts) % {"n": n_accounts}
        parts = [accounts + ngettext(" on %(n)d instance", " on %(n)d instances", n) % {"n": n}]
    if n := len(answer.unknown):
        parts.append(ngettext("%(n)d instance is not known", "%(n)d instances are not known", n) % {"n": n})
    if n := len(answered.absent):
        parts.append(ngettext("no such object on %(n)d instance", "no such object on %(n)d instances", n) % {"n": n})
    return gettext("As of %(at)s: %(answer)s.") % {"at": at, "answer": "; ".join(parts)}
