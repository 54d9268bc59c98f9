"""Which accounts the filters hide."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import AccountFilter
from instances.hiding import matcher


def hide(pattern, **fields):
    return AccountFilter(pattern=pattern, **fields)


def show(pattern, **fields):
    return AccountFilter(pattern=pattern, action="show", **fields)


@pytest.mark.parametrize(
    ("pattern", "name", "hidden"),
    [
        ("pg_*", "pg_monitor", True),
        ("pg_*", "pgbouncer", False),
        ("pg_%", "pg_monitor", False),
        ("mysql.sys", "mysqlxsys", False),
        ("mysql.*", "mysqlapp", False),
        ("App?", "App1", True),
        ("app?", "App1", False),
        ("*", "two\nlines", True),
        ("a[b]", "a[b]", True),
        ("a[b]", "ab", False),
        ("", "", True),
    ],
)
def test_only_star_and_question_mark_are_wild(pattern, name, hidden):
    """F1.9: names keep their case, and `pg_%`-like wildcards hide no real account."""
    assert matcher([hide(pattern)])(name, False) is hidden


@given(st.text(max_size=20))
def test_a_name_without_wildcards_matches_itself_only(name):
    if not set(name) & set("*?"):
        hidden = matcher([hide(name)])
        assert hidden(name, False)
        assert not hidden(name + "x", False)


def test_the_engines_own_accounts_can_be_hidden_whatever_their_name():
    """F1.9: `pg_bouncer` may be an account that people made."""
    hidden = matcher([hide("*", system_only=True)])
    assert hidden("pg_monitor", True)
    assert not hidden("pg_bouncer", False)


def test_the_most_specific_filter_decides_and_show_beats_hide():
    assert not matcher([hide("*"), show("app", engine="mysql")])("app", False)
    assert matcher([show("app", engine="mysql"), hide("a*", instance_id=1)])("app", False)
    assert not matcher([hide("a*", instance_id=1), show("app", instance_id=1)])("app", False)
    assert not matcher([])("app", False)
