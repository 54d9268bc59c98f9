"""The evidence pack: what is in it, and that no byte of it can change unseen."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from hypothesis import example, given, settings
from hypothesis import strategies as st

from accounts.tests.stored import account
from reviews import keys, pack, services
from reviews.models import Campaign, SigningKey
from reviews.tests.campaigns import campaign, reviewer
from reviews.verification import problems

HOSTILE = "<script>alert(1)</script>"


def sealed(instances: list[object]) -> Campaign:
    carol = reviewer("carol")
    for name in ("alice", HOSTILE, "=cmd()", "bob"):
        account(instances[0], name, can_login=True)
    made = services.freeze(campaign(carol))
    first, second, *others = made.items.order_by("pk").values_list("pk", flat=True)
    services.decide([first], "revoke", carol, reason="has left")
    services.decide([second, *others], "keep", carol)
    made.items.get(pk=first).observations.create(gone=True, session=77, at=timezone.now())
    services.close(made)
    services.acknowledge(made, carol, "Seen and accepted.")
    return services.seal(made)


@pytest.fixture
def made(instances) -> Campaign:
    return sealed(instances)


@pytest.fixture
def file(made, tmp_path) -> Path:
    path = tmp_path / "pack.zip"
    path.write_bytes(b"".join(pack.pack(made)))
    return path


@pytest.mark.django_db
def test_a_pack_has_what_was_asked_read_decided_and_seen(made, file):
    """F9.6."""
    with zipfile.ZipFile(file) as opened:
        names = opened.namelist()
        texts = {name: opened.read(name).decode("utf-8-sig") for name in names}
    assert names[-2:] == ["manifest.json", "manifest.sig"]
    about = json.loads(texts["campaign.json"])
    assert (about["scope"], about["acknowledgement"]) == ("the whole fleet", "Seen and accepted.")
    assert about["query"] == made.query_text
    items = json.loads(texts["items.json"])
    assert {row["account"]: row["decision"] for row in items}["bob"] == "keep"
    assert [(row["session"], row["seen"]) for row in json.loads(texts["revocations.json"])] == [(77, "gone")]
    assert {row["not_current"] for row in json.loads(texts["instances.json"])} == {"not visited by then"}
    rows = list(csv.DictReader(io.StringIO(texts["items.csv"])))
    assert len(rows) == len(items) == 4
    assert "'=cmd()" in {row["account"] for row in rows}, "no cell is a formula"
    assert json.loads(texts["exceptions.json"]) == []
    assert HOSTILE not in texts["report.html"]
    assert "&lt;script&gt;" in texts["report.html"]
    assert json.loads(texts["manifest.json"])["key"] == SigningKey.objects.get().public


@pytest.mark.django_db
def test_only_a_sealed_campaign_has_a_pack(instances):
    with pytest.raises(services.CampaignError, match="not sealed"):
        pack.pack(campaign(reviewer("carol")))


@pytest.mark.django_db
def test_two_packs_say_the_same_whatever_visits_see_later(made):
    one = b"".join(pack.pack(made))
    made.items.get(verdict="revoke").observations.create(gone=False, session=78, at=timezone.now())
    assert b"".join(pack.pack(made)) == one


@pytest.mark.django_db
def test_the_command_checks_a_pack_with_its_key_or_the_published_one(made, file, tmp_path, capsys):
    call_command("verify_pack", str(file))
    assert "Compare it" in capsys.readouterr().out
    key = tmp_path / "key"
    key.write_text(keys.stored().public + "\n")
    call_command("verify_pack", str(file), key=key)
    key.write_text("0" * 64)
    with pytest.raises(SystemExit) as ended:
        call_command("verify_pack", str(file), key=key)
    assert ended.value.code == 1
    assert "Another key" in capsys.readouterr().err
    key.write_text("no key")
    with pytest.raises(CommandError):
        call_command("verify_pack", str(file), key=key)


@pytest.mark.django_db
def test_every_change_of_a_byte_is_found(file):
    """F9.6: wherever it is, in contents, names, times, sizes or the signature."""
    check_changes(file)


def check_changes(file: Path) -> None:
    data = file.read_bytes()
    assert problems(file) == []
    changed = file.with_name("changed.zip")

    @settings(max_examples=400)
    @given(at=st.integers(0, len(data) - 1), change=st.integers(1, 255))
    @example(at=0, change=1)
    @example(at=len(data) - 1, change=32)
    @example(at=len(data) - 128, change=32)
    def is_found(at: int, change: int) -> None:
        other = bytearray(data)
        other[at] ^= change
        changed.write_bytes(other)
        assert problems(changed)

    is_found()
    for cut in (1, 64, 128, 129):
        for other in (data[:-cut], data + b"0" * cut, data[cut:]):
            changed.write_bytes(other)
            assert problems(changed)


@pytest.mark.django_db
def test_the_command_exits_1_for_a_changed_pack(file, capsys):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(SystemExit) as ended:
        call_command("verify_pack", str(file))
    assert ended.value.code == 1
    assert "pack.zip: " in capsys.readouterr().err
