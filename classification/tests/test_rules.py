"""The language of rules: what it reads, and that it refuses everything else in words a person can use."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from classification.rules import (
    DEEPEST,
    LONGEST,
    MOST_WORDS,
    And,
    Not,
    Or,
    RuleError,
    Term,
    parse,
    terms,
)
from classification.vocabulary import WORDS


def test_the_example_of_the_design_is_read():
    rule = parse('can_login and (superuser or has("FILE") or member_of("dba")) and not instance_tag("lab")')
    assert isinstance(rule, And)
    login, choice, outside = rule.parts
    assert login == Term("can_login", "can_login")
    assert isinstance(choice, Or)
    assert [ask.word for ask in terms(choice)] == ["superuser", "has", "member_of"]
    assert choice.parts[1] == Term('has("FILE")', "has", ("FILE",))
    assert isinstance(outside, Not)
    assert outside.part == Term('instance_tag("lab")', "instance_tag", ("lab",))


def test_lines_options_comments_and_numbers_are_read():
    rule = parse('password_age_days > 90  # old\n  or held_days("create user",\n on="shop.*", more_than=30)')
    age, held = terms(rule)
    assert (age.word, age.operator, age.value) == ("password_age_days", ">", 90)
    assert (held.texts, held.options) == (("CREATE USER",), {"on": "shop.*", "more_than": 30})


@pytest.mark.parametrize(
    ("text", "line", "column", "told"),
    [
        ("", 1, 1, "The rule is empty"),
        (" \n ", 1, 1, "The rule is empty"),
        ("x" * (LONGEST + 1), 1, 1, "exceeds"),
        ("superuser\x00", 1, 10, "cannot be stored"),
        ("super_user", 1, 1, "There is no word super_user. Did you mean superuser?"),
        ("is_superuser", 1, 1, "Did you mean superuser?"),
        ("can_login and\n  loked", 2, 3, "There is no word loked. Did you mean locked?"),
        ('name("é") and supruser', 1, 15, "Did you mean superuser?"),
        ("can_login AND locked", 1, 11, "Write and for AND."),
        ("!locked", 1, 1, "Write not for !."),
        ("can_login && locked", 1, 11, "Write and for &&."),
        ("can_login and (locked", 1, 22, "A bracket is not closed."),
        ("locked)", 1, 7, "Unmatched closing bracket."),
        ("can_login) or (locked", 1, 10, "Unmatched closing bracket."),
        ("can_login locked", 1, 1, "Syntax error at"),
        ("locked()", 1, 1, "locked takes no arguments"),
        ("has", 1, 1, 'has needs an argument: has("…").'),
        ("has()", 1, 1, "has takes one text"),
        ('has("A", "B")', 1, 1, "has takes one text"),
        ('has("")', 1, 5, "This text is empty."),
        ("has(FILE)", 1, 5, "has takes texts in quotes"),
        ('has("FILE", direct="yes")', 1, 20, "direct is True or False."),
        ('has("FILE", one="x")', 1, 13, "has has no option one. Did you mean on?"),
        ('has("FILE", **{})', 1, 13, "has has no option **."),
        ('has("X", kind="tabel")', 1, 15, "There is no kind 'tabel'. Did you mean table?"),
        ('has("X", on="a..b")', 1, 13, "is invalid at character"),
        ('gained("FILE")', 1, 1, "gained needs within_hours=."),
        ('gained("FILE", within_hours=-1)', 1, 29, "Give a whole number"),
        ('engine("postgres")', 1, 8, "Unknown engine 'postgres'. Did you mean postgresql?"),
        ("password_age_days", 1, 1, "is a number: compare it"),
        ("password_age_days > 1.5", 1, 21, "Give a whole number"),
        ("password_age_days > True", 1, 21, "Give a whole number"),
        ("password_age_days == 90", 1, 1, "Compare password_age_days with <, <=, > or >=."),
        ("1 < password_age_days < 3", 1, 1, "Compare one word with one number"),
        ("superuser > 1", 1, 1, "superuser is not a number"),
        ('"root"', 1, 1, "A text alone is not a condition"),
        ("True", 1, 1, "A rule consists of words, and, or, not and brackets."),
        ("lambda: superuser", 1, 1, "A rule consists of"),
        ("superuser, locked", 1, 1, "A rule consists of"),
        ("(x for x in y)", 1, 1, "A rule consists of"),
        ("__import__('os').system('x')", 1, 1, "A rule consists of"),
        ("superuser.real", 1, 1, "A rule consists of"),
        ("superuser if locked else can_login", 1, 1, "A rule consists of"),
        ("has(f'{superuser}')", 1, 5, "has takes texts in quotes"),
        ('name("\\ud800")', 1, 6, "cannot be stored"),
        ('name("\\x00")', 1, 6, "cannot be stored"),
        ("not " * 200 + "locked", 1, 201, f"more than {DEEPEST}"),
        ("(" * 300 + "locked" + ")" * 300, 1, 200, "too many nested parentheses"),
        (" or ".join(["locked"] * (MOST_WORDS + 1)), 1, 601, f"more than {MOST_WORDS} words"),
        ("password_age_days > " + "9" * 3900, 1, 21, "Give a whole number"),
        ("'''", 1, 1, "Syntax error"),
    ],
)
def test_errors_say_where_and_what_was_meant(text, line, column, told):
    """F5.3: what the vocabulary does not support is an error at once, with its place and the nearest word."""
    with pytest.raises(RuleError) as caught:
        parse(text)
    error = caught.value
    assert told in error.message
    assert (error.line, error.column) == (line, column)
    assert str(error) == f"Line {line}, column {column}: {error.message}"


def test_deep_nesting_that_the_parser_itself_gives_up_on_is_an_error_too():
    for text in ("not " * 999 + "x", "-" * 3999, "(" * 1999 + ")" * 1999, "x." * 1999 + "x", "x[" * 1000, "a**" * 1300):
        with pytest.raises(RuleError):
            parse(text)


quoted = st.text(max_size=8).map(repr)
pieces = st.one_of(
    st.sampled_from(
        [*WORDS, "and", "or", "not", "(", ")", ",", "=", ">", "<", "\n", " ", "True", "on", "kind", "direct"]
    ),
    st.sampled_from(["lambda:", "[", "]", "{", "}", "#", "\\", "'", '"', "f'", "b''", "...", "*", "**", ":=", "await"]),
    st.integers().map(str),
    st.text(max_size=3),
    quoted,
)


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60), st.lists(pieces, max_size=14).map(" ".join), st.lists(pieces, max_size=14).map("".join)
    )
)
@example("\ufeffsuperuser")
@example("ｓuperuser")
@example("superuser\f")
@example("\rsuperuser")
@example("0_x")
@example("1__0")
@example("'\\N{x}'")
@example("(yield)")
@example("\u2028locked and x")
def test_whatever_is_written_is_a_rule_or_a_clean_error(text):
    """A fuzzer: no other exception, and a place that lies within the text."""
    wrong = None
    try:
        assert list(terms(parse(text)))
    except RuleError as error:
        wrong = error
    if wrong:
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        assert 1 <= wrong.line <= len(lines), text
        assert 1 <= wrong.column <= len(lines[wrong.line - 1]) + 1, text
        assert wrong.message
