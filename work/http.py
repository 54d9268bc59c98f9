"""Requests to other services. Errors quote neither URLs nor secrets."""

from __future__ import annotations

import socket
import ssl
import time
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError, URLError
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

#: 4xx statuses after which the same request may be accepted later.
PASSING = (408, 425, 429)


class NoAnswer(Exception):
    """There is no usable answer. `status` is that of HTTP, or None; `transient`: another attempt may succeed."""

    def __init__(self, message: str, *, transient: bool, status: int | None = None) -> None:
        super().__init__(message)
        self.transient = transient
        self.status = status


def fetch(request: Request, timeout: float, most: int) -> bytes:
    """Return the first bytes of the answer, at least `most` if it has as many. `timeout` is in seconds, for the headers
    and again for the body. Raises NoAnswer without the libraries' messages, which quote URLs."""
    try:
        with _opener().open(request, timeout=timeout) as response:
            return _read(response, timeout, most)
    except HTTPError as error:
        error.close()
        if 300 <= error.code < 400:
            text = f"It answered {error.code}, a redirect, which is not followed."
            raise NoAnswer(text, transient=False, status=error.code) from None
        transient = error.code >= 500 or error.code in PASSING
        raise NoAnswer(f"It answered {error.code}.", transient=transient, status=error.code) from None
    except URLError as error:
        raise NoAnswer(_unreachable(error.reason, timeout), transient=True) from None
    except (OSError, HTTPException) as error:
        raise NoAnswer(_unreachable(error, timeout), transient=True) from None


def _opener() -> OpenerDirector:
    """HTTP and HTTPS, through the proxies of the environment. It follows no redirect: that would send the request to
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


def _read(response: HTTPResponse, timeout: float, most: int) -> bytes:
    deadline, answer = time.monotonic() + timeout, bytearray()
    while len(answer) < most and (chunk := response.read1(min(most, 1 << 16))):
        answer += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(answer)


def _unreachable(reason: object, timeout: float) -> str:
    if isinstance(reason, TimeoutError):
        return f"It did not answer within {timeout:g} s."
    if isinstance(reason, ssl.SSLCertVerificationError):
        # The host name follows the comma.
        return f"Its certificate cannot be trusted: {reason.verify_message.partition(',')[0]}."
    if isinstance(reason, socket.gaierror):
        return "Its host name is not known."
    if isinstance(reason, OSError) and reason.strerror:
        return f"It cannot be reached: {reason.strerror}."
    return f"It cannot be reached: {type(reason).__name__}."
