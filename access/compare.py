"""Compare effective rights: of two accounts, of two instances, of one account at two moments, or on many instances.

Each side is a statement of `matrix.Rights`, sorted by account and object, and so are all instances with a tag. What
differs is merged from these streams: only a batch of each is in memory.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext

from accounts.freshness import LastRead, last_reads
from accounts.models import Account, account_label
from console.suggestions import nearest
from console.visibility import shown_to

from .asking import WrongParameterError, chosen
from .matrix import Object, Right, Rights, Scope, rights_of, stream
from .moments import past
from .questions import Fields, unknown

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: Stands for a privilege in the rows about accounts: usable at login if the account can log in, else blocked.
EXISTS = "account exists"

#: Name and host of the account, path, kind, every.
Key = tuple[str, str, str, str, bool]


class Difference(NamedTuple):
    """A right that not all sides have, or not alike: `sides` are name of a side → right, `without` the other sides.
    `account` is "" where each side is one account."""

    account: str
    object: Object
    privilege: str
    sides: dict[str, Right]
    without: list[str]

    @property
    def what(self) -> str:
        """Return the privilege, or that the account exists, in the reader's language."""
        return gettext("account exists") if self.privilege == EXISTS else self.privilege


@dataclass(frozen=True)
class Part:
    """Sides at one moment (None: now), which one statement reads: instance id → name of the side. `accounts` are ids;
    None for all accounts of the instance."""

    sides: Mapping[int, str]
    reads: list[LastRead]
    at: datetime | None
    accounts: frozenset[int] | None

    def entries(self) -> Iterator[tuple[Key, str, dict[str, Right]]]:
        """Yield (key, side, privilege → right), sorted by key. An account has what PUBLIC has."""
        return heapq.merge(self._existing(), self._rights(), key=itemgetter(0))

    def _existing(self) -> Iterator[tuple[Key, str, dict[str, Right]]]:
        fields = Fields(self._accounts, self.at or timezone.now())
        for account in sorted(self._accounts, key=lambda one: (*self._label(one.name, one.host), one.instance_id)):
            # PUBLIC is there on each engine that has it.
            if account.kind != "public":
                usable = "blocked" if any(fields.blocking(account)) else "login"
                yield (
                    (*self._label(account.name, account.host), "", "", False),
                    self.sides[account.instance_id],
                    {EXISTS: Right(EXISTS, usable)},
                )

    def _rights(self) -> Iterator[tuple[Key, str, dict[str, Right]]]:
        ids = None if self.accounts is None else [*self.accounts, *self._everyone()]
        rights = Rights(Scope(None), self.reads, self.at, ids)
        order = 'a.name COLLATE "C", a.host COLLATE "C", ' if self.accounts is None else ""
        rows = (row for batch in stream(*rights.ordered(order)) for row in batch)
        for key, group in groupby(rows, key=self._key):
            by_instance: dict[int, list[tuple[str, int]]] = defaultdict(list)
            for row in group:
                by_instance[row[7]].append(row[3:5])
            for instance, found in by_instance.items():
                yield key, self.sides[instance], {right.privilege: right for right in rights_of(found)}

    def _key(self, row: tuple[Any, ...]) -> Key:
        every, kind, path, _rights, _usable, name, host, _instance = row
        return (*self._label(name, host), path, kind, every)

    def _label(self, name: str, host: str) -> tuple[str, str]:
        return (name, host) if self.accounts is None else ("", "")

    @cached_property
    def _accounts(self) -> list[Account]:
        found = Account.objects.at(self.at).filter(instance__in=self.sides)
        return list(found if self.accounts is None else found.filter(pk__in=self.accounts))

    def _everyone(self) -> list[int]:
        """Return the ids of PUBLIC, where the accounts are."""
        places = {(one.instance_id, host) for one in self._accounts for host in ("", one.host)}
        everyone = Account.objects.filter(instance__in=self.sides, kind="public")
        return [one.pk for one in everyone if (one.instance_id, one.host) in places]


@dataclass(frozen=True)
class Comparison:
    """What differs between sides. `reads` are name of a side → its last read, `unknown` the sides without a complete
    answer → reason, and `absent` the sides without the account, which are left out. With `without_columns`, no side
    has read grants on columns, so they are not compared."""

    parts: list[Part]
    reads: dict[str, LastRead]
    unknown: dict[str, str]
    absent: list[str]
    without_columns: bool

    def differences(self) -> Iterator[Difference]:
        """Yield what not all sides have alike, by account and object."""
        names = [name for name in self.reads if name not in self.absent]
        entries = heapq.merge(*(part.entries() for part in self.parts), key=itemgetter(0))
        for key, group in groupby(entries, key=itemgetter(0)):
            by_privilege: dict[str, dict[str, Right]] = defaultdict(dict)
            for _key, side, rights in group:
                for privilege, right in rights.items():
                    by_privilege[privilege][side] = right
            for privilege, sides in sorted(by_privilege.items()):
                without = [name for name in names if name not in sides]
                if without or len({*sides.values()}) > 1:
                    account, host, path, kind, every = key
                    yield Difference(account_label(account, host), Object(every, kind, path), privilege, sides, without)


@dataclass(frozen=True)
class Asked:
    """One side, the other where it differs from it, and for an account on many instances a tag. `instance` and
    `account` are names; without an account, all accounts are compared by name."""

    instance: str = ""
    account: str = ""
    at: datetime | None = None
    other_instance: str = ""
    other_account: str = ""
    other_at: datetime | None = None
    tag: str = ""
    user: User | None = None


def compare(asked: Asked) -> Comparison:
    """Compare the sides. Raises ValueError, which says what to change."""
    return _across(asked) if asked.tag else _both(asked)


def _both(asked: Asked) -> Comparison:
    if not asked.instance:
        raise WrongParameterError("instance", gettext("Choose an instance or a tag."))
    other = (asked.other_instance or asked.instance, asked.other_account or asked.account, asked.other_at or asked.at)
    if bool(asked.account) != bool(other[1]):
        raise WrongParameterError("account", gettext("Compare an account with an account: name both."))
    sides = [_side(asked.user, *one) for one in ((asked.instance, asked.account, asked.at), other)]
    if sides[0][0] == sides[1][0]:
        raise ValueError(
            gettext("Both sides are the same. Choose another instance, account or moment for one of them.")
        )
    return _comparison([part for _name, part in sides], [])


def _side(user: User | None, name: str, label: str, at: datetime | None) -> tuple[str, Part]:
    """Return the name of a side, and what it consists of."""
    moment = past(at)
    (read,) = last_reads(chosen([name], "", "", user), moment)
    words = f"{read.instance}: {label}" if label else str(read.instance)
    if at:
        words += f", {timezone.localtime(at):%Y-%m-%d %H:%M}"
    ids = None
    if label:
        named = _named(label, Account.objects.filter(instance=read.instance))
        if not named:
            known = Account.objects.filter(instance=read.instance, gone_at=None).values_list("name", flat=True)
            text = gettext("No visit has seen the account “%(account)s” on %(instance)s.")
            words_ = {"account": label, "instance": read.instance}
            raise WrongParameterError("account", text % words_ + nearest(label, known))
        ids = frozenset(named)
    return words, Part({read.instance.pk: words}, [read], at, ids)


def _across(asked: Asked) -> Comparison:
    if asked.other_instance or asked.other_account or asked.other_at or asked.instance:
        raise ValueError(gettext("With a tag, give an account and a moment only."))
    if not asked.account:
        raise WrongParameterError(
            "account", gettext("Name the account that is compared on the instances with the tag.")
        )
    reads = last_reads(chosen([], asked.tag, "", asked.user), past(asked.at))
    instances = [read.instance.pk for read in reads]
    ids = _named(asked.account, shown_to(Account.objects.filter(instance__in=instances), asked.user))
    if not ids:
        raise WrongParameterError(
            "account", gettext("No account on these instances has the name “%s”.") % asked.account
        )
    there = {*Account.objects.at(asked.at).filter(pk__in=ids).values_list("instance", flat=True)}
    part = Part({read.instance.pk: str(read.instance) for read in reads}, reads, asked.at, frozenset(ids))
    return _comparison([part], [str(read.instance) for read in reads if read.instance.pk not in there])


def _comparison(parts: list[Part], absent: list[str]) -> Comparison:
    reads = {part.sides[read.instance.pk]: read for part in parts for read in part.reads}
    # Only depth C reads columns, and most instances are read less deeply. If some are, the others are not like them.
    without_columns = all("column" in read.beyond for read in reads.values())
    scope = Scope(None)
    reasons = {
        part.sides[instance.pk]: reason
        for part in parts
        for instance, reason in unknown(
            scope.widest, part.reads, part.at, scope.needs(), {"column"} if without_columns else ()
        ).items()
    }
    return Comparison(parts, reads, reasons, absent, without_columns)


def _named(label: str, accounts: QuerySet[Account]) -> list[int]:
    """Return the ids of the accounts with this label: a name, or a name and a host joined by "@"."""
    labelled = Q(name=label)
    for n, char in enumerate(label):
        if char == "@":
            labelled |= Q(name=label[:n], host=label[n + 1 :])
    return list(accounts.filter(labelled).exclude(kind="public").order_by().values_list("pk", flat=True))


def counts(differences: Iterable[Difference]) -> dict[str, int]:
    """Return how many rights not all sides have, and how many all have, but not alike."""
    found = {"missing": 0, "different": 0}
    for one in differences:
        found["missing" if one.without else "different"] += 1
    return found
