"""Fault 10: what is masked in messages of drivers, and what is left alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from urllib.parse import quote, quote_plus

import psycopg2
import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import scrub
from engines.mysql import errors as mysql_errors
from engines.postgresql import errors as postgresql_errors
from engines.registry import adapter_for
from engines.target import Target
from taifish.tests.postgres import PostgresServer

TARGET = Target("postgresql", "db.example", "taifish_collector")
MASK = "********"

#: Ways in which a driver or a server puts a password into a message.
FRAMES = (
    "{}",
    'invalid dsn: missing "=" after "{}" in connection info string',
    "password='{}' host=db.example",
    "could not parse postgresql://taifish:{}@db.example/postgres",
    "Access denied for user '{}'@'10.0.0.1'",
    "数据库{}不存在",
    "(using `{}`)",
)
#: Passwords as people choose them, words of our own statements among them.
PASSWORDS = st.one_of(
    st.sampled_from(["a", "SELECT", "GRANT", "taifish", "mysql", "1142", "TO", "p'w", 'p"w', "p\\w", "p w", "пароль", "口令", "%s"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(lambda text: text == text.strip()),
)  # fmt: skip


def has_word(text: str, word: str) -> bool:
    """Whether `word` stands in the text with no letter, digit or underscore of ASCII going on at its ends."""
    word_characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
    position = text.find(word)
    while position >= 0:
        before, after = text[:position][-1:], text[position + len(word) :][:1]
        if not (before and before in word_characters and word[0] in word_characters) and not (
            after and after in word_characters and word[-1] in word_characters
        ):
            return True
        position = text.find(word, position + 1)
    return False


@given(
    password=PASSWORDS.filter(lambda password: "*" not in password),
    frame=st.sampled_from(FRAMES),
    spelled=st.sampled_from(
        [str, repr, json.dumps, quote, quote_plus, lambda text: repr(text.encode()), lambda text: text.replace("'", "''")]
    ),
)  # fmt: skip
def test_no_message_of_a_driver_has_the_password_as_a_word(password, frame, spelled):
    """Fault 10, design.md section 9: quoted, escaped or in a URL."""
    message = frame.format(spelled(password))
    masked = scrub(message, [password])
    assert not has_word(masked, password)
    assert MASK in masked
    for error in (
        mysql_errors.adapter_error(pymysql.OperationalError(1045, message), replace(TARGET, password=password), "x", False),
        postgresql_errors.adapter_error(psycopg2.OperationalError(message), replace(TARGET, password=password), "postgres"),
    ):  # fmt: skip
        assert not has_word(re.sub(r" \(1045\)$", "", str(error)), password)


@given(password=PASSWORDS)
def test_statements_that_we_composed_stay_as_they_are(password):
    """Fault 10: a password that is a word of the GRANT neither breaks it nor shows itself by that."""
    target = replace(TARGET, password=password)
    refused = pymysql.OperationalError(1142, "SELECT command denied to user 'taifish'@'%' for table 'procs_priv'")
    error = mysql_errors.adapter_error(refused, target, "`taifish`@`%`", False)
    assert error.missing == error.hint == "GRANT SELECT ON mysql.procs_priv TO `taifish`@`%`;"
    locked = psycopg2.OperationalError('role "taifish_collector" is not permitted to log in')
    assert postgresql_errors.adapter_error(locked, target, "p").missing == 'ALTER ROLE "taifish_collector" LOGIN;'


def test_a_password_inside_a_longer_word_does_not_show_itself():
    """Fault 10: "t********" would say what is behind the mask."""
    assert scrub('relation "taifish_log" is a table', ["taifish", "able"]) == 'relation "taifish_log" is a table'
    assert scrub('database "taifish" does not exist', ["taifish"]) == f'database "{MASK}" does not exist'


@pytest.mark.parametrize("name", ["mysql.user; DROP TABLE x", "user` x", "a b"])
def test_a_name_in_a_message_is_no_sql(name):
    """Fault 1, F7.11: of what a server says only plain words get into a statement."""
    for number, message in (
        (1142, f"SELECT command denied to user 'x'@'%' for table '{name}'"),
        (1143, f"SELECT command denied to user 'x'@'%' for column '{name}' in table 'user'"),
        (1370, f"execute command denied to user 'x'@'%' for routine '{name};'"),
        (1044, f"Access denied for user 'x'@'%' to database '{name}'"),
    ):
        error = mysql_errors.adapter_error(pymysql.OperationalError(number, message), TARGET, "`t`@`%`", False)
        assert error.missing == "GRANT SELECT ON mysql.* TO `t`@`%`;"


@pytest.mark.parametrize("password", ["a", "SELECT", "taifish", "GRANT"])
def test_the_check_of_an_account_with_a_common_password(postgres: PostgresServer, password: str):
    """Fault 10: the statements of the check can be run as they are."""
    target = postgres.target("taifish_collector", password)
    postgres.execute(f"CREATE ROLE taifish_collector LOGIN PASSWORD '{password}'")
    postgres.fresh_database("shut")
    postgres.execute("REVOKE CONNECT ON DATABASE shut FROM PUBLIC")
    target = replace(target, level="B")

    def lacking():
        with adapter_for(target) as adapter:
            return [capability.missing for capability in adapter.examine().capabilities if not capability.works]

    statements = lacking()
    assert len(statements) == 2
    for statement in statements:
        postgres.execute(statement)
    assert lacking() == []
    postgres.reset()
