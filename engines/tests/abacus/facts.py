"""Facts from the rows of a visit to an abacus."""

from __future__ import annotations

from typing import Any

from engines.fact_set import FactSet
from engines.facts import AccountFact, Inventory, Permissions
from engines.paths import dotted
from engines.reads import ACCOUNTS, GRANTS, Answers


def inventory(session: Any, answers: Answers) -> tuple[Inventory, list[AccountFact]]:
    accounts = [
        AccountFact(name, can_login=True, is_locked=bool(locked), is_superuser=False)
        for name, locked in answers.rows["users"]
    ]
    return Inventory(accounts, answers.gaps_in(ACCOUNTS)), accounts


def permissions(session: Any, answers: Answers, known: list[AccountFact]) -> Permissions:
    facts = FactSet(account.key for account in known)
    for member, role in answers.rows.get("members", ()):
        facts.membership((member, ""), (role, ""), admin_option=False, inherit=True)
    for user, privilege in answers.rows.get("rights", ()):
        facts.grant((user, ""), "system", [privilege])
    for user, base, name, privilege in answers.rows.get("tables", ()):
        facts.grant((user, ""), "table", [privilege], dotted(base, name), base)
    return Permissions(facts.memberships, facts.grants, answers.covered, answers.gaps_in(GRANTS), answers.beyond)
