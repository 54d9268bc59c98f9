"""Merging the rows of a catalogue that state the same fact."""

from __future__ import annotations

from collections.abc import Iterable

from .facts import AccountKey, GrantFact, MembershipFact

GRANT_OPTION = "GRANT OPTION"


class FactSet:
    """Facts by identity. Rows for the same right become one fact with their options or-ed and their grantors together.
    Rows of accounts that are not in `accounts` are ignored."""

    def __init__(self, accounts: Iterable[AccountKey]) -> None:
        #: Each account is one tuple, which all its facts share.
        self._accounts = {account: account for account in accounts}
        self._grants: dict[tuple[AccountKey, str, str, str, bool], GrantFact] = {}
        self._memberships: dict[tuple[AccountKey, AccountKey], MembershipFact] = {}

    @property
    def grants(self) -> list[GrantFact]:
        return list(self._grants.values())

    @property
    def memberships(self) -> list[MembershipFact]:
        return list(self._memberships.values())

    def grant(
        self,
        account: AccountKey,
        kind: str,
        privileges: Iterable[str],
        scope: str = "",
        database: str = "",
        grantable: bool = False,
        denied: bool = False,
        object_id: str = "",
        grantors: tuple[str, ...] = (),
    ) -> None:
        """Add one fact per privilege. "GRANT OPTION" makes the other privileges grantable; it is a fact only if it is
        the only one."""
        held = set(privileges)
        if GRANT_OPTION in held:
            held -= {GRANT_OPTION} if len(held) > 1 else set()
            grantable = True
        holder = self._accounts.get(account)
        if holder is None:
            return
        for privilege in sorted(held):
            key = (holder, kind, scope, privilege, denied)
            fact = GrantFact(holder, kind, privilege, scope, database, grantable, denied, object_id, grantors)
            before = self._grants.get(key)
            self._grants[key] = _merged(before, fact) if before else fact

    def membership(self, member: AccountKey, role: AccountKey, admin_option: bool, inherit: bool) -> None:
        if member not in self._accounts or role not in self._accounts:
            return
        before = self._memberships.get((member, role))
        self._memberships[member, role] = MembershipFact(
            member=member,
            role=role,
            admin_option=admin_option or bool(before and before.admin_option),
            inherit=inherit or bool(before and before.inherit),
        )


def _merged(before: GrantFact, more: GrantFact) -> GrantFact:
    grantors = before.grantors
    if more.grantors != grantors:
        grantors = tuple(sorted({*grantors, *more.grantors}))
    return more._replace(
        grantable=before.grantable or more.grantable,
        object_id=before.object_id or more.object_id,
        grantors=grantors,
    )
