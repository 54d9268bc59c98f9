"""What every bench stands on: an embedded store of its own, and one line of JSON at the end."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

#: So many instances, half of them PostgreSQL's and half MySQL's, added two years ago.
FLEET = """
INSERT INTO instances_credential (name, username, kind, reference, token, note, hosts, created_at, updated_at)
VALUES ('bench', 'bench', 'password', '', '', '', '', now(), now());
INSERT INTO instances_instance (name, engine, host, database, credential_id, tls_mode, tls_ca, proof,
       certificate, certificate_compared, seen_certificate, connect_timeout,
       statement_timeout, budget, level, note, product, version, created_at, updated_at)
SELECT 'db' || i, CASE WHEN i %% 2 = 0 THEN 'postgresql' ELSE 'mysql' END, 'host' || i, '',
       (SELECT id FROM instances_credential), 'prefer', '', 'strict', '', false, '', 10, 60, 600, 'B', '', '',
       '', now() - interval '2 years', now()
  FROM generate_series(1, %(instances)s) i;
"""


def quick() -> bool:
    """Whether the small size was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a small size, for a look")
    return bool(parser.parse_args().quick)


@contextmanager
def store(**settings: str) -> Iterator[None]:
    """Django set up on a new, empty store that is gone afterwards, with these settings in the environment."""
    folder = Path(tempfile.mkdtemp(prefix="taifish-bench-", dir="/tmp"))
    folder.chmod(0o711)
    ours = [name for name in os.environ if name.startswith("TAIFISH_") and name != "TAIFISH_SERVERS"]
    for name in [*ours, "DATABASE_URL", "CELERY_BROKER_URL"]:
        os.environ.pop(name, None)
    os.environ |= {"DJANGO_SETTINGS_MODULE": "taifish.settings", "TAIFISH_DATA_DIR": str(folder)}
    os.environ |= {"TAIFISH_LOG_LEVEL": "ERROR", **settings}
    sys.path.insert(0, str(ROOT))
    import django
    from django.core.management import call_command

    from taifish import embedded

    cluster = embedded.store(folder)
    try:
        embedded.hold(folder)
        django.setup()
        call_command("migrate", verbosity=0)
        yield
    finally:
        from django.db import connections

        connections.close_all()
        cluster.stop()
        shutil.rmtree(cluster.home, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def beside(name: str) -> ModuleType:
    """The bench of that name, for what it fills its store with. By path: apps have the same names."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """How long the work takes: the best of several times."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)


def report(name: str, figures: Mapping[str, Any], targets: Mapping[str, tuple[str, float]]) -> None:
    """Print the line of JSON, and exit 1 when a target is missed. `targets`: figure → ("<=" or ">=", bound)."""
    met = {
        figure: figures[figure] <= bound if sign == "<=" else figures[figure] >= bound
        for figure, (sign, bound) in targets.items()
    }
    line = {
        "name": name,
        "figures": {key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()},
        "targets": {figure: f"{sign} {bound}" for figure, (sign, bound) in targets.items()},
        "missed": [figure for figure in met if not met[figure]],
        "ok": all(met.values()),
    }
    print(json.dumps(line))
    sys.exit(0 if line["ok"] else 1)
