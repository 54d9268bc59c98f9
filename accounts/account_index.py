"""The accounts of one instance during a visit: as stored, as read, and their ids."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Set
from datetime import datetime
from typing import Any

from django.db.models import F, TextField, Value
from django.db.models.functions import Cast, Concat

from engines.facts import AccountFact, AccountKey
from instances.hiding import hidden_on
from instances.models import Instance
from sync.registry import hold_shrink, same_server

from .bulk import insert
from .changes import ChangeLog, plain
from .models import FACT_FIELDS, Account, AccountFilter, Coverage, Grant, Membership, account_label
from .rows import AccountFacts, keep_in_sight

#: Fields that a visit stores: those of the fact, and whether a filter hides the account.
FIELDS = (*FACT_FIELDS, "is_filtered")
NEW_ACCOUNT = ("instance_id", "name", "host", "first_seen_at", "last_known", *FIELDS)

#: What RENAME USER leaves as it is, besides grants and memberships.
KEPT = ("kind", "auth_method", "password_changed_at", "is_locked", "connection_limit")


class AccountIndex:
    """Compares the accounts of an instance with the facts, writes the changes, and maps keys to ids.

    An account is the one with its id on the server, or with its name and host where the engine has no ids. So an
    account that was dropped and created again is another one.

    Raises ImplausibleShrink. `visited_at` is when a visit last stored anything here. `back` and `renamed` are among
    `matched`, key → stored account; `new` are the keys of the others. `ids`, `seen_ids`, `gone_ids` and `names` (id →
    label) are set by `write()`, and `new_names` and `new_hosts`: old → new label and host of accounts that were renamed
    for certain.
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
        # The latest of each name last.
        self.stored = list(Account.objects.filter(instance=instance).order_by("first_seen_at", "pk"))
        self.visited_at = coverage.read_at if coverage else None
        present = [account for account in self.stored if account.gone_at is None]
        self.matched = self._match(present)
        self.new = self.facts.keys() - self.matched.keys()
        there = {account.pk for account in self.matched.values()}
        # Where the list itself is incomplete, an account that is missing from it may still exist, unless its name is
        # taken. A container that is not listed may be one that had another name.
        hosts = {account.host for account in present}
        silent = hosts - {host for _, host in self.facts} if unlisted - hosts else set()
        missing = unlisted | silent
        gone = [
            account
            for account in present
            if account.pk not in there
            and (not missing & {"", account.host} or (account.name, account.host) in self.facts)
        ]
        self.probable = self._probably_renamed(facts, gone) if gone and self.new else {}
        self.matched |= self.probable
        self.new -= self.probable.keys()
        renamed = {account.pk for account in self.probable.values()}
        self.gone = [account for account in gone if account.pk not in renamed]
        self.back = {key for key, account in self.matched.items() if account.gone_at}
        self.renamed = {key for key, account in self.matched.items() if (account.name, account.host) != key}
        # Accounts that every server has prove nothing: an empty server at the old address has them too.
        own = [account for account in present if not account.is_system and account.kind != "public"]
        ending = [account for account in own if account in self.gone]
        # Nor does the first account of an engine, which has the same id everywhere.
        recreated = sum((account.name, account.host) in self.facts for account in ending)
        implausible = len(ending) == len(own) or (len(ending) >= 10 and len(ending) * 2 > len(own))
        implausible = implausible or (recreated > 1 and recreated > len(own) - len(ending))
        self.hold("accounts", len(own), len(ending), implausible=implausible)

    def hold(self, what: str, present: int, ending: int, *, implausible: bool) -> None:
        """Raise ImplausibleShrink when an implausible share of the rows would end and no user has confirmed as many."""
        hold_shrink(what, present, ending, confirmed=self.confirmed, implausible=implausible)

    def _match(self, present: Iterable[Account]) -> dict[AccountKey, Account]:
        """Find the stored account of each fact. New names are believed by `same_server`; an id with that of a container
        ("GUID/107") is of one server."""
        by_key = {(account.name, account.host): account for account in present}
        by_id = {account.native_id: account for account in present if account.native_id}
        same = {key for key, fact in self.facts.items() if key in by_key and by_key[key].native_id == fact.native_id}
        moved = {
            key: by_id[fact.native_id]
            for key, fact in self.facts.items()
            if key not in same and fact.native_id in by_id
        }
        ids = {key: account.native_id for key, account in by_key.items() if not account.is_system}
        if not same_server(ids, {key: fact.native_id for key, fact in self.facts.items()}):
            moved = {key: account for key, account in moved.items() if "/" in account.native_id}
        matched = {key: by_key[key] for key in same} | moved
        taken = {account.pk for account in matched.values()}
        # Accounts that had no id are adopted by name, and accounts that were gone come back.
        gone = {(account.name, account.host): account for account in self.stored if account.gone_at}
        for key, fact in self.facts.items():
            if key not in matched:
                for account in filter(None, (by_key.get(key), gone.get(key))):
                    alike = not (account.native_id and fact.native_id) or account.native_id == fact.native_id
                    if alike and account.pk not in taken:
                        matched[key] = account
                        break
        return matched

    def _probably_renamed(self, facts: AccountFacts, gone: Iterable[Account]) -> dict[AccountKey, Account]:
        """Match accounts that are gone with new ones that are alike in everything that RENAME USER keeps, on engines
        without ids. Only one of each may be alike."""
        came = [self.facts[key] for key in self.new if not self.facts[key].native_id]
        left = [account for account in gone if not account.native_id and account.password_changed_at]
        kept = {tuple(getattr(fact, field) for field in KEPT) for fact in came if fact.password_changed_at}
        left = [account for account in left if tuple(getattr(account, field) for field in KEPT) in kept]
        if not left:
            return {}
        held: dict[AccountKey, set[Any]] = defaultdict(set)
        keys = {fact.key for fact in came}
        for grant in facts.permissions.grants:
            if grant.account in keys:
                held[grant.account].add((*grant[1:5], grant.grantable, grant.denied))
        for fact in facts.permissions.memberships:
            if fact.member in keys:
                held[fact.member].add((fact.role, fact.admin_option, fact.inherit))
            if fact.role in keys:
                held[fact.role].add(("member", fact.member, fact.admin_option, fact.inherit))
        had: dict[int, set[Any]] = defaultdict(set)
        grants = Grant.objects.filter(account__in=left, until=None).order_by()
        for pk, *row in grants.values_list("account", "kind", "privilege", "scope", "database", "grantable", "denied"):
            had[pk].add(tuple(row))
        options = ("admin_option", "inherit")
        for pk, name, host, *row in Membership.objects.filter(member__in=left, until=None).values_list(
            "member", "role__name", "role__host", *options
        ):
            had[pk].add(((name, host), *row))
        for pk, name, host, *row in Membership.objects.filter(role__in=left, until=None).values_list(
            "role", "member__name", "member__host", *options
        ):
            had[pk].add(("member", (name, host), *row))

        def evidence(one: Account | AccountFact, rights: set[Any]) -> tuple[Any, ...]:
            return (*(getattr(one, field) for field in KEPT), frozenset(rights))

        before = [(evidence(account, had[account.pk]), account) for account in left]
        after = [(evidence(fact, held[fact.key]), fact.key) for fact in came if fact.password_changed_at]
        counts = Counter(seen for seen, _ in before), Counter(seen for seen, _ in after)
        by_evidence = dict(before)
        return {key: by_evidence[seen] for seen, key in after if counts[0][seen] == counts[1][seen] == 1}

    def values(self, fact: AccountFact) -> dict[str, Any]:
        """FIELDS → values to store for a fact."""
        values = {field: getattr(fact, field) for field in FACT_FIELDS}
        values["is_filtered"] = self.hidden(fact.name, fact.is_system)
        return values

    def write(self, now: datetime, log: ChangeLog) -> None:
        keep_in_sight(
            Account,
            {account.pk: account for account in self.stored},
            {account.pk for account in self.matched.values()},
            set(),
            self.visited_at,
        )
        # First those that are gone, then the others under a name that is free, since one may take the name of another.
        gone = [account.pk for account in self.gone]
        Account.objects.filter(pk__in=gone).update(gone_at=now)
        self.gone_ids = set(gone)
        for pk in gone:
            log.event(pk, "disappeared")
        self.new_names, self.new_hosts = {}, {}
        if self.renamed:
            moving = [self.matched[key].pk for key in self.renamed]
            free = Concat(Value("\x01"), Cast(F("pk"), TextField()))
            Account.objects.filter(pk__in=moving).update(name=free)
        changed = [account for key, account in self.matched.items() if self._change(key, account, log)]
        fields = [*FIELDS, "gone_at", "last_known", *(["name", "host"] if self.renamed else [])]
        Account.objects.bulk_update(changed, fields, batch_size=1000)
        self._insert(now, log)
        self.ids = {key: account.pk for key, account in self.matched.items()}
        if self.new:
            rows = Account.objects.filter(instance=self.instance, gone_at=None).order_by()
            self.ids |= {(name, host): pk for name, host, pk in rows.values_list("name", "host", "pk")}
        known = {(account.name, account.host) for account in self.stored}
        for key in sorted(self.new):
            log.event(self.ids[key], "recreated" if key in known and self.facts[key].native_id else "appeared")
        self.seen_ids = {self.ids[key] for key in self.facts}
        self.names = {account.pk: str(account) for account in self.stored}
        self.names |= {pk: account_label(*key) for key, pk in self.ids.items()}

    def _change(self, key: AccountKey, account: Account, log: ChangeLog) -> bool:
        """Log how an account differs from its fact, and give it the new values. Returns whether it is to be saved."""
        before = {field: getattr(account, field) for field in FIELDS}
        after = self.values(self.facts[key])
        if key in self.back:
            account.gone_at = None
            log.event(account.pk, "reappeared")
        if key in self.renamed:
            old, old_host = str(account), account.host
            account.name, account.host = key
            certain = key not in self.probable
            log.renamed(account.pk, old, str(account), certain=certain)
            if certain:
                self.new_names[old] = str(account)
                self.new_hosts[old_host] = account.host
        differs = before != after or key in self.back or key in self.renamed
        if differs or account.last_known.keys() - self.unread:
            self._log(account, before, after, log)
            for field, value in after.items():
                setattr(account, field, value)
            return True
        return False

    def _insert(self, now: datetime, log: ChangeLog) -> None:
        new = sorted(self.new)
        first_seen_at = now.isoformat()
        rows = ((self.instance.pk, *key, first_seen_at, "{}", *self.values(self.facts[key]).values()) for key in new)
        insert(Account, NEW_ACCOUNT, rows)

    def _log(self, account: Account, before: dict[str, Any], after: dict[str, Any], log: ChangeLog) -> None:
        """Log the changes of an account, and keep the last value of fields that could not be read this time.

        A field that becomes unreadable has not changed; one that is readable again has changed only if its value
        differs from the last known one.
        """
        unread = {field for field in self.unread if after[field] is None}
        known = account.last_known | {field: plain(before[field]) for field in unread if before[field] is not None}
        never_read = {field for field in self.unread_before if before[field] is None} - known.keys()
        compared = {field: value for field, value in after.items() if field not in unread | never_read}
        log.attributes(account.pk, before | known, compared)
        account.last_known = {field: value for field, value in known.items() if field in unread}

    def id_of(self, key: AccountKey) -> int | None:
        """None for an account that appeared between the phases: the next visit reads it completely."""
        return self.ids[key] if key in self.facts else None
