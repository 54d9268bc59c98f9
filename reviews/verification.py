"""Check an evidence pack: pure, without Django and the store, so that it works offline and elsewhere.

A pack is a ZIP file. Its comment, the last 128 bytes, is an Ed25519 signature over the SHA-256 of all bytes before it,
so that no byte of the file can change unseen. `manifest.json` has the SHA-256 of each file, and `manifest.sig` the
signature of the manifest, for who has unpacked it. `manifest.tsr`, if the manifest names it, is the answer of a time
stamp authority (RFC 3161) about the manifest.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509 import Certificate

from .stamps import Stamp, StampError, check, check_text

MANIFEST, SIGNATURE, KEY = "manifest.json", "manifest.sig", "public_key.txt"
STAMP = "manifest.tsr"
#: Bytes of a time stamp that are read.
LARGEST_STAMP = 1 << 20
#: Bytes of a signature in hex.
LENGTH = 128
CHUNK = 1 << 20
#: What reading a damaged ZIP file raises.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile)


def signed(digest: bytes) -> bytes:
    """What the signature of a pack is made of, which is no other text that the key signs."""
    return b"Taifish evidence pack 1\n" + digest


def problems(path: Path, key: str = "") -> list[str]:
    """Return what is wrong with a pack, [] if it is as it was signed: with the public `key`, in hex, if one is given,
    else with its own."""
    try:
        return list(_problems(path, key.strip().lower()))
    except _UNREADABLE as error:
        return [f"It cannot be read as a pack: {error}"]


def key_of(path: Path) -> str:
    """Return the public key of a pack, in hex."""
    with zipfile.ZipFile(path) as pack:
        return pack.read(KEY).decode("ascii").strip()


def _problems(path: Path, key: str) -> Iterator[str]:
    whole, comment = _read(path)
    inside = key_of(path)
    if key and key != inside:
        yield "Another key has signed it than the one that was given."
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key or inside))
    if not _is_signed(public, comment, signed(whole)):
        yield "The signature of the pack is wrong: some of its bytes have changed."
    with zipfile.ZipFile(path) as pack:
        text = pack.read(MANIFEST)
        if not _is_signed(public, pack.read(SIGNATURE).strip(), text):
            yield "The signature of the manifest is wrong."
        manifest = json.loads(text)
        files, names = manifest["files"], pack.namelist()
        stamp = [manifest["time_stamp"]] if "time_stamp" in manifest else []
        if stamp and STAMP not in names:
            yield "The time stamp is missing."
        elif sorted(names) != sorted([*files, MANIFEST, SIGNATURE, *stamp]):
            yield "The pack has other files than its manifest names."
        elif stamp:
            yield from _stamp_problems(_stamp(pack), text)
        for name in sorted({*names} & {*files}):
            digest = hashlib.sha256()
            with pack.open(name) as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
            if digest.hexdigest() != files[name]["sha256"]:
                yield f"{name}: its SHA-256 is not that of the manifest."


def _stamp(pack: zipfile.ZipFile) -> bytes:
    with pack.open(STAMP) as file:
        return file.read(LARGEST_STAMP)


def _stamp_problems(token: bytes, text: bytes) -> Iterator[str]:
    try:
        check_text(token, text)
    except StampError as error:
        yield f"The time stamp is wrong. {error}"


def stamped_at(path: Path) -> datetime | None:
    """Return the time that a pack's time stamp states, unproven, or None without one. Raises StampError."""
    with zipfile.ZipFile(path) as pack:
        return check_text(_stamp(pack), pack.read(MANIFEST)) if STAMP in pack.namelist() else None


def stamp_of(path: Path, trusted: list[Certificate]) -> Stamp:
    """Return the time stamp of a pack, which must chain to one of these certificates. Raises StampError."""
    with zipfile.ZipFile(path) as pack:
        if STAMP not in pack.namelist():
            raise StampError("The pack has no time stamp.")
        return check(_stamp(pack), pack.read(MANIFEST), trusted)


def _read(path: Path) -> tuple[bytes, bytes]:
    """Return the SHA-256 of all bytes before the signature, and the signature."""
    left = path.stat().st_size - LENGTH
    if left <= 0:
        raise ValueError("the file is too short")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while left:
            chunk = file.read(min(CHUNK, left))
            digest.update(chunk)
            left -= len(chunk)
        return digest.digest(), file.read()


def _is_signed(public: Ed25519PublicKey, signature: bytes, text: bytes) -> bool:
    try:
        raw = bytes.fromhex(signature.decode("ascii"))
        # Hex in capitals is the same number, and not the same bytes.
        if raw.hex().encode() != signature:
            return False
        public.verify(raw, text)
    except (InvalidSignature, ValueError):
        return False
    return True
