"""The servers that tests visit, and the store they run on."""

import os
import shutil
from collections.abc import Iterator

import hypothesis
import pytest

from taifish import embedded
from taifish.tests.store import FOLDER
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
    "instances.tests.oracle_emulated",
]


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> Iterator[None]:
    """Start the store before the first test database is made, and take it away after the last."""
    store = embedded.store(FOLDER)
    watch(FOLDER)
    watch(store.home)
    store.start()
    yield
    store.stop()
    shutil.rmtree(store.home, ignore_errors=True)
