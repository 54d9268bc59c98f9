"""People and owners from a directory or HR system: all rows or none, by the same rules for files and the API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model
from django.utils.translation import gettext as _

from accounts.models import Account
from console.csv import armed, read_rows
from console.suggestions import nearest
from console.visibility import shown_to
from instances.models import Instance
from planning.bulk import Problem

from .models import Ownership, Person
from .people import People

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: Number of the line or position, and the values by column; a column that is left out stays as it is.
Rows = Sequence[tuple[int, dict[str, str]]]

PERSON_COLUMNS = ("external_id", "name", "mail", "active")
OWNER_COLUMNS = ("instance", "account", "owner", "kind", "note", "ticket")
WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass
class Plan:
    """What a feed would change, or what is wrong with it."""

    new: list[Model] = field(default_factory=list)
    changed: list[Model] = field(default_factory=list)
    unchanged: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        if self.problems:
            return {"new": 0, "changed": 0, "unchanged": 0}
        return {"new": len(self.new), "changed": len(self.changed), "unchanged": self.unchanged}

    def add(self, row: Model, values: dict[str, Any]) -> None:
        """Take these values of a row over, and note what that is."""
        before = {name: getattr(row, name) for name in values}
        for name, value in values.items():
            setattr(row, name, value)
        if row.pk is None:
            self.new.append(row)
        elif before != values:
            self.changed.append(row)
        else:
            self.unchanged += 1

    def save(self) -> None:
        """Store all of it, in two statements. Raises ValueError if there are problems."""
        if self.problems:
            raise ValueError(self.problems[0].message)
        with transaction.atomic():
            for row in (self.new or self.changed)[:1]:
                model = type(row)
                names = [one.name for one in model._meta.concrete_fields if not one.primary_key]
                model._default_manager.bulk_create(self.new, batch_size=1000)
                model._default_manager.bulk_update(self.changed, names, batch_size=1000)


def read_people(text: str) -> Plan:
    """Raises ValueError for a file that is not CSV with these columns."""
    return plan_people(_armed(read_rows(text, PERSON_COLUMNS, ("external_id",))))


def read_owners(text: str, user: User | None) -> Plan:
    """Raises ValueError for a file that is not CSV with these columns."""
    return plan_owners(_armed(read_rows(text, OWNER_COLUMNS, ("instance", "account"))), user)


def _armed(rows: Rows) -> Rows:
    return [(line, {column: armed(cell) for column, cell in row.items()}) for line, row in rows]


def plan_people(rows: Rows) -> Plan:
    """Compare the rows with the stored people, in one query."""
    plan, first = Plan(), dict[str, int]()
    stored = {
        person.external_id: person
        for person in Person.objects.filter(external_id__in=[r["external_id"] for _n, r in rows])
    }
    for number, row in rows:
        person = stored.get(row["external_id"]) or Person(external_id=row["external_id"])
        problems = [Problem(number, *wrong) for wrong in _wrong_person(row, person, first)]
        first.setdefault(row["external_id"], number)
        plan.problems += problems
        if not problems:
            plan.add(person, _values_of_person(row))
    return plan


def _values_of_person(row: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {name: row[name] for name in ("name", "mail") if name in row}
    if row.get("active"):
        values["active"] = WORDS[row["active"].lower()]
    return values


def _wrong_person(row: dict[str, str], person: Person, first: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Yield column and message."""
    if not row["external_id"]:
        yield "external_id", _("Empty.")
    elif row["external_id"] in first:
        yield "external_id", _("The same as in %d. Leave one of them out.") % first[row["external_id"]]
    if person.pk is None and not row.get("name"):
        yield "name", _("Empty. A new person needs it.")
    elif "name" in row and not row["name"]:
        yield "name", _("Empty.")
    if row.get("active", "") and row["active"].lower() not in WORDS:
        yield "active", _not_valid(row["active"], WORDS)
    for name in ("external_id", "name", "mail"):
        yield from _wrong_value(Person, name, row.get(name, ""))


def _wrong_value(model: type[Model], name: str, value: str) -> Iterator[tuple[str, str]]:
    """What the field of a model says of a value."""
    if not value:
        return
    try:
        model._meta.get_field(name).run_validators(value)
    except ValidationError as error:
        yield name, " ".join(error.messages)


def _not_valid(value: str, valid: Any) -> str:
    return _("“%(value)s” is not valid. Valid are: %(valid)s.") % {"value": value, "valid": ", ".join(valid)}


def plan_owners(rows: Rows, user: User | None) -> Plan:
    """Compare the rows with the stored owners, as far as the user sees the accounts, in a fixed number of queries."""
    plan, first = Plan(), dict[int, int]()
    accounts = _Accounts([row for _number, row in rows], user)
    people = People(row.get("owner", "") for _number, row in rows)
    ids = [account.pk for _number, row in rows if (account := accounts.found(row))]
    rows_of = Ownership.objects.filter(account__in=ids).select_related("owner", "account__instance")
    stored = {found.account_id: found for found in rows_of}
    for number, row in rows:
        values, problems = _values_of_owner(row, people)
        account = accounts.found(row)
        if account is None:
            problems.append(accounts.problem(row))
        elif account.pk in first:
            problems.append(("account", _("The same as in %d. Leave one of them out.") % first[account.pk]))
        else:
            first[account.pk] = number
        plan.problems += [Problem(number, *problem) for problem in problems]
        if account and not problems:
            plan.add(stored.get(account.pk) or Ownership(account=account), values)
    return plan


def _values_of_owner(row: dict[str, str], people: People) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The values of a row, and what is wrong with them as column and message."""
    values: dict[str, Any] = {name: row[name] for name in ("kind", "note", "ticket") if name in row}
    problems = list(_wrong_value(Ownership, "ticket", row.get("ticket", "")))
    if row.get("kind") and row["kind"] not in Ownership.Kind.values:
        problems.append(("kind", _not_valid(row["kind"], Ownership.Kind.values)))
    if "owner" in row:
        try:
            values["owner"] = people.named(row["owner"]) if row["owner"] else None
        except ValueError as error:
            problems.append(("owner", str(error)))
    return values, problems


class _Accounts:
    """The present accounts that rows name, as far as the user sees them. Takes two queries, and one for suggestions of
    each kind."""

    def __init__(self, rows: Sequence[dict[str, str]], user: User | None) -> None:
        self.user = user
        names = {row["instance"] for row in rows}
        self.instances = set(
            shown_to(Instance.objects.filter(name__in=names), user).order_by().values_list("name", flat=True)
        )
        called = {part for row in rows for part in (row["account"], row["account"].rpartition("@")[0])}
        present = Account.objects.present().filter(instance__name__in=self.instances, name__in=called)
        # By their label: of MySQL it has the host.
        self.accounts = {
            (account.instance.name, str(account)): account for account in present.select_related("instance")
        }

    def found(self, row: dict[str, str]) -> Account | None:
        return self.accounts.get((row["instance"], row["account"]))

    def problem(self, row: dict[str, str]) -> tuple[str, str]:
        """Column and message about a row without an account."""
        if row["instance"] not in self.instances:
            known = shown_to(Instance.objects.all(), self.user).order_by().values_list("name", flat=True)
            text = _("There is no instance with the name “%s”.") % row["instance"]
            return "instance", text + nearest(row["instance"], known)
        there = Account.objects.present().filter(instance__name=row["instance"])
        known = (str(account) for account in there.order_by().only("name", "host"))
        text = _("The instance has no account “%s” that a visit has seen.") % row["account"]
        return "account", text + nearest(row["account"], known)
