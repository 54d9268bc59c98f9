"""Bringing one digest to one channel. Nothing that is raised here tells an address or a secret."""

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

from .models import Channel, is_address
from .shapes import ANSWERS, REQUESTS, Digest, Request, text_of

#: Seconds that a service may be silent, and that an answer may take to be read.
TIMEOUT = 10.0

#: Bytes that are read of an answer, and characters quoted of it.
ANSWER, QUOTED = 16_384, 300

#: Statuses of a service that may well take the same message later; other 4xx say that it never will.
PASSING = (408, 425, 429)


class NotDelivered(Exception):
    """It did not get there. `transient`: trying again may help."""

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
    if not is_address(url):
        raise NotDelivered("The channel has no address: enter it anew.", transient=False)
    answer = _post(REQUESTS[channel.kind](url, secret, digest, time.time()))
    if channel.kind in ANSWERS:
        _judge(answer, *ANSWERS[channel.kind], secrets=_secrets(url, secret))


def _mail(channel: Channel, digest: Digest) -> None:
    message = EmailMessage(digest["subject"], text_of(digest), to=channel.recipients)
    try:
        message.send()
    except (SMTPException, HeaderParseError, OSError) as error:
        raise NotDelivered(f"The mail server did not take it: {error}", transient=True) from error


def _opener() -> OpenerDirector:
    """Speaks HTTP and HTTPS only, through the proxies of the environment, and follows no redirect: who answers with one
    would name another to be told."""
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
    """The answer's first bytes. Raises NotDelivered, in words of our own: those of the libraries quote addresses."""
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "Taifish", **request.headers}
    posted = HTTPRequest(request.url, request.body, headers, method="POST")  # noqa: S310 -- is_address
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
        raise NotDelivered(_told(error.reason), transient=True) from None
    except (OSError, HTTPException) as error:
        raise NotDelivered(_told(error), transient=True) from None


def _read(response: HTTPResponse) -> bytes:
    deadline, answer = time.monotonic() + TIMEOUT, b""
    while len(answer) < ANSWER and (chunk := response.read1(ANSWER)):
        answer += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
    return answer


def _told(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return f"It did not answer within {TIMEOUT:g} s."
    if isinstance(reason, ssl.SSLCertVerificationError):
        # What follows a comma is the name of the host.
        return f"Its certificate cannot be trusted: {reason.verify_message.partition(',')[0]}."
    if isinstance(reason, socket.gaierror):
        return "Its host name is not known."
    if isinstance(reason, OSError) and reason.strerror:
        return f"It cannot be reached: {reason.strerror}."
    return f"It cannot be reached: {type(reason).__name__}."


def _judge(answer: bytes, code: str, reason: str, *, secrets: list[str]) -> None:
    """Raise NotDelivered unless a service that answers 200 to everything says that it took the message."""
    try:
        told = json.loads(answer)
    except ValueError:
        told = None
    if not isinstance(told, dict) or code not in told:
        raise NotDelivered("It answered 200, but not as this service does: is the address right?", transient=False)
    if told[code] != 0:
        quoted = scrub(f"It answered {told[code]}: {told.get(reason, '')}", secrets)
        # Which codes pass, each service says somewhere else; a wrong signature is right again when a clock is.
        raise NotDelivered(quoted[:QUOTED], transient=True)


def _secrets(url: str, secret: str) -> list[str]:
    """Whatever of an address a service might quote, the longest first."""
    parts = urlsplit(url)
    words = [parts.path, parts.query, *parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    return sorted({url, secret, *(word for word in words if len(word) >= 8)}, key=len, reverse=True)
