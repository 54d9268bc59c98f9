"""RFC 3161 time stamps: pure, without Django and the store, as reviews/verification.py is.

The library checks the signature of the token, its chain to the roots, that its certificate is for time stamps and
nothing else, and the nonce: as of the time in the token, so that a stamp stays good when its certificate has expired.
Checked here besides: the hash algorithm, and the time of a new token. Revocation is not checked: that needs the
network.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

SHA256 = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")
#: How far the clock of an authority may be from ours.
CLOCKS_DIFFER = timedelta(minutes=5)


class StampError(Exception):
    """There is no time stamp, or a wrong one."""


@dataclass(frozen=True)
class Stamp:
    """When a text existed, and the subject of the certificate of the authority that says so."""

    at: datetime
    authority: str


def roots(path: Path) -> list[x509.Certificate]:
    """Return the certificates of a PEM file. Raises StampError."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StampError(f"{path} cannot be read as certificates in PEM format.") from error


def query(text: bytes) -> tuple[bytes, int]:
    """Return a request for a stamp of the SHA-256 of a text, and its nonce."""
    made = TimestampRequestBuilder(text, HashAlgorithm.SHA256, nonce=True, cert_req=True).build()
    assert made.nonce is not None  # noqa: S101 -- it was asked for
    return made.as_bytes(), made.nonce


def check_new(token: bytes, text: bytes, trusted: list[x509.Certificate], nonce: int, now: datetime) -> Stamp:
    """Check the answer to a request. Raises StampError."""
    stamp = check(token, text, trusted, nonce)
    if abs(now - stamp.at) > CLOCKS_DIFFER:
        raise StampError(f"Its time is {stamp.at:%Y-%m-%d %H:%M:%S} UTC: one of the clocks is wrong.")
    return stamp


def check(token: bytes, text: bytes, trusted: list[x509.Certificate], nonce: int | None = None) -> Stamp:
    """Check a token against the text that it stamps and the roots that are trusted. Raises StampError."""
    answer = _of(token, text)
    try:
        VerifierBuilder(roots=trusted, nonce=nonce).build().verify(answer, hashlib.sha256(text).digest())
    except (VerificationError, ValueError) as error:
        raise StampError(f"It cannot be trusted: {_words(error)}.") from error
    return Stamp(answer.tst_info.gen_time, _leaf(answer).subject.rfc4514_string())


def check_text(token: bytes, text: bytes) -> datetime:
    """Return the time that a token of this text states, without proof. Raises StampError."""
    return _of(token, text).tst_info.gen_time


def _of(token: bytes, text: bytes) -> TimeStampResponse:
    """Parse a token. Raises StampError if it is of another text."""
    try:
        answer = decode_timestamp_response(token)
        if answer.status not in (0, 1):
            raise StampError(f"The authority refused it, with status {answer.status}.")
        stamped = answer.tst_info.message_imprint
    except ValueError as error:
        raise StampError("It is no answer by RFC 3161.") from error
    if (stamped.hash_algorithm, stamped.message) != (SHA256, hashlib.sha256(text).digest()):
        raise StampError("It is the stamp of another text.")
    return answer


def _words(error: Exception) -> str:
    """An error of the library without the stack of OpenSSL, but for why a certificate is not trusted."""
    text = str(error)
    if why := re.search(r'"Verify error: ([^"]+)"', text):
        return why[1]
    return text.partition(": ErrorStack")[0].rstrip(".")


def _leaf(answer: TimeStampResponse) -> x509.Certificate:
    """The certificate that signed the token, which the library has checked to be among those in it."""
    [signer] = answer.signed_data.signer_infos
    found = map(x509.load_der_x509_certificate, answer.signed_data.certificates)
    return next(one for one in found if (one.issuer, one.serial_number) == (signer.issuer, signer.serial_number))
