"""Sending one digest to one channel. Errors quote neither URLs nor secrets."""

from __future__ import annotations

import json
import socket
import ssl
import time
from email.errors import HeaderParseError
from http.client import HTTPException, HTTPResponse
from smtplib import SMTPException
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qsl, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
)
from urllib.request import Request as HTTPRequest

from django.core.mail import EmailMessage

from engines.errors import scrub
from instances.crypto import CredentialKeyError

from .models import Channel, is_postable
from .shapes import ANSWERS, REQUESTS, Digest, Request, text_of

#: Seconds to wait for a service, and to read its answer.
TIMEOUT = 10.0

#: Bytes read of an answer, and characters quoted of it.
ANSWER, QUOTED = 16_384, 300

#: 4xx statuses after which the same message may be accepted later.
PASSING = (408, 425, 429)


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
        raise NotDelivered("The channel has no URL. Enter it again.", transient=False)
    answer = _post(REQUESTS[channel.kind](url, secret, digest, time.time()))
    if channel.kind in ANSWERS:
        _judge(answer, *ANSWERS[channel.kind], secrets=_secrets(url, secret))


def _mail(channel: Channel, digest: Digest) -> None:
    message = EmailMessage(digest["subject"], text_of(digest), to=channel.recipients)
    try:
        message.send()
    except (SMTPException, HeaderParseError, OSError) as error:
        raise NotDelivered(f"The mail server refused the message: {error}", transient=True) from error


def _opener() -> OpenerDirector:
    """HTTP and HTTPS, through the proxies of the environment. It follows no redirect: that would send the message to
    another service."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(context=ssl.create_default_context()),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _post(request: Request) -> bytes:
    """The first bytes of the answer. Raises NotDelivered without the libraries' messages, which quote URLs."""
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "Taifish", **request.headers}
    posted = HTTPRequest(request.url, request.body, headers, method="POST")  # noqa: S310 -- is_postable
    try:
        with _opener().open(posted, timeout=TIMEOUT) as response:
            return _read(response)
    except HTTPError as error:
        error.close()
        if 300 <= error.code < 400:
            raise NotDelivered(
                f"It answered {error.code}, a redirect, which is not followed.", transient=False
            ) from None
        transient = error.code >= 500 or error.code in PASSING
        raise NotDelivered(f"It answered {error.code}.", transient=transient) from None
    except URLError as error:
        raise NotDelivered(_unreachable(error.reason), transient=True) from None
    except (OSError, HTTPException) as error:
        raise NotDelivered(_unreachable(error), transient=True) from None


def _read(response: HTTPResponse) -> bytes:
    deadline, answer = time.monotonic() + TIMEOUT, b""
    while len(answer) < ANSWER and (chunk := response.read1(ANSWER)):
        answer += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
    return answer


def _unreachable(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return f"It did not answer within {TIMEOUT:g} s."
    if isinstance(reason, ssl.SSLCertVerificationError):
        # The host name follows the comma.
        return f"Its certificate cannot be trusted: {reason.verify_message.partition(',')[0]}."
    if isinstance(reason, socket.gaierror):
        return "Its host name is not known."
    if isinstance(reason, OSError) and reason.strerror:
        return f"It cannot be reached: {reason.strerror}."
    return f"It cannot be reached: {type(reason).__name__}."


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
