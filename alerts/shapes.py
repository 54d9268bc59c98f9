"""The HTTP request for a digest, by service: URL, headers and body. Nothing is sent here.

A digest is a dict made by `services`: subject, and opened and resolved, each a list of groups: rule, kind, count, and
the first alerts (instance, text, at). A test has a text instead of groups.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

Digest = Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def text_of(digest: Digest, limit: int | None = None, escape: Callable[[str], str] = str) -> str:
    """The digest as plain text, within `limit` bytes of UTF-8. To fit, every rule lists fewer alerts and counts the
    others."""
    most = max((len(group["alerts"]) for _, group in _groups(digest)), default=0)
    for shown in range(most, -1, -1):
        text = escape("\n".join(_lines(digest, shown)))
        if limit is None or len(text.encode()) <= limit:
            return text
    return escape(digest["subject"]).encode()[:limit].decode(errors="ignore")


def _groups(digest: Digest) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from (("", group) for group in digest.get("opened", ()))
    yield from (("Over: ", group) for group in digest.get("resolved", ()))


def _lines(digest: Digest, shown: int) -> Iterator[str]:
    yield digest["subject"]
    if "text" in digest:
        yield from ("", digest["text"])
    for title, group in _groups(digest):
        yield from ("", f"{title}{group['rule']}")
        for alert in group["alerts"][:shown]:
            yield f"- {alert['instance']}: {alert['text']}" if alert["instance"] else f"- {alert['text']}"
        if more := group["count"] - min(shown, len(group["alerts"])):
            yield f"… {more} more: see Alerts in Taifish"


def _body(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


def _sign(key: str, message: str) -> bytes:
    return hmac.digest(key.encode(), message.encode(), hashlib.sha256)


def webhook(url: str, secret: str, digest: Digest, now: float) -> Request:
    """The digest as JSON, and its text. Signature: HMAC-SHA256 of "<timestamp>.<body>", in hexadecimal."""
    body = _body({"source": "taifish", **digest, "text": text_of(digest)})
    if not secret:
        return Request(url, body)
    timestamp = str(int(now))
    signature = _sign(secret, f"{timestamp}.{body.decode()}").hex()
    return Request(url, body, {"X-Taifish-Timestamp": timestamp, "X-Taifish-Signature": f"sha256={signature}"})


def feishu(url: str, secret: str, digest: Digest, now: float) -> Request:
    """https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot: an empty message is signed,
    with the key "<seconds>\\n<secret>". 20 KB at most."""
    timestamp = str(int(now))
    signed = {}
    if secret:
        signed = {"timestamp": timestamp, "sign": b64encode(_sign(f"{timestamp}\n{secret}", "")).decode()}
    # Feishu notifies people for <at …>.
    text = text_of(digest, 18_000, lambda text: text.replace("<", "＜"))
    return Request(url, _body({**signed, "msg_type": "text", "content": {"text": text}}))


def wecom(url: str, secret: str, digest: Digest, now: float) -> Request:
    """https://developer.work.weixin.qq.com/document/path/91770: 2048 bytes at most. <@…> notifies people."""
    text = text_of(digest, 2048, lambda text: text.replace("<@", "＜@"))
    return Request(url, _body({"msgtype": "text", "text": {"content": text}}))


def dingtalk(url: str, secret: str, digest: Digest, now: float) -> Request:
    """https://open.dingtalk.com/document/robots/customize-robot-security-settings: the signature, of
    "<milliseconds>\\n<secret>", is in the URL. 20,000 bytes at most."""
    if secret:
        timestamp = str(int(now * 1000))
        signature = b64encode(_sign(secret, f"{timestamp}\n{secret}")).decode()
        url += f"{'&' if '?' in url else '?'}timestamp={timestamp}&sign={quote_plus(signature)}"
    return Request(url, _body({"msgtype": "text", "text": {"content": text_of(digest, 18_000)}}))


def slack(url: str, secret: str, digest: Digest, now: float) -> Request:
    """https://docs.slack.dev/messaging/formatting-message-text: only these three characters are escaped."""
    text = text_of(digest, 12_000, lambda text: text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    return Request(url, _body({"text": text}))


REQUESTS: dict[str, Callable[[str, str, Digest, float], Request]] = {
    "webhook": webhook,
    "feishu": feishu,
    "wecom": wecom,
    "dingtalk": dingtalk,
    "slack": slack,
}

#: Fields of an answer with status 200: the code, 0 when the message was accepted, and the reason.
ANSWERS = {"feishu": ("code", "msg"), "wecom": ("errcode", "errmsg"), "dingtalk": ("errcode", "errmsg")}
