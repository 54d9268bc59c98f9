"""How alerts reach people: once, in the shape that each service wants, again when they did not, and without a secret."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import smtplib
import socket
import ssl
import threading
import time
from base64 import b64encode
from datetime import timedelta
from io import StringIO
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core import mail
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.mail.backends import locmem
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError

from alerts import services
from alerts.models import Alert, Channel, Delivery
from alerts.services import deliver, evaluate, send_again, send_test
from alerts.shapes import text_of
from instances import crypto
from sync.models import VisitHealth
from sync.registry import KINDS
from taifish.environment import allowed
from work.enqueue import enqueue
from work.http import Allowed

SECRET = "SEC0123456789abcdef"
NO_ANSWER = "It cannot be reached, or gives no valid answer. Check host, port, scheme and certificate."
PATH = "/hook/5f1c0a9e-the-key?access_token=9b3e77f0"

DIGEST = {
    "subject": "Taifish: 7 new alerts, 1 over",
    "opened": [
        {
            "rule": "New superuser",
            "kind": "new_superuser",
            "count": 6,
            "alerts": [{"instance": "pg", "text": "<@all> & <b> was made", "at": ""}],
        },
        {
            "rule": "Schedule late",
            "kind": "schedule_late",
            "count": 1,
            "alerts": [{"instance": "", "text": "“Reap” is late", "at": ""}],
        },
    ],
    "resolved": [
        {
            "rule": "Paused",
            "kind": "paused",
            "count": 1,
            "alerts": [{"instance": "my", "text": "visits are paused", "at": ""}],
        }
    ],
}
TEXT = """Taifish: 7 new alerts, 1 over

New superuser
- pg: <@all> & <b> was made
… 5 more: see Alerts in Taifish

Schedule late
- “Reap” is late

Over: Paused
- my: visits are paused"""


def queued(channel: Channel, digest: dict = DIGEST, **fields: object) -> Delivery:
    return Delivery.objects.create(channel=channel, digest=digest, **fields)


def again() -> dict[str, int]:
    """Deliver as if the time of the next try had come."""
    Delivery.objects.update(not_before=timezone.now())
    return dict(deliver())


@pytest.fixture
def failing(make_rule, make_instance, make_channel):
    """A rule that tells one channel of an instance whose visits fail, and of their end."""
    channel = make_channel("email", addresses="dba@example.com, oncall@example.com")
    make_rule("failing", channel, threshold=2, tell_resolved=True, name="Failing")
    return VisitHealth.objects.create(
        instance=make_instance("one"), kind="accounts", failures=2, error_code="unreachable", message="no route"
    )


# What is told, and how often


def test_an_alert_is_told_once_and_its_end_once(failing):
    evaluate()
    evaluate()
    assert deliver() == {"sent": 1}
    assert deliver() == {}
    (message,) = mail.outbox
    assert message.to == ["dba@example.com", "oncall@example.com"]
    assert message.subject == "Taifish: 1 new alert"
    assert (
        "Failing\n- one: visits of the kind “Accounts” failed 2 times in a row: unreachable: no route" in message.body
    )
    VisitHealth.objects.update(failures=0)
    evaluate()
    evaluate()
    deliver()
    assert [message.subject for message in mail.outbox[1:]] == ["Taifish: 1 over"]
    # It failed anew: that is another alert.
    VisitHealth.objects.update(failures=2)
    evaluate()
    deliver()
    assert [message.subject for message in mail.outbox[2:]] == ["Taifish: 1 new alert"]
    assert Alert.objects.count() == 2


def test_one_digest_for_each_channel(make_rule, make_instance, make_channel):
    both = make_channel("email", addresses="both@example.com")
    one = make_channel("email", addresses="one@example.com")
    off = make_channel("email", addresses="off@example.com", active=False)
    unused = make_channel("email", addresses="unused@example.com")
    make_rule("failing", both, one, off, threshold=1)
    make_rule("paused", both)
    make_rule("paused", name="listed only")
    instance = make_instance("one")
    VisitHealth.objects.create(instance=instance, kind="accounts", failures=5, paused_at=timezone.now())
    found = evaluate()
    assert len(found.opened) == 3
    told = {delivery.channel: len(delivery.digest["opened"]) for delivery in Delivery.objects.all()}
    assert told == {both: 2, one: 1}
    assert unused not in told


def test_a_dry_run_stores_and_sends_nothing(failing):
    found = evaluate(dry_run=True)
    assert (len(found.opened), len(found.deliveries)) == (1, 1)
    assert not Alert.objects.exists()
    assert not Delivery.objects.exists()


def test_a_closed_session_has_the_rules_looked_at(failing, monkeypatch, django_capture_on_commit_callbacks):
    sent = []
    monkeypatch.setattr("work.enqueue.current_app.send_task", lambda task, *args, **options: sent.append(task))
    for kind in ("accounts", "capacity", "aggregation"):
        assert services.after_session in KINDS[kind].follow_ups
    with django_capture_on_commit_callbacks(execute=True):
        services.after_session(1)
        evaluate()
    assert sent == ["alerts.evaluate", "alerts.deliver"]
    with django_capture_on_commit_callbacks(execute=True):
        services.AlertRule.objects.update(active=False)
        services.after_session(1)
    assert len(sent) == 2

    def unreachable(*args: object, **options: object) -> None:
        raise BrokerError("no broker")

    monkeypatch.setattr("work.enqueue.current_app.send_task", unreachable)
    with django_capture_on_commit_callbacks(execute=True):
        enqueue("alerts.deliver")


# Shapes


def test_mail(make_channel):
    queued(make_channel("email", addresses="dba@example.com\noncall@example.com"))
    assert deliver() == {"sent": 1}
    (message,) = mail.outbox
    assert (message.subject, message.body) == (DIGEST["subject"], TEXT)


def test_json(make_channel, service):
    queued(make_channel("webhook", service.url + PATH))
    assert deliver() == {"sent": 1}
    path, headers, body = service.posted[0]
    assert path == PATH
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert "X-Taifish-Signature" not in headers
    assert body == {"source": "taifish", **DIGEST, "text": TEXT}


def test_json_that_is_signed(make_channel, service):
    queued(make_channel("webhook", service.url + PATH, SECRET))
    deliver()
    _, headers, body = service.posted[0]
    signed = f"{headers['X-Taifish-Timestamp']}.{json.dumps(body, ensure_ascii=False)}"
    expected = hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).hexdigest()
    assert headers["X-Taifish-Signature"] == f"sha256={expected}"
    assert abs(int(headers["X-Taifish-Timestamp"]) - time.time()) < 60


def test_feishu(make_channel, service):
    service.answer = '{"code": 0, "msg": "success", "data": {}}'
    queued(make_channel("feishu", service.url + PATH))
    queued(make_channel("feishu", service.url + PATH, SECRET))
    assert deliver() == {"sent": 2}
    plain, signed = (body for _, _, body in service.posted)
    assert plain == {"msg_type": "text", "content": {"text": TEXT.replace("<", "＜")}}
    key = f"{signed['timestamp']}\n{SECRET}"
    assert signed["sign"] == b64encode(hmac.new(key.encode(), digestmod=hashlib.sha256).digest()).decode()
    assert abs(int(signed["timestamp"]) - time.time()) < 60


def test_wecom(make_channel, service):
    service.answer = '{"errcode": 0, "errmsg": "ok"}'
    queued(make_channel("wecom", service.url + PATH))
    assert deliver() == {"sent": 1}
    assert service.posted[0][2] == {"msgtype": "text", "text": {"content": TEXT.replace("<@", "＜@")}}


def test_dingtalk(make_channel, service):
    service.answer = '{"errcode": 0, "errmsg": "ok"}'
    queued(make_channel("dingtalk", service.url + PATH, SECRET))
    assert deliver() == {"sent": 1}
    path, _, body = service.posted[0]
    assert body == {"msgtype": "text", "text": {"content": TEXT}}
    asked = parse_qs(urlsplit(path).query)
    assert asked["access_token"] == ["9b3e77f0"]
    (timestamp,) = asked["timestamp"]
    expected = hmac.new(SECRET.encode(), f"{timestamp}\n{SECRET}".encode(), hashlib.sha256).digest()
    assert asked["sign"] == [b64encode(expected).decode()]
    assert abs(int(timestamp) / 1000 - time.time()) < 60


def test_slack(make_channel, service):
    service.answer = "ok"
    queued(make_channel("slack", service.url + PATH))
    assert deliver() == {"sent": 1}
    escaped = TEXT.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert service.posted[0][2] == {"text": escaped}


def test_in_a_long_digest_each_rule_has_its_word(make_channel, service):
    many = [
        {"instance": f"数据库{number}", "text": "<@all> grew and grew and grew and grew", "at": ""}
        for number in range(50)
    ]
    digest = {"subject": "Taifish", "opened": [dict(DIGEST["opened"][0], count=500, alerts=many), DIGEST["opened"][1]]}
    service.answer = '{"errcode": 0}'
    queued(make_channel("wecom", service.url + PATH), digest)
    assert deliver() == {"sent": 1}
    content = service.posted[0][2]["text"]["content"]
    assert len(content.encode()) <= 2048
    listed = content.count("\n- 数")
    assert 20 < listed < 50
    assert f"\n… {500 - listed} more: see Alerts in Taifish\n\nSchedule late\n- “Reap” is late" in content
    assert "\n… 450 more: see Alerts in Taifish\n" in text_of(digest)
    assert text_of(digest, 120).startswith("Taifish\n\nNew superuser\n… 500 more: ")
    assert len(text_of(digest | {"subject": "字" * 999}, 1000).encode()) <= 1000


# When it does not get there


def test_a_service_that_fails_is_asked_again_later_and_later(make_channel, service):
    service.status, service.answer = 500, "<h1>oops</h1>"
    delivery = queued(make_channel("webhook", service.url + PATH))
    waits = []
    for _ in range(services.ATTEMPTS - 1):
        assert again() == {"pending": 1}
        delivery.refresh_from_db()
        waits.append(round((delivery.not_before - timezone.now()).total_seconds() / 60))
    assert waits == [1, 2, 4, 8, 16, 32, 60]
    assert deliver() == {}
    assert delivery.error == "It answered 500."
    assert again() == {"failed": 1}
    assert again() == {}
    assert len(service.posted) == services.ATTEMPTS
    service.status = 200
    assert send_again(delivery)
    assert not send_again(delivery)
    assert deliver() == {"sent": 1}
    delivery.refresh_from_db()
    assert (delivery.status, delivery.error, delivery.attempts) == ("sent", "", 1)
    assert delivery.sent_at


def test_a_service_that_hangs(make_channel, service, quick):
    service.hangs = True
    delivery = queued(make_channel("webhook", service.url + PATH))
    queued(delivery.channel)
    began = time.monotonic()
    # The second message to the same channel waits for another time.
    assert deliver() == {"pending": 1}
    assert time.monotonic() - began < 8
    delivery.refresh_from_db()
    assert delivery.error == NO_ANSWER
    assert len(service.posted) == 1


def test_a_silent_channel_keeps_no_other_waiting(make_channel, service, quick):
    service.hangs = True
    queued(make_channel("webhook", service.url + PATH))
    queued(make_channel("email", addresses="dba@example.com"))
    assert deliver() == {"pending": 1, "sent": 1}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(make_channel, service, status):
    service.status, service.headers = status, {"Location": f"http://127.0.0.1:{service.url.rsplit(':')[-1]}/other"}
    delivery = queued(make_channel("webhook", service.url + PATH))
    assert deliver() == {"failed": 1}
    assert len(service.posted) == 1
    delivery.refresh_from_db()
    assert delivery.error == f"It answered {status}, a redirect, which is not followed."


@pytest.mark.parametrize(
    ("status", "outcome"), [(400, "failed"), (404, "failed"), (408, "pending"), (429, "pending"), (503, "pending")]
)
def test_what_may_pass_is_tried_again(make_channel, service, status, outcome):
    service.status = status
    queued(make_channel("webhook", service.url + PATH))
    assert deliver() == {outcome: 1}


@pytest.mark.parametrize(
    ("kind", "answer", "outcome", "told"),
    [
        ("feishu", '{"code": 19021, "msg": "sign match fail"}', "pending", "It answered 19021: sign match fail"),
        ("wecom", '{"errcode": 93000, "errmsg": "invalid url"}', "pending", "It answered 93000: invalid url"),
        ("dingtalk", "<html>", "failed", "It answered 200, but not like this service. Check the URL."),
        ("feishu", '["ok"]', "failed", "It answered 200, but not like this service. Check the URL."),
    ],
)
def test_a_service_that_says_no_with_200(make_channel, service, kind, answer, outcome, told):
    service.answer = answer
    delivery = queued(make_channel(kind, service.url + PATH))
    assert deliver() == {outcome: 1}
    delivery.refresh_from_db()
    assert delivery.error == told


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:1/x", NO_ANSWER),
        ("http://nowhere.invalid/x", "Its host name is not known."),
        ("https://127.0.0.1:{port}/x", NO_ANSWER),
    ],
)
def test_a_service_that_is_not_there(make_channel, service, url, told):
    delivery = queued(make_channel("webhook", url.format(port=urlsplit(service.url).port)))
    assert deliver() == {"pending": 1}
    delivery.refresh_from_db()
    assert delivery.error.startswith(told)


def test_a_certificate_that_nobody_vouches_for(make_channel, service, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = timezone.now()
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    signed = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "both.pem").write_bytes(plain + signed.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tls = context.wrap_socket(listener, server_side=True)

        def serve() -> None:
            with contextlib.suppress(OSError):
                tls.accept()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        delivery = queued(make_channel("webhook", f"https://localhost:{tls.getsockname()[1]}{PATH}"))
        assert deliver() == {"pending": 1}
        thread.join(5)
        tls.close()
    delivery.refresh_from_db()
    assert delivery.error == NO_ANSWER
    assert "Its certificate cannot be trusted: self" in caplog.text


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "127.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "224.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
    ],
)
def test_a_channel_reaches_no_private_address(make_channel, service, settings, host):
    """F8.5: loopback, private, link-local and metadata addresses, however they are written."""
    settings.TAIFISH_WEBHOOK_ALLOW = Allowed()
    delivery = queued(make_channel("webhook", f"https://{host}:{urlsplit(service.url).port}{PATH}"))
    assert deliver() == {"failed": 1}
    delivery.refresh_from_db()
    assert delivery.error == "It is in a network that channels may not reach, unless TAIFISH_WEBHOOK_ALLOW lists it."
    assert not service.posted


def test_a_name_is_resolved_once_and_its_permitted_address_used(make_channel, service, settings, monkeypatch):
    """F8.5: the next answer of the name server, or its first address, may be a private one."""
    port = urlsplit(service.url).port
    asked = []

    def answers(host, *args, **options):
        asked.append(host)
        found = ["127.0.0.2", "127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    channel = make_channel("webhook", f"http://localhost:{port}{PATH}")
    settings.TAIFISH_WEBHOOK_ALLOW = Allowed(frozenset({"hooks.example"}))
    monkeypatch.setattr(socket, "getaddrinfo", answers)
    channel.url = f"http://hooks.example:{port}{PATH}"
    channel.full_clean()
    channel.save()
    monkeypatch.setattr(Allowed, "_permits", lambda self, host, found: (host, found) == ("hooks.example", "127.0.0.1"))
    queued(channel)
    assert deliver() == {"sent": 1}
    assert asked == ["hooks.example"]
    assert service.posted[0][1]["Host"] == f"hooks.example:{port}"


def test_errors_do_not_say_whether_a_port_is_open(make_channel, service):
    """F8.5: closed, silent, and open but no web server, are one answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            with listener.accept()[0] as peer:
                peer.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        greets = queued(make_channel("webhook", f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        closed = queued(make_channel("webhook", "http://127.0.0.1:1/"))
        assert deliver() == {"pending": 2}
        thread.join(5)
    errors = set(Delivery.objects.filter(pk__in=[greets.pk, closed.pk]).values_list("error", flat=True))
    assert errors == {NO_ANSWER}


def test_http_is_for_listed_hosts_only(make_channel, settings):
    """F8.5: https by default; networks allow addresses, names allow names."""
    settings.TAIFISH_WEBHOOK_ALLOW = Allowed()
    with pytest.raises(ValidationError, match="https://host/path"):
        make_channel("webhook", "http://hooks.example/x")
    channel = make_channel("webhook", "https://hooks.example/x")
    channel.url = "http://hooks.example/x"
    channel.save()
    delivery = queued(channel)
    assert deliver() == {"failed": 1}
    delivery.refresh_from_db()
    assert "TAIFISH_WEBHOOK_ALLOW" in delivery.error
    settings.TAIFISH_WEBHOOK_ALLOW = Allowed(frozenset({"hooks.example"}))
    channel.full_clean()


@pytest.mark.parametrize("wrong", ["10.0.0.0/99", "https://host", "two words", "a_b", "-x"])
def test_a_wrong_list_of_allowed_hosts_is_refused(monkeypatch, wrong):
    monkeypatch.setenv("TAIFISH_WEBHOOK_ALLOW", f"hooks.example, {wrong}")
    with pytest.raises(ImproperlyConfigured, match="TAIFISH_WEBHOOK_ALLOW has"):
        allowed("TAIFISH_WEBHOOK_ALLOW")


def test_a_changed_url_asks_for_the_secret_again(make_channel, admin_client):
    """F8.5: who may edit a channel, but does not know its secret, cannot have it used at another address."""
    channel = make_channel("webhook", "https://hooks.example/a", SECRET)
    address = reverse("admin:alerts_channel_change", args=[channel.pk])
    form = {"name": channel.name, "active": "on", "url": "https://other.example/a"}
    answer = admin_client.post(address, form)
    assert "Enter the secret again, or delete it: the URL changed." in answer.content.decode()
    answer = admin_client.patch(
        f"/api/alert-channels/{channel.pk}/", {"url": "https://other.example/a"}, content_type="application/json"
    )
    assert answer.json()["secret"] == ["Enter the secret again, or delete it: the URL changed."]
    channel.refresh_from_db()
    assert channel.url == "https://hooks.example/a"
    assert admin_client.post(address, form | {"url": "https://hooks.example/a"}).status_code == 302
    assert admin_client.post(address, form | {"secret": SECRET}).status_code == 302
    assert (
        admin_client.post(address, form | {"url": "https://third.example/a", "clear_secret": "on"}).status_code == 302
    )


def test_a_mail_server_that_refuses(make_channel, monkeypatch):
    def refuse(self, messages):
        raise smtplib.SMTPRecipientsRefused({"dba@example.com": (550, b"no such user")})

    monkeypatch.setattr(locmem.EmailBackend, "send_messages", refuse)
    delivery = queued(make_channel("email", addresses="dba@example.com"))
    assert deliver() == {"pending": 1}
    delivery.refresh_from_db()
    assert "no such user" in delivery.error


def test_a_try_that_died_with_its_worker_is_made_good(make_channel, monkeypatch):
    queued(make_channel("email", addresses="dba@example.com"))

    def die(*args):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(services, "send", die)
        with pytest.raises(SystemExit):
            deliver()
    # Others leave it alone for as long as a try may take.
    assert deliver() == {}
    assert again() == {"sent": 1}


def test_who_was_too_slow_does_not_say_how_it_went(make_channel, monkeypatch):
    delivery = queued(make_channel("email", addresses="dba@example.com"))

    def slow(*args):
        Delivery.objects.update(attempts=2)
        raise services.NotDelivered("late", transient=False)

    monkeypatch.setattr(services, "send", slow)
    deliver()
    delivery.refresh_from_db()
    assert (delivery.status, delivery.error) == ("pending", "")


def test_a_channel_that_was_switched_off(make_channel):
    channel = make_channel("email", addresses="dba@example.com")
    delivery = queued(channel)
    Channel.objects.update(active=False)
    assert deliver() == {"failed": 1}
    delivery.refresh_from_db()
    assert delivery.error == "The channel is inactive."
    # A test is what one makes before it is switched on.
    assert send_test(channel).status == "sent"


def test_a_test_is_tried_once(make_channel, service):
    channel = make_channel("webhook", service.url + PATH)
    assert send_test(channel).status == "sent"
    assert service.posted[0][2]["subject"] == "Taifish: a test"
    assert f"This is a test of the channel “{channel.name}”" in service.posted[0][2]["text"]
    service.status = 500
    failed = send_test(channel)
    assert (failed.status, failed.error) == ("failed", "It answered 500.")
    assert not send_again(failed)
    assert again() == {}


def test_old_alerts_and_messages_are_forgotten(failing, settings):
    evaluate()
    deliver()
    assert services.purge() == 0
    old = timezone.now() - timedelta(days=settings.TAIFISH_KEEP_SESSIONS_DAYS + 1)
    Delivery.objects.update(created_at=old)
    Alert.objects.update(first_seen_at=old)
    # What is open stays, however old.
    assert services.purge() == 1
    Alert.objects.update(resolved_at=old)
    assert services.purge() == 1


# Channels, and their secrets


@pytest.mark.parametrize(
    ("kind", "url", "secret", "addresses", "wrong"),
    [
        ("email", "", "", "", "addresses"),
        ("email", "", "", "dba@example.com, nobody", "addresses"),
        ("email", "https://x.example/y", "", "dba@example.com", "url"),
        ("email", "", "s", "dba@example.com", "secret"),
        ("webhook", "", "", "", "url"),
        ("webhook", "https://x.example/y", "", "dba@example.com", "addresses"),
        ("webhook", "ftp://x.example/y", "", "", "url"),
        ("webhook", "file:///etc/passwd", "", "", "url"),
        ("webhook", "https://user:password@x.example/y", "", "", "url"),
        ("webhook", "https://x.example/a b", "", "", "url"),
        ("webhook", "https://x.example:99999/", "", "", "url"),
        ("webhook", "https:///y", "", "", "url"),
        ("slack", "https://x.example/y", "s", "", "secret"),
        ("wecom", "https://x.example/y", "s", "", "secret"),
        ("pager", "https://x.example/y", "", "", "kind"),
    ],
)
def test_a_channel_that_cannot_work_is_refused(make_channel, kind, url, secret, addresses, wrong):
    with pytest.raises(ValidationError) as refused:
        make_channel(kind, url, secret, addresses=addresses)
    assert wrong in refused.value.message_dict
    if url:
        assert url not in str(refused.value.message_dict)


def test_what_a_service_quotes_of_its_address_is_not_kept(make_channel, service, caplog):
    caplog.set_level(logging.DEBUG)
    url = service.url + PATH
    service.answer = json.dumps({"errcode": 1, "errmsg": f"{SECRET} {url} {PATH} 5f1c0a9e-the-key 9b3e77f0"})
    delivery = queued(make_channel("dingtalk", url, SECRET), attempts=services.ATTEMPTS - 1)
    assert deliver() == {"failed": 1}
    delivery.refresh_from_db()
    assert delivery.error.startswith("It answered 1: ********")
    for told in (delivery.error, caplog.text):
        assert not any(part in told for part in (SECRET, "the-key", "9b3e77f0"))
    assert "given up" in caplog.text


def test_addresses_and_secrets_are_encrypted_and_follow_the_keys(make_channel, settings):
    channel = make_channel("feishu", "https://open.example" + PATH, SECRET)
    assert not any(part in channel.url_token + channel.secret_token for part in (SECRET, "the-key"))
    new = Fernet.generate_key().decode()
    old = settings.TAIFISH_CREDENTIAL_KEYS
    settings.TAIFISH_CREDENTIAL_KEYS = [new, *old]
    out = StringIO()
    call_command("rotate_credential_keys", stdout=out)
    assert out.getvalue().startswith("2 ")
    settings.TAIFISH_CREDENTIAL_KEYS = [new]
    channel.refresh_from_db()
    assert (channel.url, channel.secret) == ("https://open.example" + PATH, SECRET)
    settings.TAIFISH_CREDENTIAL_KEYS = old
    with pytest.raises(crypto.CredentialKeyError):
        channel.url  # noqa: B018
    delivery = queued(channel)
    assert deliver() == {"failed": 1}
    delivery.refresh_from_db()
    assert delivery.error.startswith("No key in TAIFISH_CREDENTIAL_KEYS decrypts this secret")
