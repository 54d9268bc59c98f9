"""Logs: lines for people, JSON for machines, and one line for a refused request."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from copy import deepcopy
from logging.config import DictConfigurator

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from instances.models import Credential, Instance
from instances.tests.pages import staff
from sync import services, visits
from sync.models import SyncRecord
from taifish.environment import one_of


@pytest.fixture
def written(request) -> Iterator[io.StringIO]:
    """What the handler of the settings writes, with the formatter of this name."""
    # A copy, because configuring takes words out of it.
    configured = deepcopy(settings.LOGGING)
    formatter = DictConfigurator(configured).configure_formatter(configured["formatters"][request.param])
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    for filtered in settings.LOGGING["handlers"]["stderr"]["filters"]:
        handler.addFilter(DictConfigurator(configured).configure_filter(deepcopy(configured["filters"][filtered])))
    loggers = [logging.getLogger("sync"), logging.getLogger("django")]
    for logger in loggers:
        logger.addHandler(handler)
    yield stream
    for logger in loggers:
        logger.removeHandler(handler)


@pytest.mark.parametrize("written", ["json"], indirect=True)
def test_json_names_the_session_and_the_record_of_a_visit(transactional_db, written):
    credential = Credential.objects.create(name="c", username="u")
    Instance.objects.create(name='two\nlines "', engine="postgresql", host="127.0.0.1", port=1, credential=credential)
    session = services.start("accounts", Instance.objects.all(), trigger="manual", attempts=1)
    SyncRecord.objects.update(not_before=None)
    visits.visit(SyncRecord.objects.get().pk)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    (failed,) = (line for line in lines if line["logger"] == "sync.visits" and line["level"] == "error")
    record = SyncRecord.objects.get()
    assert (failed["session"], failed["record"]) == (session.pk, record.pk)
    assert 'two\nlines "' in failed["event"]
    assert failed["time"].endswith("Z")
    logging.getLogger("sync").warning("later")
    assert "record" not in json.loads(written.getvalue().splitlines()[-1])


@pytest.mark.parametrize("written", ["line", "json"], indirect=True)
def test_a_refused_page_is_one_line(db, written):
    assert staff("instances.view_instance").get("/admin/auth/user/").status_code == 403
    lines = written.getvalue().splitlines()
    assert (len(lines), "/admin/auth/user/" in lines[0], "Traceback" in lines[0]) == (1, True, False)


@pytest.mark.parametrize("written", ["line"], indirect=True)
def test_a_failure_of_ours_keeps_its_traceback(db, written, monkeypatch):
    def fail(*args: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("instances.admin.InstanceAdmin.get_queryset", fail)
    client = staff("instances.view_instance")
    client.raise_request_exception = False
    assert client.get("/admin/instances/instance/").status_code == 500
    assert "RuntimeError: boom" in written.getvalue()


def test_another_form_of_logs_is_refused(monkeypatch):
    monkeypatch.setenv("TAIFISH_LOG_FORMAT", "xml")
    with pytest.raises(ImproperlyConfigured, match="TAIFISH_LOG_FORMAT is 'xml'; set it to line or json"):
        one_of("TAIFISH_LOG_FORMAT", "line", "json")
