"""Tests run on a store of their own: an embedded PostgreSQL in a private folder, gone afterwards.

Named with -p in pyproject.toml, because pytest-django reads the settings before any conftest.py.
"""

import os
import shutil
import tempfile
from pathlib import Path

FOLDER = Path(tempfile.mkdtemp(prefix="taifish-test-"))

for _name in [name for name in os.environ if name.startswith(("TAIFISH_", "DATABASE_URL", "CELERY_"))]:
    # Servers to test against are the only thing that may come from outside.
    if not _name.startswith(("TAIFISH_TEST_", "TAIFISH_SERVERS")):
        del os.environ[_name]
os.environ["TAIFISH_DATA_DIR"] = str(FOLDER)


def pytest_unconfigure() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
