"""The time stamps of evidence packs: asked of an authority once, stored, and the same in each later pack."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.request import Request

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext

from work.http import NoAnswer, fetch

from . import stamps
from .models import Campaign, Stamp
from .stamps import StampError

#: Seconds for the headers of the answer, and again for its body.
TIMEOUT = 20.0
#: Bytes of an answer. Those with a chain of certificates have some 6,000.
LARGEST = 100_000


def has_stamp(campaign: Campaign) -> bool:
    """Whether packs of the campaign are stamped: by the settings, or because one was before."""
    return bool(settings.TAIFISH_TIMESTAMP_URL) or campaign.stamps.exists()


def token_of(campaign: Campaign, manifest: bytes) -> bytes:
    """Return the stamp of a manifest: the stored one, else a new one, which is checked and stored. Raises
    StampError."""
    digest = hashlib.sha256(manifest).hexdigest()
    if found := campaign.stamps.filter(sha256=digest).first():
        return bytes(found.token)
    try:
        token, stamp = _new(manifest)
    except StampError as error:
        raise StampError(gettext("No pack was made, because it has no time stamp. %s") % error) from error
    # Of two requests at the same time, one stamp is kept.
    made, _is_new = Stamp.objects.get_or_create(
        campaign=campaign,
        sha256=digest,
        defaults={"token": token, "at": stamp.at, "authority": stamp.authority},
    )
    return bytes(made.token)


def _new(manifest: bytes) -> tuple[bytes, stamps.Stamp]:
    if not settings.TAIFISH_TIMESTAMP_URL:
        raise StampError(
            gettext("This version of Taifish makes another manifest than the stamped one: set TAIFISH_TIMESTAMP_URL.")
        )
    trusted = stamps.roots(Path(settings.TAIFISH_TIMESTAMP_CA))
    query, nonce = stamps.query(manifest)
    asked = Request(  # noqa: S310 -- settings.py takes http and https only
        settings.TAIFISH_TIMESTAMP_URL, query, {"Content-Type": "application/timestamp-query"}
    )
    try:
        token = fetch(asked, TIMEOUT, LARGEST + 1)
    except NoAnswer as error:
        told = gettext("The time stamp authority gave no answer: %s Try again later, or check TAIFISH_TIMESTAMP_URL.")
        raise StampError(told % error) from error
    try:
        if len(token) > LARGEST:
            raise StampError("It is too large.")
        return token, stamps.check_new(token, manifest, trusted, nonce, timezone.now())
    except StampError as error:
        told = gettext(
            "The answer of the time stamp authority is wrong: %s Check TAIFISH_TIMESTAMP_URL and TAIFISH_TIMESTAMP_CA."
        )
        raise StampError(told % error) from error
