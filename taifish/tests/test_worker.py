"""What a worker loads."""

from __future__ import annotations

import json
import subprocess
import sys

from django.conf import settings

from alerts.models import AlertRule
from sync.tests.workers import Workers
from taifish import schedules
from taifish.tests.fleet import small_fleet

#: Runs every scheduled task as a worker does, and prints which modules of pages there are before and after.
SCRIPT = """
import json, sys
sys.argv = ["celery", "worker"]
from taifish.celery import app
app.loader.import_default_modules()
PAGES = ("unfold", "rest_framework", "import_export", "django.contrib.admin.options", "numpy", "authlib", "allauth", "xlsxwriter")
loaded = [sorted(set(PAGES) & set(sys.modules))]
for name in sys.stdin.read().split():
    app.tasks[name].apply(throw=True)
print(json.dumps([*loaded, sorted(set(PAGES) & set(sys.modules))]))
"""


def test_a_worker_loads_no_pages(workers: Workers, transactional_db: None) -> None:
    """F11.1: each process of a pool has its own copy of what it loads. Only forecasts load numpy."""
    small_fleet()
    AlertRule.objects.update(active=True)
    tasks = [task for _name, task, _when, _text in schedules.TIMETABLE]
    assert {"alerts.evaluate", "planning.forecast", "classification.run"}.issubset(tasks)
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=" ".join(tasks),
        env=workers.environment(TAIFISH_START_SPREAD="0"),
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == [[], ["numpy"]]
