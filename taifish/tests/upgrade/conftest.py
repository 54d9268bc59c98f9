"""The store of an earlier release, upgraded."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from taifish.tests.upgrade import CREDENTIAL_KEY

HERE = Path(__file__).parent
NAME = "taifish_upgrade"


def unpacked(name: str) -> str:
    return gzip.decompress((HERE / name).read_bytes()).decode()


@pytest.fixture(scope="module")
def upgraded(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The dump, loaded into a database beside that of the tests, and migrated. Its tests change nothing in it."""
    with django_db_blocker.unblock():
        tests = connection.settings_dict["NAME"]
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {NAME}")
            cursor.execute(f"CREATE DATABASE {NAME} TEMPLATE template0")
        connection.close()
        connection.settings_dict["NAME"] = NAME
        try:
            with connection.cursor() as cursor:
                cursor.execute(unpacked("store.sql.gz"))
            # The dump empties the search path.
            connection.close()
            call_command("migrate", verbosity=0)
            yield
        finally:
            connection.close()
            connection.settings_dict["NAME"] = tests
            with connection.cursor() as cursor:
                cursor.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


@pytest.fixture(autouse=True)
def keys(settings: Any) -> None:
    settings.TAIFISH_CREDENTIAL_KEYS = [CREDENTIAL_KEY]
