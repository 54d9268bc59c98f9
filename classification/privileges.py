"""Compile the words about roles and privileges into sets of accounts. `access.relation` decides who holds what."""

from __future__ import annotations

from access.question import Question
from access.relation import Relation

from .pieces import Pieces
from .rules import Term


class Privileges(Pieces, Relation):
    """The words about roles and privileges."""

    def _in_role(self, term: Term) -> str:
        """Return SQL: the account is a member of a role with a matching name."""
        if not self.is_past and not term.options.get("direct"):
            admin = " AND r.is_admin" if term.options.get("admin") else ""
            return self._set(
                "SELECT DISTINCT r.member_id AS id FROM accounts_rolereach r\n"
                "  JOIN accounts_account x ON x.id = r.role_id\n"
                f" WHERE {self.within('x.instance_id')} AND {self.like_any('x.name', term.texts)}{admin}"
            )
        admin = " AND m.admin_option" if term.options.get("admin") else ""
        first = (
            "SELECT m.member_id, m.role_id FROM accounts_membership m JOIN accounts_account r ON r.id = m.role_id\n"
            f" WHERE {self.holding('m')}{admin} AND {self.within('r.instance_id')}"
            f" AND {self.like_any('r.name', term.texts)}"
        )
        reach = self.cte(
            first
            if term.options.get("direct")
            else f"{first}\n UNION SELECT m.member_id, w.role_id FROM {{self}} w\n"
            f"  JOIN accounts_membership m ON m.role_id = w.member_id WHERE {self.holding('m')}",
            "(member_id, role_id)",
        )
        return self._set(f"SELECT DISTINCT member_id AS id FROM {reach} WHERE member_id <> role_id")

    def _holds(self, term: Term, since: str = "") -> str:
        """Return SQL: the account has the privilege, by grants and memberships that have lasted since then."""
        question = question_of(term)
        needed = {name: question.needed(engine.semantics) for name, engine in self.engines.items()}
        unread = self._unread(needed, since, question.database, tuple(question.built_in()))
        return self._known(self._set(self.holders(question, since)), unread)


def question_of(term: Term) -> Question:
    """Return what a word about privileges asks. Raises ValueError for an invalid path."""
    if term.word == "attribute":
        return Question(term.texts[0], None, "attribute", direct=True)
    on = term.options.get("on")
    grantable = term.options.get("grantable")
    return Question(
        term.texts[0],
        None if on is None else str(on),
        str(term.options.get("kind", "")),
        None if grantable is None else bool(grantable),
        bool(term.options.get("direct")),
    )
