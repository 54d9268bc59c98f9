"""RFC 3161 time stamps of evidence packs, by a real authority."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction
from django.urls import reverse
from django.utils import timezone

from audit.models import Event
from instances.tests.api import superclient
from instances.tests.pages import superstaff
from reviews import pack, stamping, stamps
from reviews.models import Campaign, Stamp
from reviews.stamps import StampError
from reviews.tests.test_pack import check_changes, sealed
from reviews.tests.tsa import CLIENT_AUTH, DAY, TIME_STAMPING, Authority
from reviews.verification import problems

pytestmark = pytest.mark.django_db


@pytest.fixture
def authority(tmp_path: Path, settings: Any) -> Iterator[Authority]:
    folder = tmp_path / "tsa"
    folder.mkdir()
    it = Authority(folder)
    settings.TAIFISH_TIMESTAMP_URL, settings.TAIFISH_TIMESTAMP_CA = it.url, str(it.ca)
    yield it
    it.stop()


@pytest.fixture
def made(instances: list[Any]) -> Campaign:
    return sealed(instances)


def whole(campaign: Campaign) -> bytes:
    return b"".join(pack.pack(campaign))


@pytest.fixture
def file(authority: Authority, made: Campaign, tmp_path: Path) -> Path:
    path = tmp_path / "pack.zip"
    path.write_bytes(whole(made))
    return path


def test_each_pack_of_a_campaign_has_the_same_stamp(authority, made, file, settings):
    """F9.6."""
    with zipfile.ZipFile(file) as opened:
        assert json.loads(opened.read("manifest.json"))["time_stamp"] == "manifest.tsr"
        assert opened.namelist()[-1] == "manifest.tsr"
        token = opened.read("manifest.tsr")
    assert problems(file) == []
    stamp = Stamp.objects.get()
    assert bytes(stamp.token) == token
    assert stamp.authority == "CN=Test authority"
    assert abs(timezone.now() - stamp.at) < timedelta(minutes=1)
    authority.status = 500
    assert whole(made) == file.read_bytes()
    settings.TAIFISH_TIMESTAMP_URL = ""
    assert whole(made) == file.read_bytes()
    assert authority.n_asked == 1


def test_the_command_prints_the_time_and_the_authority(authority, file, capsys):
    call_command("verify_pack", str(file), tsa_ca=authority.ca)
    stamp = Stamp.objects.get()
    assert f"Time stamp: {stamp.at:%Y-%m-%d %H:%M:%S} UTC, by CN=Test authority\n" in capsys.readouterr().out
    call_command("verify_pack", str(file))
    assert "Its authority is not checked: give --tsa-ca." in capsys.readouterr().out


def test_a_stamp_that_chains_to_another_root_is_wrong(authority, file, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    stranger = Authority(other)
    stranger.stop()
    with pytest.raises(SystemExit) as ended:
        call_command("verify_pack", str(file), tsa_ca=stranger.ca)
    assert ended.value.code == 1
    assert "It cannot be trusted" in capsys.readouterr().err
    stranger.ca.write_text("no certificate")
    with pytest.raises(CommandError) as wrong:
        call_command("verify_pack", str(file), tsa_ca=stranger.ca)
    assert wrong.value.returncode == 2


def test_a_pack_without_a_stamp_is_wrong_where_one_is_asked_for(made, authority, settings, tmp_path, capsys):
    settings.TAIFISH_TIMESTAMP_URL = ""
    path = tmp_path / "plain.zip"
    path.write_bytes(whole(made))
    call_command("verify_pack", str(path))
    assert "Time stamp" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        call_command("verify_pack", str(path), tsa_ca=authority.ca)
    assert "The pack has no time stamp." in capsys.readouterr().err


def signed_again(monkeypatch: pytest.MonkeyPatch, made: Campaign, path: Path, token: bytes | None) -> Path:
    """A pack that whoever has the key has made with another stamp, or without the one that its manifest names."""
    monkeypatch.setattr(stamping, "token_of", lambda *_args: token or b"")
    if token is None:
        monkeypatch.setattr(pack, "STAMP", "other.tsr")
    path.write_bytes(whole(made))
    return path


def test_a_stamp_that_is_removed_altered_or_of_another_pack_is_found(authority, made, file, tmp_path, monkeypatch):
    """Also when the key of the packs has signed the rest."""
    token = bytes(Stamp.objects.get().token)
    at = token.index(bytes.fromhex(made.stamps.get().sha256))
    altered = bytearray(token)
    altered[at] ^= 1
    for wrong, words in ((bytes(altered), "another text"), (b"", "no answer by RFC 3161"), (None, "is missing")):
        with monkeypatch.context() as patched:
            found = problems(signed_again(patched, made, tmp_path / "wrong.zip", wrong))
        assert len(found) == 1
        assert words in found[0]


def test_every_change_of_a_byte_of_a_stamped_pack_is_found(file):
    check_changes(file)


def strange(authority: Authority) -> None:
    """An answer with another nonce."""
    # After it there are three bytes: that certificates are asked for.
    authority.query = lambda query: query[:-5] + bytes([query[-5] ^ 1]) + query[-4:]


def other_hash(authority: Authority) -> None:
    authority.query = lambda query: query.replace(query[26:56], bytes(30))


def expired(authority: Authority) -> None:
    authority.certify(ends=-DAY)


def other_use(authority: Authority) -> None:
    _certified(authority, uses=(CLIENT_AUTH,))


def more_uses(authority: Authority) -> None:
    # A shorter name, for equal length.
    _certified(authority, name="Test", uses=(TIME_STAMPING, CLIENT_AUTH))


def _certified(authority: Authority, **options: Any) -> None:
    """OpenSSL does not sign with such a certificate: it is put into the answer instead of another of equal length."""
    serial = x509.random_serial_number()
    wrong, good = authority.certify(serial=serial, **options), authority.certify(serial=serial)
    assert len(good) == len(wrong)
    authority.change = lambda answer: answer.replace(good, wrong)


def other_root(authority: Authority) -> None:
    folder = authority.folder / "other"
    folder.mkdir()
    stranger = Authority(folder)
    stranger.stop()
    authority.ca.write_bytes(stranger.ca.read_bytes())


def altered(authority: Authority) -> None:
    """The time in the token."""

    def change(answer: bytes) -> bytes:
        at = answer.index(b"Z", answer.index(f"{timezone.now().year}".encode())) - 1
        return answer[:at] + bytes([answer[at] ^ 1]) + answer[at + 1 :]

    authority.change = change


def redirect(authority: Authority) -> None:
    authority.status = 302


def failing(authority: Authority) -> None:
    authority.status = 500


def huge(authority: Authority) -> None:
    authority.change = lambda answer: answer + bytes(stamping.LARGEST)


def page(authority: Authority) -> None:
    authority.change = lambda answer: b"<html>Welcome</html>"


def slow(authority: Authority) -> None:
    authority.hangs = True


def off(authority: Authority) -> None:
    authority.stop()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (strange, "Nonce mismatch"),
        (other_hash, "another text"),
        (expired, "certificate has expired"),
        (other_use, "unsuitable certificate purpose"),
        (more_uses, "unsuitable certificate purpose"),
        (other_root, "It cannot be trusted"),
        (altered, "It cannot be trusted"),
        (redirect, "a redirect, which is not followed"),
        (failing, "It answered 500"),
        (huge, "too large"),
        (page, "no answer by RFC 3161"),
        (slow, "did not answer within"),
        (off, "cannot be reached"),
    ],
)
def test_no_pack_is_made_without_a_good_stamp(
    wrong: Callable[[Authority], None], words: str, authority, made, monkeypatch
):
    monkeypatch.setattr(stamping, "TIMEOUT", 0.5 if wrong is slow else 20)
    wrong(authority)
    with pytest.raises(StampError, match="No pack was made") as refused:
        pack.pack(made)
    assert words in str(refused.value)
    assert "TAIFISH_TIMESTAMP_URL" in str(refused.value), "what to do"
    assert not Stamp.objects.exists()


def test_a_stamp_of_another_day_is_refused(authority):
    query, nonce = stamps.query(b"text")
    token = authority.answer(query)
    trusted = stamps.roots(authority.ca)
    assert stamps.check_new(token, b"text", trusted, nonce, timezone.now()).authority == "CN=Test authority"
    with pytest.raises(StampError, match="clocks"):
        stamps.check_new(token, b"text", trusted, nonce, timezone.now() + timedelta(minutes=6))


def test_page_api_and_command_say_why_there_is_no_pack(authority, made, tmp_path):
    authority.status = 500
    root, page, url = superclient(), superstaff(), f"/api/campaigns/{made.pk}/pack/"
    answer = root.get(url)
    assert answer.status_code == 503
    assert "It answered 500" in answer.data["detail"]
    board = reverse("admin:reviews_campaign_change", args=[made.pk])
    download = reverse("admin:reviews_campaign_do", args=[made.pk, "pack"])
    assert "It answered 500" in page.post(download, follow=True).text
    path = tmp_path / "out.zip"
    with pytest.raises(CommandError, match="It answered 500") as failed:
        call_command("review", "export", made.name, output=path)
    assert failed.value.returncode == 1
    assert not path.exists()
    assert not Event.objects.filter(kind="export").exists()
    authority.status = 200
    call_command("review", "export", made.name, output=path)
    assert b"".join(root.get(url).streaming_content) == path.read_bytes()
    assert b"".join(page.post(download).streaming_content) == path.read_bytes()
    assert "UTC, CN=Test authority" in page.get(board).text


def test_a_stored_stamp_cannot_be_changed_and_only_sealed_campaigns_get_one(authority, made, file):
    stamp = Stamp.objects.get()
    for change in (lambda: Stamp.objects.update(authority="me"), stamp.delete):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            change()
    other = Campaign.objects.create(name="draft", due_on=timezone.localdate())
    with pytest.raises(DatabaseError, match="not sealed"), transaction.atomic():
        Stamp.objects.create(campaign=other, sha256="0" * 64, token=b"", at=timezone.now(), authority="me")
