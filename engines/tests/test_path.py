"""How many files a person has to read who follows one visit."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from django.conf import settings

from instances.models import Instance
from sync import services
from sync.visits import visit
from taifish.tests.postgres import PostgresServer

#: Files of ours that the first visit to a PostgreSQL passes through, from the worker's claim to the end of the record.
#: Of engines/ there are 11, and two of reviews/, which looks for rights to be revoked. Lower it whenever files are merged;
#: the aim is 12 for all.
BOUND = 39


def test_files_of_a_first_visit(postgres18: PostgresServer, add: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    postgres18.reset()
    postgres18.execute("CREATE ROLE team; CREATE ROLE alice LOGIN IN ROLE team")
    instance: Instance = add("prod", postgres18.collector())
    session = services.start("accounts", Instance.objects.filter(pk=instance.pk), trigger="manual", enqueue=False)
    record = session.records.get()
    called: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_name not in ("<module>", "<lambda>"):
            called.add(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        visit(record.pk)
    finally:
        sys.setprofile(before)
        postgres18.reset()
    record.refresh_from_db()
    assert record.status == "completed"
    root = Path(settings.BASE_DIR)
    files = {str(Path(name).relative_to(root)) for name in called if Path(name).is_relative_to(root)}
    files = {name for name in files if ".venv" not in name and "/tests/" not in name}
    assert "engines/postgresql/session.py" in files
    assert len(files) <= BOUND, sorted(files)
    assert len([name for name in files if name.startswith("engines/")]) <= 11
