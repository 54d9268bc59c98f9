"""SQL that makes an instance like its reference, for people to read and run. Taifish never runs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext

from access.revoking import held_of
from accounts.models import Account, Grant, Membership
from engines.registry import ENGINES
from engines.statements import Held, Remedy, Subject, is_printable
from engines.versions import version_of
from instances.models import Instance

from .compare import ACCOUNT, ATTRIBUTE, MEMBERSHIP, Compared, Deviation
from .models import Baseline

#: Comments have no names, which could end them.
AS_GRANTOR = "-- Another role granted this: run these lines as a superuser, or as a user who may SET ROLE to it."


def aligning(one: Compared, baseline: Baseline) -> Remedy:
    """The statements that remove the deviations which are not accepted, and sentences about those that have none: names
    with hidden characters, owners, attributes of accounts. Takes a fixed number of queries."""
    context = _Context(one, baseline)
    by_database: dict[str, list[str]] = {}
    by_hand = []
    # Accounts first: what follows is granted to them.
    for row in sorted(one.deviations, key=lambda row: (row.kind != ACCOUNT, row.kind != MEMBERSHIP)):
        lines = [*context.statements(row)]
        if lines and all(map(is_printable, lines)):
            by_database.setdefault(_place(row), []).extend(lines)
        else:
            by_hand.append(f"{row.label}: {row.sentence}")
    statements = []
    for database, lines in sorted(by_database.items()):
        if not is_printable(database):
            by_hand.append(gettext("No SQL is offered, because a name has hidden characters: database %r") % database)
        else:
            text = "\n".join(lines)
            statements.append(ENGINES[context.engine].inside(text, database) if database else text)
    if statements and context.has_new_users:
        statements[0] = f"-- {ENGINES[context.engine].account.NEW_USERS}\n{statements[0]}"
    return Remedy(statements, by_hand)


def _place(row: Deviation) -> str:
    return "" if row.kind == "database" else row.database


class _Context:
    """What statements need to know besides the deviations: what accounts are on either side, and who granted what is to
    be revoked."""

    def __init__(self, one: Compared, baseline: Baseline) -> None:
        instance = Instance.objects.only("engine", "product", "version").get(pk=one.instance.pk)
        self.engine, self.product, self.version = instance.engine, instance.product, version_of(instance.version)
        self.has_new_users = False
        names = {row.account for row in one.deviations}
        self.expected = _kinds_of(baseline, names)
        present = Account.objects.present().filter(instance=instance, name__in=names)
        self.found = {(name, host): kind for name, host, kind in present.values_list("name", "host", "kind")}
        taken = {row.item.removeprefix("no ") for row in one.deviations if row.found is not None}
        grants = Grant.objects.filter(account__in=present, until=None, privilege__in=taken).exclude(grantors=[])
        self.held = {
            (row.account.name, row.account.host, row.kind, row.scope, row.privilege, row.denied): held
            for row, held in held_of(grants.select_related("account"))
        }
        memberships = Membership.objects.filter(member__in=present, until=None).exclude(grantors=[])
        self.grantors = {
            tuple(key): grantors or []
            for *key, grantors in memberships.values_list(
                "member__name", "member__host", "role__name", "role__host", "grantors"
            )
        }

    def statements(self, row: Deviation) -> Iterator[str]:
        """Nothing if there is no statement."""
        if row.kind == ACCOUNT:
            kinds = self.expected if row.found is None else self.found
            kind = kinds.get((row.account, row.host)) or ""
            yield from self._account(row, kind)
        elif row.kind == MEMBERSHIP:
            yield from self._membership(row)
        elif row.kind != ATTRIBUTE:
            yield from self._grant(row)

    def _subject(self, row: Deviation, kind: str = "") -> Subject:
        key = row.account, row.host
        kind = kind or self.found.get(key) or self.expected.get(key) or ""
        return Subject(self.engine, row.account, row.host, kind, product=self.product, version=self.version)

    def _account(self, row: Deviation, kind: str) -> Iterator[str]:
        if sql := ENGINES[self.engine].account.exists(self._subject(row, kind), row.found is None):
            self.has_new_users |= row.found is None and kind == "user"
            yield sql

    def _membership(self, row: Deviation) -> Iterator[str]:
        account, subject, role = ENGINES[self.engine].account, self._subject(row), (row.scope, row.item)
        options = [*filter(None, (row.expected or "").split(","))]
        given = row.expected is not None and account.member(subject, role, options, True)
        if given == "":
            return
        # Options are not taken away by granting the membership again.
        if row.found is not None:
            for grantor in self.grantors.get((row.account, row.host, *role)) or [""]:
                yield account.member(subject, role, [], False, grantor)
        if given:
            yield given

    def _grant(self, row: Deviation) -> Iterator[str]:
        account = ENGINES[self.engine].account
        subject = self._subject(row)
        privilege = row.item.removeprefix("no ")
        denied, options = privilege != row.item, row.expected or row.found or ""
        held = Held(row.kind, privilege, row.scope, row.database, denied, options == "grantable")
        only_option = row.what == "different" and row.expected == ""
        give = row.expected is not None and not only_option
        sql = account.change(subject, held, give, only_option)
        if sql:
            yield sql
        stored = self.held.get((row.account, row.host, row.kind, row.scope, privilege, denied))
        if sql and stored and not give and not denied:
            for grantor in stored.grantors:
                if lines := account.as_grantor(sql, grantor):
                    yield from (AS_GRANTOR, *lines)


def _kinds_of(baseline: Baseline, names: set[str]) -> dict[tuple[str, str], Any]:
    """(name, host) → whether the account of the reference is a role or a user."""
    if baseline.reference_id:
        found = Account.objects.present().filter(instance=baseline.reference_id, name__in=names)
        return {(name, host): kind for name, host, kind in found.values_list("name", "host", "kind")}
    items = baseline.state["items"] if baseline.state else []
    return {(item[0], item[1]): item[6] for item in items if item[2] == ATTRIBUTE and item[5] == "kind"}
