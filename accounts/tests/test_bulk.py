"""An insert past the ORM stores what it was given."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import DataError

from accounts.account_index import NEW_ACCOUNT
from accounts.bulk import insert, update
from accounts.models import Account, AccountChange, Grant
from accounts.rows import GrantRow
from accounts.tests.stored import account

TEXTS = (
    "",
    " ",
    ",",
    '"',
    '""',
    "'",
    "\\",
    "\\N",
    "\\.",
    "a\n\\.\nb",
    "a\r\nb",
    "\r",
    "\t",
    "NULL",
    "漢字🐡",
    "x" * 5000,
)
NOON = datetime(2026, 5, 1, 12, 0, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize("flag", [True, False, None])
def test_values_arrive_as_they_are(instances, flag):
    time, number = (NOON, 7) if flag else (None, None)
    rows = [
        (instances[0].pk, name, f"host {name}", NOON, "{}", "user", "", False, flag, flag, flag, time, time, flag, name[:200], number, time, True)
        for name in TEXTS
    ]  # fmt: skip
    insert(Account, NEW_ACCOUNT, rows)
    expected = [(*row[:4], {}, *row[5:]) for row in rows]
    assert list(Account.objects.order_by("pk").values_list(*NEW_ACCOUNT)) == expected


def test_arrays_and_documents_come_as_their_text(instances):
    owner = account(instances[0], "a")
    columns = ("account_id", "record_id", "at", "events", "details", "baseline")
    insert(AccountChange, columns, [(owner.pk, None, NOON, "{appeared,locked}", '{"a": ["\\n", "\\""]}', False)])
    change = AccountChange.objects.get()
    assert (change.events, change.details, change.record_id) == (["appeared", "locked"], {"a": ["\n", '"']}, None)


def test_rows_are_updated_by_their_id(instances):
    one, other = account(instances[0], "a"), account(instances[0], "b")
    values = {"kind": "schema", "privilege": "USAGE", "grantable": False, "denied": False, "since": NOON}
    rows = [Grant.objects.create(account=who, scope=who.name, held_since=NOON, **values) for who in (one, other)]
    names = ('quo"te', "NULL", "", "back\\slash", "a,b", "{}")
    update(Grant, ("id", "object_id", "grantors"), [(rows[0].pk, "5/6", names), (rows[1].pk, None, ())])
    stored = Grant.objects.order_by("pk").values_list("scope", "object_id", "grantors")
    assert list(stored) == [("a", "5/6", list(names)), ("b", None, [])]


def test_no_rows_are_no_trouble(instances):
    insert(Account, NEW_ACCOUNT, [])
    assert not Account.objects.exists()


def test_the_store_refuses_in_the_words_of_the_orm(instances):
    """What a visit knows to be transient goes by Django's exceptions."""
    with pytest.raises(DataError):
        insert(Account, ("instance_id", "name", "first_seen_at"), [(instances[0].pk, "a", "no time")])


def test_what_is_too_long_is_refused_and_not_cut(instances):
    owner = account(instances[0], "a")
    row = (owner.pk, "k" * 21, "", "", "SELECT", False, False, None, None, NOON, NOON)
    with pytest.raises(DataError, match="too long"):
        insert(Grant, (*GrantRow._fields, "held_since", "since"), [row])
