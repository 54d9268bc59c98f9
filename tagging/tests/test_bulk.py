"""Bulk tagging: services, API, command and pages, and what else may be going on at the same time."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instances.models import Credential, Instance
from instances.tests.api import client_with, superclient
from instances.tests.pages import staff, superstaff
from sync.tests.workers import Workers
from tagging import services
from tagging.models import InstanceTag, Tag, TagOperation

INSTANCES = reverse("admin:instances_instance_changelist")
REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF (NEW.instance_id, NEW.tag_id) = ({instance}, {tag}) THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON tagging_instancetag FOR EACH ROW EXECUTE FUNCTION refuse()
"""


def make(instances: int, tags: int) -> tuple[list[int], list[int]]:
    credential, _ = Credential.objects.get_or_create(name="c", username="u")
    made = Instance.objects.bulk_create(
        Instance(name=f"db{n:04}", engine="postgresql", host="h", credential=credential) for n in range(instances)
    )
    labels = Tag.objects.bulk_create(Tag(slug=f"t{n}", label=f"T{n}") for n in range(tags))
    return [row.pk for row in made], [row.pk for row in labels]


def links() -> set[tuple[int, int]]:
    return set(InstanceTag.objects.values_list("instance", "tag"))


def test_every_pair_has_its_outcome(db):
    """F4.1, F4.3: unknown ids, inactive tags and retired instances are told, and what can be done is done."""
    (one, two, old), (prod, off) = make(3, 2)
    Tag.objects.filter(pk=off).update(active=False)
    Instance.objects.get(pk=old).retire()
    InstanceTag.objects.create(instance_id=two, tag_id=prod)
    receipt = services.assign([one, two, old, 10**12], [prod, off, 10**12])
    assert {outcome: sorted(receipt.pairs(outcome)) for outcome in receipt.outcomes} == {
        "added": [(one, prod)],
        "already_there": [(two, prod)],
        "retired": [(old, prod), (old, off)],
        "inactive": [(one, off), (two, off)],
        "unknown": [(one, 10**12), (two, 10**12), (old, 10**12), *((10**12, tag) for tag in (prod, off, 10**12))],
    }
    assert sum(receipt.totals.values()) == 12
    again = services.assign([one, two], [prod])
    assert again.totals == {"already_there": 2}
    # A tag that is no longer active can still be taken off.
    InstanceTag.objects.create(instance_id=one, tag_id=off)
    assert services.remove([one, two], [prod, off]).totals == {"removed": 3, "not_there": 1}
    assert links() == set()


@pytest.mark.parametrize("places", [(0, 0), (7, 2), (11, 3)])
def test_a_pair_that_fails_stands_alone(db, places):
    """F4.1: what succeeded stays, what failed is named with its reason."""
    instances, tags = make(12, 4)
    bad = instances[places[0]], tags[places[1]]
    with connection.cursor() as cursor:
        cursor.execute(REFUSE.format(instance=bad[0], tag=bad[1]))
    receipt = services.assign(instances, tags)
    assert receipt.totals == {"added": 47, "failed": 1}
    assert receipt.reasons == [{"instance": bad[0], "tag": bad[1], "reason": "not this one"}]
    assert links() == {(i, t) for i in instances for t in tags} - {bad}


def test_undo_takes_back_what_was_changed_and_only_that(db):
    """F4.3: undo is the inverse of what really changed; there is no second one."""
    (one, two), (prod, crm) = make(2, 2)
    InstanceTag.objects.create(instance_id=one, tag_id=prod)
    receipt = services.assign([one, two], [prod, crm])
    undone = services.undo(receipt)
    assert (undone.action, undone.undo_of, undone.totals) == ("remove", receipt, {"removed": 3})
    assert links() == {(one, prod)}
    with pytest.raises(services.NotUndoable, match="already"):
        services.undo(receipt)
    assert services.undo(undone).totals == {"added": 3}
    with pytest.raises(services.NotUndoable, match="changed nothing"):
        services.undo(services.assign([one], [prod]))


def test_ten_thousand_pairs_cost_a_handful_of_statements(db):
    """F4.4: 20 at most, and no more for the tenfold."""
    instances, tags = make(1000, 10)
    for operate in (services.assign, services.assign, services.remove):
        with CaptureQueriesContext(connection) as captured:
            receipt = operate(instances, tags)
        assert len(captured) <= 20
        assert sum(receipt.totals.values()) == 10_000


def elsewhere(work, *arguments):
    try:
        return work(*arguments)
    finally:
        connection.close()


def test_many_at_once_neither_fail_nor_double(transactional_db):
    """F4.2: sixteen identical requests at once: every link once, no error, no deadlock, receipts that add up."""
    instances, tags = make(200, 10)
    begin = threading.Barrier(16)

    def assign():
        begin.wait()
        return services.assign(instances, tags)

    with ThreadPoolExecutor(16) as pool:
        receipts = [future.result() for future in [pool.submit(elsewhere, assign) for _ in range(16)]]
    assert len(links()) == InstanceTag.objects.count() == 2000
    assert sum(receipt.totals.get("added", 0) for receipt in receipts) == 2000
    assert all(sum(receipt.totals.values()) == 2000 and not receipt.reasons for receipt in receipts)
    begin.reset()

    def remove():
        begin.wait()
        return services.remove(instances, tags)

    with ThreadPoolExecutor(16) as pool:
        receipts = [future.result() for future in [pool.submit(elsewhere, remove) for _ in range(16)]]
    assert links() == set()
    assert sum(receipt.totals.get("removed", 0) for receipt in receipts) == 2000


def test_what_is_deleted_in_the_middle_is_an_outcome(transactional_db, monkeypatch):
    """F4.2: a tag deleted and an instance purged between look and write: unknown, not an error."""
    instances, tags = make(4, 3)
    work = services._work

    def late(*arguments):
        if Tag.objects.filter(pk=tags[0]).exists():
            with ThreadPoolExecutor(1) as pool:
                pool.submit(
                    elsewhere,
                    lambda: (Tag.objects.get(pk=tags[0]).delete(), Instance.objects.get(pk=instances[0]).delete()),
                ).result()
        work(*arguments)

    monkeypatch.setattr(services, "_work", late)
    receipt = services.assign(instances, tags)
    assert receipt.totals == {"added": 6, "unknown": 6}
    assert len(links()) == 6


def test_a_delete_that_is_under_way_is_waited_for(transactional_db):
    """F4.2: the tag is locked by somebody who is deleting it; when that is done, its pairs are unknown."""
    instances, tags = make(3, 2)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Tag.objects.get(pk=tags[0]).delete()
            future = pool.submit(elsewhere, services.assign, instances, tags)
            with pytest.raises(TimeoutError):
                future.result(timeout=0.5)
        receipt = future.result(timeout=20)
    assert receipt.totals == {"added": 3, "unknown": 3}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_sequence_leaves_what_plain_sets_would(db, data):
    """F4.1: assign, remove and undo in any order, against sets."""
    with transaction.atomic():
        instances, tags = make(4, 3)
        model: set[tuple[int, int]] = set()
        done: list[TagOperation] = []
        for _ in range(data.draw(st.integers(1, 6))):
            verb = data.draw(st.sampled_from(["assign", "remove", "undo"]))
            if verb == "undo":
                if not done:
                    continue
                receipt = done.pop()
                changed = {*receipt.pairs(TagOperation.CHANGED[receipt.action])}
                if changed:
                    services.undo(receipt)
                    model = model - changed if receipt.action == "assign" else model | changed
                continue
            pairs = [sorted(data.draw(st.sets(st.sampled_from(ids), min_size=1))) for ids in (instances, tags)]
            wanted = {(i, t) for i in pairs[0] for t in pairs[1]}
            receipt = getattr(services, verb)(*pairs)
            expected = wanted - model if verb == "assign" else wanted & model
            assert {*receipt.pairs(TagOperation.CHANGED[verb])} == expected
            model = model | wanted if verb == "assign" else model - wanted
            done.append(receipt)
        assert links() == model
        transaction.set_rollback(True)


def test_the_api_answers_with_the_receipt(db):
    (one, two), (prod,) = make(2, 1)
    client = superclient()
    asked = {"instance_ids": [one, two, 10**12], "tag_ids": [prod]}
    answer = client.post("/api/tags/bulk/assign/", asked, format="json")
    assert answer.status_code == 200, answer.json()
    told = answer.json()
    assert told["totals"] == {"added": 2, "unknown": 1}
    assert told["outcomes"]["unknown"] == [{"tags": [prod], "instances": [10**12]}]
    assert told["failed"] == []
    assert client.get(f"/api/tag-operations/{told['id']}/").json() == told
    undone = client.post(f"/api/tag-operations/{told['id']}/undo/")
    assert undone.json()["totals"] == {"removed": 2}
    assert client.post(f"/api/tag-operations/{told['id']}/undo/").status_code == 409
    assert client.post("/api/tags/bulk/remove/", asked, format="json").json()["totals"] == {
        "not_there": 2,
        "unknown": 1,
    }


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"instance_ids": [1]},
        {"instance_ids": [], "tag_ids": [1]},
        {"instance_ids": ["x"], "tag_ids": [1]},
        {"instance_ids": [2**63], "tag_ids": [1]},
        {"instance_ids": list(range(1, 10_002)), "tag_ids": [1]},
        {"instance_ids": [1], "filter": {"engine": "mysql"}, "tag_ids": [1]},
        {"filter": {}, "tag_ids": [1]},
        {"filter": {"engine": "db2"}, "tag_ids": [1]},
        {"filter": {"colour": "red"}, "tag_ids": [1]},
        {"filter": {"tag": "nowhere"}, "tag_ids": [1]},
        {"filter": {"name": "nobody"}, "tag_ids": [1]},
        {"filter": "all", "tag_ids": [1]},
    ],
)
def test_a_malformed_request_changes_nothing(db, asked):
    assert superclient().post("/api/tags/bulk/assign/", asked, format="json").status_code == 400
    assert not TagOperation.objects.exists()


def test_instances_are_chosen_by_a_filter(db):
    """F4.3: as GET /api/instances/ filters them; retired ones only where they are asked for."""
    (one, two, old), (prod,) = make(3, 1)
    Instance.objects.filter(pk=two).update(engine="mysql")
    Instance.objects.get(pk=old).retire()
    client = superclient()

    def totals(**chosen: object) -> dict[str, int]:
        asked = {"filter": chosen, "tag_ids": [prod]}
        return client.post("/api/tags/bulk/assign/", asked, format="json").json()["totals"]

    assert totals(engine="mysql") == {"added": 1}
    assert totals(tag="t0") == {"already_there": 1}
    assert totals(engine="postgresql") == {"added": 1}
    assert totals(retired=True) == {"retired": 1}
    assert links() == {(one, prod), (two, prod)}


@pytest.mark.slow
def test_sixteen_processes_assign_the_same_ten_thousand_pairs(transactional_db):
    """F4.2: 1,000 × 10 pairs at once from 16 processes: 10,000 links, no error, receipts that add up."""
    make(1000, 10)
    command = [sys.executable, "manage.py", "tag", "add", *(f"t{n}" for n in range(10)), "--all", "--json"]
    environment = Workers(Path()).environment()
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(16)
    ]
    told = [process.communicate(timeout=500) for process in processes]
    assert [process.returncode for process in processes] == [0] * 16, told
    totals = [json.loads(out)["totals"] for out, _ in told]
    assert sum(row.get("added", 0) for row in totals) == len(links()) == InstanceTag.objects.count() == 10_000
    assert all(sum(row.values()) == 10_000 for row in totals)


def test_tagging_takes_its_own_permission(db):
    (one,), (prod,) = make(1, 1)
    asked = {"instance_ids": [one], "tag_ids": [prod]}
    viewer = client_with("tagging.view_tag", "tagging.view_tagoperation")
    for verb in ("assign", "remove"):
        assert viewer.post(f"/api/tags/bulk/{verb}/", asked, format="json").status_code == 403
    adder = client_with("tagging.view_tag", "tagging.view_tagoperation", "tagging.add_instancetag")
    told = adder.post("/api/tags/bulk/assign/", asked, format="json").json()
    # Undoing it takes tags off.
    assert adder.post(f"/api/tag-operations/{told['id']}/undo/").status_code == 403
    assert links() == {(one, prod)}


def run(*arguments: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("tag", *arguments, stdout=out)
    except CommandError as error:
        return error.returncode, str(error)
    except SystemExit as stop:
        return stop.code, out.getvalue()
    raise AssertionError("tag did not set its exit code")


def test_the_command(db):
    make(3, 2)
    assert run("add", "t0", "--instances", "db0000", "db0001") == (0, f"{TagOperation.objects.get()}: 2 added\n")
    code, told = run("remove", "t0", "--all", "--json")
    assert (code, json.loads(told)["totals"]) == (0, {"removed": 2, "not_there": 1})
    Tag.objects.filter(slug="t1").update(active=False)
    assert run("add", "t1", "--all")[0] == 3
    for wrong, complaint in (
        (["add", "t7", "--all"], "no such tag: t7"),
        (["add", "t0"], "Select instances"),
        (["add", "t0", "--instances", "nobody"], "'nobody' is unknown"),
        (["add", "t0", "--tag", "t1"], "No active instance has the tag"),
    ):
        code, told = run(*wrong)
        assert code == 2
        assert complaint in told


def test_the_pages_from_choice_to_undo(db):
    """F4.3: choose, preview, agree, look at the receipt, undo it, all with the selection across pages."""
    instances, (prod, crm) = make(120, 2)
    Instance.objects.get(pk=instances[0]).retire()
    InstanceTag.objects.create(instance_id=instances[1], tag_id=prod)
    client = superstaff()
    asked = {"action": "add_tags", "_selected_action": instances[5:7], "select_across": "1", "index": "0"}
    assert b"119 instances are selected" in client.post(INSTANCES, asked).content
    preview = client.post(INSTANCES, asked | {"tags": [prod, crm]}).content.decode()
    assert "237 pairs of instance and tag would be added, 1 exist already" in preview
    assert InstanceTag.objects.count() == 1
    answer = client.post(INSTANCES, asked | {"tags": [prod, crm], "confirmed": "1"}, follow=True)
    receipt = TagOperation.objects.get()
    assert answer.redirect_chain[-1][0] == reverse("admin:tagging_tagoperation_change", args=[receipt.pk])
    assert (receipt.totals, receipt.requested_by.username) == ({"added": 237, "already_there": 1}, "root")
    assert "237 added" in answer.content.decode()
    listed = client.get(reverse("admin:tagging_tagoperation_changelist")).content.decode()
    assert "1 already there" in listed
    do = reverse("admin:tagging_tagoperation_do", args=[receipt.pk, "csv"])
    rows = client.post(do).getvalue().decode("utf-8-sig").splitlines()
    assert rows[0] == "instance,tag,outcome,reason"
    assert len(rows) == 1 + 238
    assert {"db0001,T0,already_there,", "db0001,T1,added,", "db0119,T0,added,"} <= {*rows}
    undo = reverse("admin:tagging_tagoperation_do", args=[receipt.pk, "undo-assign"])
    assert "237 pairs" in client.post(undo).content.decode()
    client.post(undo, {"confirmed": "1"})
    assert links() == {(instances[1], prod)}
    # What has been undone offers no undo.
    assert (
        "undo-assign"
        not in client.get(reverse("admin:tagging_tagoperation_change", args=[receipt.pk])).content.decode()
    )


def test_removing_offers_the_tags_that_are_there(db):
    (one, two), (prod, crm) = make(2, 2)
    InstanceTag.objects.create(instance_id=one, tag_id=prod)
    asked = {"action": "remove_tags", "_selected_action": [one, two], "index": "0"}
    page = superstaff().post(INSTANCES, asked).content.decode()
    assert f'value="{prod}"' in page
    assert f'name="tags" value="{crm}"' not in page


def test_the_actions_are_for_those_who_may(db):
    (one,), (prod,) = make(1, 1)
    asked = {"action": "add_tags", "_selected_action": [one], "tags": [prod], "confirmed": "1", "index": "0"}
    assert staff("instances.view_instance", "tagging.view_tag").post(INSTANCES, asked).status_code == 403
    assert not links()
    assert staff("instances.view_instance", "tagging.add_instancetag").post(INSTANCES, asked).status_code == 302
    assert links() == {(one, prod)}


def test_a_lost_store_is_an_error_and_no_receipt(db, monkeypatch):
    """F4.1: when the receipt itself cannot be kept, nothing of the operation stays."""
    (one,), (prod,) = make(1, 1)

    def fail(self):
        raise DatabaseError("the store is full")

    monkeypatch.setattr(TagOperation, "save", fail)
    with pytest.raises(DatabaseError):
        services.assign([one], [prod])
    assert links() == set()


def test_a_receipt_is_done_after_it_was_asked_for(db):
    instances, tags = make(1, 1)
    receipt = services.assign(instances[:1], tags[:1])
    receipt.refresh_from_db()
    assert receipt.created_at <= receipt.finished_at
