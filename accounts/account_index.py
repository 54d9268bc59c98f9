"""The accounts of one instance during a visit: as stored, as read, and their ids."""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime
from typing import Any

from engines.facts import AccountFact, AccountKey
from instances.hiding import hidden_on
from instances.models import Instance
from sync.registry import hold_shrink, vanished

from .bulk import insert
from .changes import ChangeLog, plain
from .models import FACT_FIELDS, Account, AccountFilter, Coverage, account_label
from .rows import AccountFacts, keep_in_sight

#: Fields that a visit stores: those of the fact, and whether a filter hides the account.
FIELDS = (*FACT_FIELDS, "is_filtered")
NEW_ACCOUNT = ("instance_id", "name", "host", "first_seen_at", "last_known", *FIELDS)


class AccountIndex:
    """Compares the accounts of an instance with the facts, writes the changes, and maps keys to ids.

    Raises ImplausibleShrink. `visited_at` is when a visit last stored anything here; `ids`, `seen_ids` and `gone_ids`
    are set by `write()`.
    """

    def __init__(
        self,
        instance: Instance,
        facts: AccountFacts,
        confirmed: int,
        unlisted: Set[str],
        coverage: Coverage | None,
    ) -> None:
        """`unlisted` holds the hosts with an incomplete list of accounts; "" stands for any host. `coverage` is that of
        the previous visit."""
        self.instance = instance
        self.confirmed = confirmed
        self.facts = {fact.key: fact for fact in facts.inventory.accounts}
        self.unread = facts.inventory.unread
        self.unread_before = frozenset(coverage.unread if coverage else ())
        self.hidden = hidden_on(instance, AccountFilter)
        stored = list(Account.objects.filter(instance=instance))
        self.stored = {(account.name, account.host): account for account in stored}
        self.visited_at = coverage.read_at if coverage else None
        present = {key for key, account in self.stored.items() if account.gone_at is None}
        self.new = self.facts.keys() - self.stored.keys()
        self.back = (self.facts.keys() & self.stored.keys()) - present
        # Where the list itself is incomplete, an account that is missing from it may still exist.
        self.gone = {key for key in present - self.facts.keys() if not unlisted & {"", key[1]}}
        # Accounts that every server has prove nothing: an empty server at the old address has them too.
        own = {key for key in present if not self.stored[key].is_system and self.stored[key].kind != "public"}
        ids = {key: self.stored[key].native_id for key in own if key in self.gone or key in self.facts}
        gone = vanished(ids, {key: fact.native_id for key, fact in self.facts.items()})
        self.hold("accounts", len(own), gone, implausible=gone == len(own) or (gone >= 10 and gone * 2 > len(own)))

    def hold(self, what: str, present: int, ending: int, *, implausible: bool) -> None:
        """Raise ImplausibleShrink when an implausible share of the rows would end and no user has confirmed as many."""
        hold_shrink(what, present, ending, confirmed=self.confirmed, implausible=implausible)

    def values(self, fact: AccountFact) -> dict[str, Any]:
        """FIELDS → values to store for a fact."""
        values = {field: getattr(fact, field) for field in FACT_FIELDS}
        values["is_filtered"] = self.hidden(fact.name, fact.is_system)
        return values

    def write(self, now: datetime, log: ChangeLog) -> None:
        new = sorted(self.new)
        values = [self.values(self.facts[key]) for key in new]
        first_seen_at = now.isoformat()
        insert(
            Account,
            NEW_ACCOUNT,
            (
                (self.instance.pk, *key, first_seen_at, "{}", *row.values())
                for key, row in zip(new, values, strict=True)
            ),
        )
        self.ids = self._stored_ids() if new else {key: account.pk for key, account in self.stored.items()}
        for key in new:
            log.event(self.ids[key], "appeared")
        changed = []
        for key in self.facts.keys() & self.stored.keys():
            account = self.stored[key]
            before = {field: getattr(account, field) for field in FIELDS}
            after = self.values(self.facts[key])
            if key in self.back:
                account.gone_at = None
                log.event(account.pk, "reappeared")
            if before != after or key in self.back or account.last_known.keys() - self.unread:
                self._log(account, before, after, log, back=key in self.back)
                for field, value in after.items():
                    setattr(account, field, value)
                changed.append(account)
        Account.objects.bulk_update(changed, [*FIELDS, "gone_at", "last_known"], batch_size=1000)
        keep_in_sight(Account, self.stored, self.facts.keys(), set(), self.visited_at)
        gone = [self.stored[key].pk for key in self.gone]
        Account.objects.filter(pk__in=gone).update(gone_at=now)
        for pk in gone:
            log.event(pk, "disappeared")
        self.seen_ids = {self.ids[key] for key in self.facts}
        self.gone_ids = set(gone)

    def _log(
        self, account: Account, before: dict[str, Any], after: dict[str, Any], log: ChangeLog, *, back: bool
    ) -> None:
        """Log the changes of an account, and keep the last value of fields that could not be read this time.

        A field that becomes unreadable has not changed; one that is readable again has changed only if its value
        differs from the last known one.
        """
        unread = {field for field in self.unread if after[field] is None}
        known = account.last_known | {field: plain(before[field]) for field in unread if before[field] is not None}
        never_read = {field for field in self.unread_before if before[field] is None} - known.keys()
        compared = {field: value for field, value in after.items() if field not in unread | never_read}
        log.attributes(account.pk, before | known, compared, back=back)
        account.last_known = {field: value for field, value in known.items() if field in unread}

    def _stored_ids(self) -> dict[AccountKey, int]:
        rows = Account.objects.filter(instance=self.instance).order_by().values_list("name", "host", "pk")
        return {(name, host): pk for name, host, pk in rows}

    def names(self) -> dict[int, str]:
        """Account id → label."""
        return {pk: account_label(name, host) for (name, host), pk in self.ids.items()}

    def id_of(self, key: AccountKey) -> int | None:
        """None for an account that appeared between the phases: the next visit reads it completely."""
        return self.ids[key] if key in self.facts else None
