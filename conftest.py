"""The servers that tests visit, and the store they run on."""

import os
import re
import time
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

from taifish.tests import store
from taifish.tests.watcher import watch

# Where a change is judged, the same cases each time; at a desk, new ones. How long a case takes says something of the
# machine, and what else it does.
hypothesis.settings.register_profile("desk", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "desk")

pytest_plugins = [
    "taifish.tests.servers",
    "taifish.tests.postgres",
    "taifish.tests.mariadb",
    "taifish.tests.browser",
    "taifish.tests.oidc_provider",
    "sync.tests.workers",
    "sync.tests.targets",
    "engines.tests.oracle_emulated",
]


#: Files that take minutes. Workers take whole files and begin with these, so that none is left with one at the end.
LONG = (
    *("access/tests/test_truth_postgresql.py", "access/tests/test_truth_mysql.py", "engines/tests/test_check.py"),
    *("sync/tests/test_faults.py", "taifish/tests/test_production_faults.py", "taifish/tests/test_chaos.py"),
    *("taifish/tests/test_fuzz.py", "taifish/tests/test_visibility.py", "taifish/tests/test_translations.py"),
    *("taifish/tests/test_pages.py", "taifish/tests/test_api.py", "taifish/tests/test_up.py"),
)


#: Files of many cases that differ little from one version of PostgreSQL to the next.
OLDEST_AND_NEWEST = (
    *("engines/tests/test_check.py", "engines/tests/test_encodings.py", "engines/tests/test_postgresql_identity.py"),
    *("engines/tests/test_remedies.py", "engines/tests/test_masking.py", "capacity/tests/test_identity.py"),
    *("accounts/tests/test_histories.py", "accounts/tests/test_digest.py"),
)


def pytest_configure(config: pytest.Config) -> None:
    """Hash passwords in no time: what protects them against guessing takes half a second for each."""
    from django.conf import settings

    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("TAIFISH_TEST_SERVERS") == "most":
        files = {config.rootpath / file for file in OLDEST_AND_NEWEST}
        left_out = {item for item in items if item.path in files and re.search(r"pg1[3-7]\b", item.name)}
        config.hook.pytest_deselected(items=[*left_out])
        items[:] = [item for item in items if item not in left_out]
    places = {config.rootpath / file: place for place, file in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In CI, say at once what failed: a run that is ended never comes to its summary."""
    if report.failed and os.environ.get("CI") and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\n{report.nodeid}, {report.when}:\n{report.longreprtext[-3000:]}", flush=True)


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> Iterator[None]:
    """Start the store before the first test that needs it, and stop it after the last."""
    cluster = store.cluster()
    watch(cluster.home, keep=True)
    cluster.start()
    yield
    cluster.stop()


def _is_committed(request: pytest.FixtureRequest) -> bool:
    """Whether the test is not rolled back: `store.empty` empties all tables after it."""
    marker = request.node.get_closest_marker("django_db")
    is_named = {"transactional_db", "live_server"} & set(request.fixturenames)
    return bool(is_named or (marker and marker.kwargs.get("transaction")))


@pytest.fixture(autouse=True)
def empty_trail(request: pytest.FixtureRequest) -> Iterator[None]:
    """After `store.empty`, which leaves the audit trail alone."""
    if not _is_committed(request):
        yield
        return
    blocker = request.getfixturevalue("django_db_blocker")
    yield
    with blocker.unblock():
        store.empty_trail()


@pytest.fixture(autouse=True)
def thawed_campaigns(request: pytest.FixtureRequest, empty_trail: None) -> Iterator[None]:
    """Before `store.empty`, which is refused while a campaign is frozen."""
    if not _is_committed(request):
        yield
        return
    request.getfixturevalue("transactional_db")
    yield
    store.thaw_campaigns()


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_blocker: Any, django_db_modify_db_settings: None
) -> Iterator[None]:
    """The test database: a copy of the template, which is made by the migrations where it is missing."""
    from django.db import connection
    from django.test import TransactionTestCase

    # Of tests that are not rolled back.
    TransactionTestCase._fixture_teardown = lambda _self: store.empty()
    creation, template = connection.creation, store.template()
    name = f"test_{connection.settings_dict['NAME']}"
    quote = connection.ops.quote_name
    with django_db_blocker.unblock(), creation._nodb_cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'te%' AND NOT datistemplate")
        for (old,) in cursor.fetchall():
            if old != template:
                cursor.execute(f"DROP DATABASE {quote(old)} WITH (FORCE)")
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [template])
        if not cursor.fetchone():
            creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
            connection.close()
            cursor.execute(f"ALTER DATABASE {quote(name)} RENAME TO {quote(template)}")
        cursor.execute(f"CREATE DATABASE {quote(name)} TEMPLATE {quote(template)}")
        connection.settings_dict["NAME"] = name
        store.remember_migrated()
        # As every test finds it that comes after another one.
        store.empty()
        connection.close()
    yield
    with django_db_blocker.unblock():
        connection.close()


@pytest.fixture(autouse=True, scope="module")
def fresh_content_types() -> None:
    """Forget their ids in an earlier file's store: tests that migrate make them anew, and others use stores of their
    own."""
    from django.contrib.contenttypes.models import ContentType

    ContentType.objects.clear_cache()


@pytest.fixture(autouse=True)
def not_over_midnight() -> None:
    """Many tests say "today" twice: the last seconds of the day are waited out."""
    if (left := 86_400 - time.time() % 86_400) < 20:
        time.sleep(left)


@pytest.fixture(autouse=True)
def english() -> None:
    """Forget the language of the last request of an earlier test, which Django leaves active in this thread."""
    from django.utils.translation import deactivate

    deactivate()
