"""What a digest looks like to each service: address, headers and body of one request. Pure; nothing is sent here.

A digest is a dict as `services` makes it: subject, opened and resolved (lists of rule, kind, instance, text, at), and
n_opened and n_resolved, for it lists no more than some of them. A test has a text in their place.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any
from urllib.parse import quote_plus

Digest = Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def text_of(digest: Digest, limit: int | None = None) -> str:
    """What people read, in as many bytes of UTF-8 at most; what is left out is counted."""
    lines = [digest["subject"]]
    if "text" in digest:
        lines += ["", digest["text"]]
    for word, title in (("opened", ""), ("resolved", "Over: ")):
        for rule, items in groupby(digest.get(word, ()), key=lambda item: item["rule"]):
            lines += ["", f"{title}{rule}"]
            lines += [
                f"- {item['instance']}: {item['text']}" if item["instance"] else f"- {item['text']}" for item in items
            ]
    n_items = digest.get("n_opened", 0) + digest.get("n_resolved", 0)
    return _fitted(lines, n_items, limit)


def _fitted(lines: list[str], n_items: int, limit: int | None) -> str:
    for kept in range(len(lines), 0, -1):
        listed = sum(line.startswith("- ") for line in lines[:kept])
        more = ["", f"… and {n_items - listed} more: see Alerts in Taifish."] if listed < n_items else []
        told = "\n".join([*lines[:kept], *more])
        if limit is None or len(told.encode()) <= limit:
            return told
    return lines[0].encode()[:limit].decode(errors="ignore")


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
    text = text_of(digest, 16_000).replace("<", "＜")
    return Request(url, _body({**signed, "msg_type": "text", "content": {"text": text}}))


def wecom(url: str, secret: str, digest: Digest, now: float) -> Request:
    """https://developer.work.weixin.qq.com/document/path/91770: 2048 bytes at most, and <@…> calls somebody."""
    escaped = text_of(digest, 1900).replace("<@", "＜@")
    return Request(url, _body({"msgtype": "text", "text": {"content": escaped}}))


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
    text = text_of(digest, 12_000).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
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
