"""Sending one digest to one channel. Errors quote neither URLs nor secrets."""

from __future__ import annotations

import json
import time
from email.errors import HeaderParseError
from smtplib import SMTPException
from urllib.parse import parse_qsl, urlsplit
from urllib.request import Request as HTTPRequest

from django.conf import settings
from django.core.mail import EmailMessage

from engines.errors import scrub
from instances.crypto import CredentialKeyError
from work.http import NoAnswer, fetch

from .models import Channel, is_postable
from .shapes import ANSWERS, REQUESTS, Digest, Request, text_of

#: Seconds to wait for a service, and to read its answer.
TIMEOUT = 10.0

#: Bytes read of an answer, and characters quoted of it.
ANSWER, QUOTED = 16_384, 300


class NotDelivered(Exception):
    """The message was not delivered. `transient`: another attempt may succeed."""

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


def send(channel: Channel, digest: Digest) -> None:
    """Raises NotDelivered."""
    if channel.kind == Channel.Kind.EMAIL:
        _mail(channel, digest)
        return
    try:
        url, secret = channel.url, channel.secret
    except CredentialKeyError as error:
        raise NotDelivered(str(error), transient=False) from None
    if not is_postable(url):
        text = "The channel has no URL, or one with http:// and a host that TAIFISH_WEBHOOK_ALLOW does not list."
        raise NotDelivered(text, transient=False)
    answer = _post(REQUESTS[channel.kind](url, secret, digest, time.time()))
    if channel.kind in ANSWERS:
        _judge(answer, *ANSWERS[channel.kind], secrets=_secrets(url, secret))


def _mail(channel: Channel, digest: Digest) -> None:
    message = EmailMessage(digest["subject"], text_of(digest), to=channel.recipients)
    try:
        message.send()
    except (SMTPException, HeaderParseError, OSError) as error:
        raise NotDelivered(f"The mail server refused the message: {error}", transient=True) from error


def _post(request: Request) -> bytes:
    """The first bytes of the answer. Raises NotDelivered."""
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "Taifish", **request.headers}
    posted = HTTPRequest(request.url, request.body, headers, method="POST")  # noqa: S310 -- is_postable
    try:
        return fetch(posted, TIMEOUT, ANSWER, settings.TAIFISH_WEBHOOK_ALLOW)
    except NoAnswer as error:
        raise NotDelivered(str(error), transient=error.transient) from None


def _judge(answer: bytes, code: str, reason: str, *, secrets: list[str]) -> None:
    """Raise NotDelivered unless the body says that the message was accepted; the status is always 200."""
    try:
        body = json.loads(answer)
    except ValueError:
        body = None
    if not isinstance(body, dict) or code not in body:
        raise NotDelivered("It answered 200, but not like this service. Check the URL.", transient=False)
    if body[code] != 0:
        quoted = scrub(f"It answered {body[code]}: {body.get(reason, '')}", secrets)
        # Few codes are documented as permanent; even a wrong signature may only be a wrong clock.
        raise NotDelivered(quoted[:QUOTED], transient=True)


def _secrets(url: str, secret: str) -> list[str]:
    """The parts of a URL that a service might quote, the longest first."""
    parts = urlsplit(url)
    words = [parts.path, parts.query, *parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    return sorted({url, secret, *(word for word in words if len(word) >= 8)}, key=len, reverse=True)
