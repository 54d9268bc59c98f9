"""The accounts of one instance during a visit: as stored, as read, and their ids.

An account is identified by its id on the server, or by name and host where the engine has no ids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Set
from datetime import datetime
from functools import cached_property
from typing import Any

from engines.facts import AccountFact, AccountKey
from instances.hiding import hidden_on
from instances.models import Instance
from sync.registry import hold_shrink

from .bulk import insert
from .changes import ChangeLog, plain
from .models import FACT_FIELDS, Account, AccountFilter, Coverage, Grant, Membership, account_label
from .rows import AccountFacts

#: Fields that a visit stores: those of the fact, and whether a filter hides the account.
FIELDS = (*FACT_FIELDS, "is_filtered")
NEW_ACCOUNT = ("instance_id", "name", "host", "first_seen_at", "last_known", *FIELDS)


class AccountIndex:
    """Compares the accounts of an instance with the facts, writes the changes, and maps keys to ids.

    `same` maps the key of each fact to the stored account that it is; `new` are the keys without one, `back` those of
    accounts that were gone, `gone` the accounts that are gone now. `renamed` maps ids to the keys before and after.

    `write()` sets `ids`, the id of each fact by its key, and `seen_ids` and `gone_ids`. `visited_at` is when a visit
    last stored anything here. Raises ImplausibleShrink.
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
        self.permissions = facts.permissions
        self.facts = {fact.key: fact for fact in facts.inventory.accounts}
        self.unread = facts.inventory.unread
        self.unread_before = frozenset(coverage.unread if coverage else ())
        self.hidden = hidden_on(instance, AccountFilter)
        # In the order in which they went: of several that had a name, the last one counts.
        self.stored = list(Account.objects.filter(instance=instance).order_by("gone_at", "pk"))
        self.visited_at = coverage.read_at if coverage else None
        present = [account for account in self.stored if account.gone_at is None]
        self.same = self._matched(present)
        self.back = {key for key, account in self.same.items() if account.gone_at is not None}
        self.new = self.facts.keys() - self.same.keys()
        self.gone = self._gone(present, unlisted)
        if self.new and self.gone:
            self._find_probable_renames()
        self.renamed = {account.pk: (_key(account), key) for key, account in self.same.items() if _key(account) != key}
        self._hold_shrink(present)

    def _matched(self, present: list[Account]) -> dict[AccountKey, Account]:
        """Match by id, then by name and host where one side has no id; those that are there before those that are
        gone."""
        same: dict[AccountKey, Account] = {}
        gone = [account for account in self.stored if account.gone_at is not None]
        for accounts in (present, gone):
            left = self.facts.keys() - same.keys()
            by_id = {account.native_id: account for account in accounts if account.native_id} if left else {}
            by_key = {_key(account): account for account in accounts} if left else {}
            for key in left:
                if found := by_id.get(self.facts[key].native_id):
                    same[key] = found
            taken = {account.pk for account in same.values()}
            for key in left - same.keys():
                found = by_key.get(key)
                if found and found.pk not in taken and not (found.native_id and self.facts[key].native_id):
                    same[key] = found
        return same

    def _gone(self, present: list[Account], unlisted: Set[str]) -> list[Account]:
        """Where the list itself is incomplete, an account that is missing from it may still exist, unless another one
        has its name. A host that cannot be listed, and was never seen, may be a seen one under another name."""
        seen = {account.pk for account in self.same.values()}
        listed = {host for _, host in self.facts}
        strange = unlisted - {account.host for account in present} - {""}

        def may_exist(account: Account) -> bool:
            return bool(unlisted & {"", account.host}) or bool(strange and account.host not in listed)

        return [
            account
            for account in present
            if account.pk not in seen and (_key(account) in self.facts or not may_exist(account))
        ]

    def _find_probable_renames(self) -> None:
        """Where the engine has no ids: an account that is gone and a new one that are alike in their password's time,
        method, kind and all rights are one account, if each has only one that is like it."""

        def alike(account: Account | AccountFact) -> tuple[Any, ...] | None:
            known = not account.native_id and account.password_changed_at
            return (account.password_changed_at, account.auth_method, account.kind) if known else None

        new = _by(alike, (self.facts[key] for key in self.new))
        gone = {signature: accounts for signature, accounts in _by(alike, self.gone).items() if signature in new}
        if not gone:
            return
        stored = self._stored_rights([account for accounts in gone.values() for account in accounts])
        read = self._read_rights({fact.key for signature in gone for fact in new[signature]})
        for signature, accounts in gone.items():
            held = _by(lambda account: frozenset(stored[account.pk]), accounts)
            holding = _by(lambda fact: frozenset(read[fact.key]), new[signature])
            for rights in held.keys() & holding.keys():
                if len(held[rights]) == len(holding[rights]) == 1:
                    self.same[holding[rights][0].key] = held[rights][0]
        found = {account.pk for account in self.same.values()}
        self.gone = [account for account in self.gone if account.pk not in found]
        self.new -= self.same.keys()

    def _stored_rights(self, accounts: list[Account]) -> dict[int, set[Any]]:
        """Open grants and memberships, in both directions, by account."""
        rights: dict[int, set[Any]] = defaultdict(set)
        keys = {account.pk: _key(account) for account in self.stored}
        columns = ("kind", "database", "scope", "privilege", "denied", "grantable")
        rows = Grant.objects.filter(account__in=accounts, until=None).order_by()
        for pk, *grant in rows.values_list("account_id", *columns):
            rights[pk].add(tuple(grant))
        options = ("admin_option", "inherit", "set_option")
        for own, other in (("member", "role"), ("role", "member")):
            edges = Membership.objects.filter(**{f"{own}__in": accounts}, until=None).order_by()
            for pk, end, *values in edges.values_list(f"{own}_id", f"{other}_id", *options):
                rights[pk].add((other, keys[end], *values))
        return rights

    def _read_rights(self, keys: Set[AccountKey]) -> dict[AccountKey, set[Any]]:
        """The same of facts, by key."""
        rights: dict[AccountKey, set[Any]] = defaultdict(set)
        for grant in self.permissions.grants:
            if grant.account in keys:
                right = (grant.kind, grant.database, grant.scope, grant.privilege, grant.denied, grant.grantable)
                rights[grant.account].add(right)
        for fact in self.permissions.memberships:
            options = (fact.admin_option, fact.inherit, fact.set_option)
            if fact.member in keys:
                rights[fact.member].add(("role", fact.role, *options))
            if fact.role in keys:
                rights[fact.role].add(("member", fact.member, *options))
        return rights

    def _hold_shrink(self, present: list[Account]) -> None:
        """Accounts that every server has prove nothing: an empty server at the old address has them too. Nor do ids
        alone: another server uses the same numbers for other accounts, and a restored copy uses others."""
        own = {account.pk: account for account in present if not account.is_system and account.kind != "public"}
        now = {account.pk: key for key, account in self.same.items() if account.pk in own}
        kept = [pk for pk, key in now.items() if key == _key(own[pk])]
        moved = len(now) - len(kept)
        others = sum(
            bool(account.native_id and fact.native_id and account.native_id != fact.native_id)
            for account in own.values()
            if (fact := self.facts.get(_key(account)))
        )
        is_foreign = len(kept) < 2 or (others >= 10 and others * 2 > len(own))
        gone = sum(account.pk in own for account in self.gone) + (moved if is_foreign else 0)
        implausible = gone == len(own) or (gone >= 10 and gone * 2 > len(own)) or (len(kept) < 2 and others > 1)
        self.hold("accounts", len(own), gone, implausible=implausible)

    def hold(self, what: str, present: int, ending: int, *, implausible: bool) -> None:
        """Raise ImplausibleShrink when an implausible share of the rows would end and no user has confirmed as many."""
        hold_shrink(what, present, ending, confirmed=self.confirmed, implausible=implausible)

    def values(self, fact: AccountFact) -> dict[str, Any]:
        """FIELDS → values to store for a fact."""
        values = {field: getattr(fact, field) for field in FACT_FIELDS}
        values["is_filtered"] = self.hidden(fact.name, fact.is_system)
        return values

    def write(self, now: datetime, log: ChangeLog) -> None:
        self._write_gone(now, log)
        changed = []
        for key, account in self.same.items():
            before = {field: getattr(account, field) for field in FIELDS}
            after = self.values(self.facts[key])
            if key in self.back:
                log.event(account.pk, "reappeared")
            if account.pk in self.renamed:
                # A server without ids can only make it probable.
                log.renamed(account.pk, str(account), account_label(*key), is_certain=bool(account.native_id))
                account.name, account.host = key
            is_other = before != after or account.gone_at is not None or account.pk in self.renamed
            if is_other or account.last_known.keys() - self.unread:
                self._log(account, before, after, log)
                for field, value in after.items():
                    setattr(account, field, value)
                account.gone_at = None
                changed.append(account)
        names = ["name", "host"] if self.renamed else []
        Account.objects.bulk_update(changed, [*names, *FIELDS, "gone_at", "last_known"], batch_size=1000)
        self._write_new(now, log)
        self._keep_in_sight()
        self.seen_ids = set(self.ids.values())
        self.gone_ids = {account.pk for account in self.gone}

    def _write_gone(self, now: datetime, log: ChangeLog) -> None:
        """Also take renamed accounts out of the way: names may be swapped, and no two accounts have one at any time."""
        gone = [account.pk for account in self.gone]
        Account.objects.filter(pk__in=[*gone, *self.renamed]).update(gone_at=now)
        for pk in gone:
            log.event(pk, "disappeared")

    def _write_new(self, now: datetime, log: ChangeLog) -> None:
        self.ids = {key: account.pk for key, account in self.same.items()}
        if not self.new:
            return
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
        rows = Account.objects.filter(instance=self.instance, gone_at=None).order_by()
        for name, host, pk in rows.values_list("name", "host", "pk"):
            if (name, host) in self.new:
                self.ids[name, host] = pk
        same = {account.pk for account in self.same.values()}
        former = {_key(account) for account in self.stored if account.pk not in same}
        for key in new:
            log.event(self.ids[key], "recreated" if key in former else "appeared")

    def _keep_in_sight(self) -> None:
        """Set `unobserved_since` on accounts that were not seen, and clear it on those seen again."""
        seen = {account.pk for account in self.same.values()}
        lost = [account.pk for account in self.stored if account.pk not in seen and account.unobserved_since is None]
        found = [account.pk for account in self.stored if account.pk in seen and account.unobserved_since]
        if lost:
            Account.objects.filter(pk__in=lost).update(unobserved_since=self.visited_at)
        if found:
            Account.objects.filter(pk__in=found).update(unobserved_since=None)

    def _log(self, account: Account, before: dict[str, Any], after: dict[str, Any], log: ChangeLog) -> None:
        """Log the changes of an account, and keep the last value of fields that could not be read this time.

        A field that becomes unreadable has not changed; one that is readable again has changed only if its value
        differs from the last known one.
        """
        unread = {field for field in self.unread if after[field] is None}
        known = account.last_known | {field: plain(before[field]) for field in unread if before[field] is not None}
        never_read = {field for field in self.unread_before if before[field] is None} - known.keys()
        compared = {field: value for field, value in after.items() if field not in unread | never_read}
        if before["kind"] != after["kind"] and not account.native_id and self._is_adopting:
            # Earlier releases took locked users of such servers for roles.
            del compared["kind"]
        log.attributes(account.pk, before | known, compared, self.visited_at)
        account.last_known = {field: value for field, value in known.items() if field in unread}

    @cached_property
    def _is_adopting(self) -> bool:
        """Whether no visit has stored anything since the store began to hold the ids of objects."""
        return Grant.objects.filter(account__instance=self.instance, until=None, object_id=None).exists()

    @cached_property
    def names(self) -> dict[int, str]:
        """Account id → label."""
        labels = {account.pk: str(account) for account in self.stored}
        return labels | {pk: account_label(*key) for key, pk in self.ids.items()}


def _key(account: Account) -> AccountKey:
    return account.name, account.host


def _by(signature: Any, items: Iterable[Any]) -> dict[Any, list[Any]]:
    """Items by signature; those without one are left out."""
    found: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        if (value := signature(item)) is not None:
            found[value].append(item)
    return found
