"""What a digest looks like to each service: address, headers and body of one request. Pure; nothing is sent here.

A digest is a dict as `services` makes it: subject, and opened and resolved, each a list of groups: rule, kind, count,
and some of that many alerts (instance, text, at). A test has a text in their place.
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
    """What people read, in as many bytes of UTF-8 at most. Where there are too many alerts each rule still has its
    word: all list fewer, and count the others."""
    most = max((len(group["alerts"]) for _, group in _groups(digest)), default=0)
    for shown in range(most, -1, -1):
        told = escape("\n".join(_lines(digest, shown)))
        if limit is None or len(told.encode()) <= limit:
            return told
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
    """The digest as it is, and its text. Signed with a secret: HMAC-SHA256 of "<timestamp>.<body>", in hexadecimal."""
    body = _body({"source": "taifish", **digest, "text": text_of(digest)})
    if not secret:
        return Request(url, body)
    timestamp = str(int(now))
    signature = _sign(secret, f"{timestamp}.{body.decode()}").hex()
    return Request(url, body, {"X-Taifish-Timestamp": timestamp, "X-Taifish-Signature": f"sha256={signature}"})


def feishu(url: str, secret: str, digest: Digest, now: float) -> Request:
    """https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot: the signature is that of an empty message,
    under the key "<seconds>\\n<secret>". 20 KB at most."""
    timestamp = str(int(now))
    signed = {}
    if secret:
        signed = {"timestamp": timestamp, "sign": b64encode(_sign(f"{timestamp}\n{secret}", "")).decode()}
    # In <at …> Feishu sees somebody to call.
    text = text_of(digest, 18_000, lambda text: text.replace("<", "＜"))
    return Request(url, _body({**signed, "msg_type": "text", "content": {"text": text}}))


def wecom(url: str, secret: str, digest: Digest, now: float) -> Request:
    """https://developer.work.weixin.qq.com/document/path/91770: 2048 bytes at most, and <@…> calls somebody."""
    text = text_of(digest, 2048, lambda text: text.replace("<@", "＜@"))
    return Request(url, _body({"msgtype": "text", "text": {"content": text}}))


def dingtalk(url: str, secret: str, digest: Digest, now: float) -> Request:
    """https://open.dingtalk.com/document/robots/customize-robot-security-settings: the signature, of
    "<milliseconds>\\n<secret>", is in the address. 20,000 bytes at most."""
    if secret:
        timestamp = str(int(now * 1000))
        signature = b64encode(_sign(secret, f"{timestamp}\n{secret}")).decode()
        url += f"{'&' if '?' in url else '?'}timestamp={timestamp}&sign={quote_plus(signature)}"
    return Request(url, _body({"msgtype": "text", "text": {"content": text_of(digest, 18_000)}}))


def slack(url: str, secret: str, digest: Digest, now: float) -> Request:
    """https://docs.slack.dev/messaging/formatting-message-text: these three characters are escaped, and no others."""
    text = text_of(digest, 12_000, lambda text: text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    return Request(url, _body({"text": text}))


REQUESTS: dict[str, Callable[[str, str, Digest, float], Request]] = {
    "webhook": webhook,
    "feishu": feishu,
    "wecom": wecom,
    "dingtalk": dingtalk,
    "slack": slack,
}

#: Where an answer of 200 says whether the message was taken: the fields of the code, 0 when it was, and of the reason.
ANSWERS = {"feishu": ("code", "msg"), "wecom": ("errcode", "errmsg"), "dingtalk": ("errcode", "errmsg")}
