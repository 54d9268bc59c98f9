"""Skipped, held and failed records store a code and parameters; every door makes the text in the reader's language."""

from __future__ import annotations

import io
import json
from copy import deepcopy
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from django.urls import reverse
from django.utils import timezone, translation

from engines.advice import Advice
from engines.errors import AdapterError
from engines.facts import Gap
from instances.models import Instance
from instances.tests.api import superclient
from instances.tests.pages import superstaff
from sync import services
from sync.models import SyncRecord, SyncSession, VisitHealth
from sync.registry import CodedGap, ImplausibleShrink, Outcome, VisitKind
from sync.texts import TEXTS, Text, stored_advice, text_of
from taifish.tests.catalogue import PLACEHOLDER

SHRINK = "12 of 15 accounts would end at once; nothing was stored."


def hold(instance: Instance, facts: Any, record: SyncRecord) -> Outcome:
    raise ImplausibleShrink("accounts", present=15, ending=12)


def stored() -> list[tuple[str, str, dict[str, Any], str, str]]:
    fields = ("status", "error_code", "parameters", "message", "advice")
    return list(SyncRecord.objects.order_by("pk").values_list(*fields))


@pytest.fixture
def client(transactional_db: None) -> Client:
    return superstaff()


def page(client: Client, session: SyncSession, language: str) -> str:
    url = reverse("admin:sync_syncsession_change", args=[session.pk])
    return client.get(url, headers={"accept-language": language}).content.decode()


def test_a_skipped_visit_stores_a_code_and_each_reader_gets_a_text(probe, make_instances, client):
    [instance] = make_instances(1)
    first, second = probe.start(), probe.start()
    services.cancel(first)
    VisitHealth.objects.create(instance=instance, kind="probe", failures=5, paused_at=timezone.now())
    third = probe.run(trigger="schedule")
    assert stored()[1:] == [
        ("skipped", "waiting", {"session": first.pk}, "", ""),
        ("skipped", "paused", {}, "", ""),
    ]
    assert f"A visit of this kind is waiting already, in session {first.pk}." in page(client, second, "en")
    assert f"会话 {first.pk} 中已有一个同类访问在等待。" in page(client, second, "zh-hans")
    assert "Paused after too many failures in a row." in page(client, third, "en")
    assert "连续失败次数过多，已暂停。" in page(client, third, "zh-hans")


def test_a_held_visit_says_in_each_language_and_at_each_door_what_would_end(probe, make_instances, client):
    """F1.6"""
    [instance] = make_instances(1)
    probe.write = hold
    session = probe.run()
    parameters = {"what": "accounts", "present": 15, "ending": 12}
    assert stored() == [("failed", "suspicious_shrink", parameters, "", "")]
    record, health = SyncRecord.objects.get(), VisitHealth.objects.get()
    assert SHRINK in page(client, session, "en")
    chinese = page(client, session, "zh-hans")
    assert "15 个账户中有 12 个会同时结束" in chinese
    assert "请核实它们是否确实已不存在" in chinese
    # What a user confirms, the lists, and the page of the instance.
    confirm = reverse("admin:sync_syncrecord_do", args=[record.pk, "confirm"])
    for url in (
        confirm,
        reverse("admin:sync_syncrecord_change", args=[record.pk]),
        reverse("admin:sync_syncrecord_changelist"),
        reverse("admin:sync_visithealth_changelist"),
        reverse("admin:instances_instance_change", args=[instance.pk]),
    ):
        client.cookies["django_language"] = "zh-hans"
        answer = client.post(url) if url == confirm else client.get(url)
        assert "15 个账户中有 12 个会同时结束" in answer.content.decode(), url
    # Programs read English, with the code and its parameters.
    program = superclient()
    (row,) = program.get("/api/sync-records/", headers={"accept-language": "zh-hans"}).json()["results"]
    assert (row["error_code"], row["parameters"], row["error"]) == ("suspicious_shrink", parameters, SHRINK)
    assert row["hint"] == TEXTS["suspicious_shrink"].hint
    (row,) = program.get("/api/visit-health/").json()["results"]
    assert (row["error_code"], row["parameters"], row["error"]) == ("suspicious_shrink", parameters, SHRINK)
    assert str(health.error) == SHRINK


def test_messages_of_servers_and_advice_of_engines_stay_as_they_are(probe, make_instances):
    """Evidence is neither translated nor formatted."""
    make_instances(1)
    wild = "100%s of %(what)s {0} The instance was retired."
    probe.read = lambda instance, phase: (_ for _ in ()).throw(AdapterError(wild, code="denied", hint="GRANT %d;"))
    probe.run()
    record = SyncRecord.objects.get()
    with translation.override("zh-hans"):
        assert (record.error, record.hint, VisitHealth.objects.get().error) == (wild, "GRANT %d;", wild)


def test_an_internal_error_keeps_its_exception_and_a_hint_is_made_when_shown(probe, make_instances):
    make_instances(1)
    probe.read = lambda instance, phase: 1 // 0
    probe.run()
    assert stored()[0][1:] == ("internal_error", {}, "ZeroDivisionError: integer division or modulo by zero", "")
    record = SyncRecord.objects.get()
    assert record.hint == "Internal error in Taifish or its store. See the worker's log."
    with translation.override("zh-hans"):
        assert record.hint.startswith("Taifish 或其存储库发生内部错误")


def test_the_texts_of_a_kind_are_those_of_its_gaps(probe, make_instances, client, monkeypatch):
    make_instances(1)
    monkeypatch.setitem(TEXTS, "moved", Text("%(name)s was moved", "Move %(name)s back."))
    of_engine = Gap("table", "denied", "permission denied", "shop", "GRANT it;")
    probe.write = lambda instance, facts, record: Outcome({}, [CodedGap("rule", "moved", parameters={"name": "x%s"})])
    session = probe.run()
    probe.write = lambda instance, facts, record: Outcome({}, [of_engine])
    probe.run()
    ours, engines = (record.not_read[0] for record in SyncRecord.objects.order_by("pk"))
    assert (ours["message"], ours["hint"], ours["parameters"]) == ("x%s was moved", "Move x%s back.", {"name": "x%s"})
    assert (engines["message"], engines["hint"]) == ("permission denied", "GRANT it;")
    assert "x%s was moved" in page(client, session, "en")
    rows = superclient().get("/api/sync-records/").json()["results"]
    assert [gap["message"] for row in rows for gap in row["gaps"]] == ["x%s was moved", "permission denied"]


def test_a_command_prints_the_texts(make_instances, monkeypatch):
    make_instances(1)
    kind = VisitKind("accounts", "Accounts", lambda instance, phase: None, hold)
    monkeypatch.setitem(services.KINDS, "accounts", kind)
    out = io.StringIO()
    with pytest.raises(SystemExit, match="1"):
        call_command("sync_accounts", "--all", "--json", stdout=out)
    (row,) = json.loads(out.getvalue())["records"]
    assert (row["error_code"], row["error"], row["gaps"]) == ("suspicious_shrink", SHRINK, [])
    out = io.StringIO()
    with pytest.raises(SystemExit, match="1"):
        call_command("sync_accounts", "--all", stdout=out)
    assert f"suspicious_shrink: {SHRINK} Check whether" in out.getvalue()


@pytest.mark.parametrize("code", sorted(TEXTS))
def test_a_record_that_lacks_parameters_is_shown_all_the_same(code):
    """A text may get parameters that records of earlier releases lack."""
    for language in ("en", "zh-hans"):
        with translation.override(language):
            assert not any(PLACEHOLDER.search(part) for part in text_of(code, {}))


OLD = [
    ("retired", "The instance was retired.", "", {}),
    (
        "paused",
        "Paused after too many failures in a row. Resume it under Health of visits, or sync it by hand.",
        "",
        {},
    ),
    ("waiting", "A visit of this kind is waiting already, in session 4711.", "", {"session": 4711}),
    ("no_sizes", "No sizes in the selected periods.", "", {}),
    ("no_databases", "Nothing to measure: only system databases exist, or filters hide the rest.", "", {}),
    (
        "worker_lost",
        "The worker that ran this visit died or lost the store; nothing of it was stored.",
        "Look at the workers' logs and memory if this happens again.",
        {},
    ),
    ("suspicious_shrink", SHRINK, "Look.", {"what": "accounts", "present": 15, "ending": 12}),
]
#: Texts that nobody can map: of other releases, of servers and of exceptions.
KEPT = [
    ("no_databases", "There is no active database: filters hide all.", ""),
    ("suspicious_shrink", "7 of 7 routines would end at once; nothing was stored.", "Look."),
    ("auth_failed", "The instance was retired.", "Check user and password."),
    (
        "internal_error",
        "ValueError: 100%",
        "This is a fault of Taifish or of its store; the worker's log has the details.",
    ),
    ("", "", ""),
]


@pytest.mark.django_db(transaction=True)
def test_records_of_earlier_releases_say_what_they_said(make_instances):
    """Upgrade: what was a text of ours is a code, and shown in every language; every other text stays."""
    before = [("sync", "0004_fewer_indexes")]
    texts = [*(old[:3] for old in OLD), *KEPT]
    instances = make_instances(len(texts))
    executor = MigrationExecutor(connection)
    latest = executor.loader.graph.leaf_nodes()
    executor.migrate(before)
    try:
        old = executor.loader.project_state(before).apps
        session = old.get_model("sync", "SyncSession").objects.create(kind="accounts", trigger="manual")
        for instance, (code, error, hint) in zip(instances, texts, strict=True):
            of = {"instance_id": instance.pk, "kind": "accounts", "error_code": code, "error": error}
            old.get_model("sync", "SyncRecord").objects.create(session_id=session.pk, status="failed", hint=hint, **of)
            old.get_model("sync", "VisitHealth").objects.create(**of)
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(latest)
    records, health = SyncRecord.objects.order_by("instance"), VisitHealth.objects.order_by("instance")
    assert [(row.error_code, row.error, row.hint) for row in records] == texts
    assert [(row.error_code, row.error) for row in health] == [text[:2] for text in texts]
    parameters = [*(old[3] for old in OLD), *[{}] * len(KEPT)]
    assert [row.parameters for row in records] == [row.parameters for row in health] == parameters
    assert [row.message for row in records] == [""] * len(OLD) + [message for _, message, _ in KEPT]


def test_advice_of_an_engine_is_translated_and_its_names_are_not(monkeypatch):
    """The template is looked up; a name with braces or percent signs stays as it is, also in a copy."""
    template = "Check user and password of {user}."
    advice = Advice(template, user='"{x}%s"')
    assert deepcopy(advice) == 'Check user and password of "{x}%s".'
    record = SyncRecord(error_code="auth_failed", advice=advice, parameters=stored_advice(advice))
    assert record.hint == 'Check user and password of "{x}%s".'
    monkeypatch.setattr("sync.texts.gettext", {template: "请检查 {user} 的用户名和密码。"}.get)
    assert record.hint == '请检查 "{x}%s" 的用户名和密码。'
    # SQL, and what earlier releases stored.
    for stored_text in ("GRANT SELECT ON mysql.user TO x;", ""):
        record = SyncRecord(error_code="denied", advice=stored_text, parameters=stored_advice(stored_text))
        assert (record.parameters, record.hint) == ({}, stored_text)
