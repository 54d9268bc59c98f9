"""The reads of a visit to an abacus."""

from __future__ import annotations

from engines.reads import Read
from engines.statements import Statement


def _table(name: str, sql: str, *yields: str, levels: str = "ABC", required: bool = False) -> Read:
    def grants(features: object, account: str, hash_blind: bool) -> list[Statement]:
        return [Statement(f"GRANT SELECT ON {name} TO {account};", f"to read {name}")]

    return Read(name, name, sql, yields, levels=levels, required=required, limited=not required, grants=grants)


READS = (
    _table("users", "SELECT name, locked FROM users", "accounts", "account fields", required=True),
    _table("members", "SELECT member, role FROM members", "memberships"),
    _table("rights", "SELECT user, privilege FROM rights", "system"),
    _table("tables", "SELECT user, base, name, privilege FROM tables", "table", levels="BC"),
    _table("bases", "SELECT name, bytes FROM bases", "databases", "sizes"),
)
