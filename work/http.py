"""Requests to other services. Errors quote neither URLs nor secrets."""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

logger = logging.getLogger(__name__)

#: Services for the machines of a cloud, at public addresses.
METADATA = frozenset({"168.63.129.16"})

#: NAT64: the last 32 bits are an IPv4 address.
TRANSLATED = ipaddress.ip_network("64:ff9b::/96")

#: 4xx statuses after which the same request may be accepted later.
PASSING = (408, 425, 429)


class NoAnswer(Exception):
    """There is no usable answer. `status` is that of HTTP, or None; `transient`: another attempt may succeed."""

    def __init__(self, message: str, *, transient: bool, status: int | None = None) -> None:
        super().__init__(message)
        self.transient = transient
        self.status = status


class Refused(OSError):
    """The address may not be reached."""


@dataclass(frozen=True)
class Allowed:
    """Host names, and networks beside the public ones, that the URLs of users may name. Metadata services of clouds are
    reached only by name."""

    names: frozenset[str] = frozenset()
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    def names_host(self, host: str) -> bool:
        """Whether a name or an address, as written in a URL, is listed."""
        host = host.lower().rstrip(".")
        if host in self.names:
            return True
        try:
            return self._lists(ipaddress.ip_address(host))
        except ValueError:
            return False

    def connect(self, address: tuple[str, int], timeout: float, source: Any = None) -> socket.socket:
        """Resolve a name once, and connect to the first permitted address that answers. Raises Refused, OSError."""
        host, port = address
        error: OSError = Refused()
        for family, kind, protocol, _name, found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            if not self._permits(host, str(found[0])):
                continue
            opened = socket.socket(family, kind, protocol)
            try:
                opened.settimeout(timeout)
                opened.connect(found)
                return opened
            except OSError as failure:
                opened.close()
                error = failure
        raise error

    def _permits(self, host: str, found: str) -> bool:
        ip = _plain(ipaddress.ip_address(found.partition("%")[0]))
        if host.lower().rstrip(".") in self.names or self._lists(ip):
            return True
        return ip.is_global and not ip.is_multicast and str(ip) not in METADATA

    def _lists(self, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return any(ip in network for network in self.networks)


def _plain(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in TRANSLATED:
        return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else ip)


def fetch(request: Request, timeout: float, most: int, allowed: Allowed | None = None) -> bytes:
    """Return the first bytes of the answer, at least `most` if it has as many. `timeout` is in seconds, for the headers
    and again for the body. Raises NoAnswer without the libraries' messages, which quote URLs.

    With `allowed`, for URLs that users enter, only public addresses and those allowed are reached, and errors do not
    say whether a port is open; the log does. A proxy of the environment decides itself what it reaches.
    """
    try:
        with _opener(allowed).open(request, timeout=timeout) as response:
            return _read(response, timeout, most)
    except HTTPError as error:
        error.close()
        if 300 <= error.code < 400:
            text = f"It answered {error.code}, a redirect, which is not followed."
            raise NoAnswer(text, transient=False, status=error.code) from None
        transient = error.code >= 500 or error.code in PASSING
        raise NoAnswer(f"It answered {error.code}.", transient=transient, status=error.code) from None
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, Refused):
            text = "It is in a network that channels may not reach, unless TAIFISH_WEBHOOK_ALLOW lists it."
            raise NoAnswer(text, transient=False) from None
        text = _unreachable(reason, timeout)
        if allowed is not None and not isinstance(reason, socket.gaierror):
            logger.info("A service that a user named: %s", text)
            text = "It cannot be reached, or gives no valid answer. Check host, port, scheme and certificate."
        raise NoAnswer(text, transient=True) from None


def _opener(allowed: Allowed | None) -> OpenerDirector:
    """HTTP and HTTPS, through the proxies of the environment. It follows no redirect: that would send the request to
    another service."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        _HTTP(allowed),
        _HTTPS(allowed),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _HTTP(HTTPHandler):
    def __init__(self, allowed: Allowed | None) -> None:
        super().__init__()
        self.allowed = allowed

    def http_open(self, request: Request) -> HTTPResponse:
        return self.do_open(_connection(HTTPConnection, self.allowed, request), request)


class _HTTPS(HTTPSHandler):
    def __init__(self, allowed: Allowed | None) -> None:
        self.trusted = ssl.create_default_context()
        super().__init__(context=self.trusted)
        self.allowed = allowed

    def https_open(self, request: Request) -> HTTPResponse:
        return self.do_open(_connection(HTTPSConnection, self.allowed, request), request, context=self.trusted)


def _connection(made: Callable[..., HTTPConnection], allowed: Allowed | None, request: Request) -> Any:
    """What makes the connection of a request: limited to what is allowed, unless a proxy connects."""

    def make(*args: Any, **options: Any) -> HTTPConnection:
        connection = made(*args, **options)
        if allowed is not None and request.host == urlsplit(request.full_url).netloc:
            connection._create_connection = allowed.connect  # type: ignore[attr-defined]
        return connection

    return make


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
