"""Pages, the API and the command."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.contrib.admin.models import LogEntry
from django.core import mail
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from alerts import services
from alerts.models import Alert, AlertRule, Channel, Delivery
from alerts.tests.conftest import GIB
from instances.tests.api import client_with, superclient
from instances.tests.pages import staff, superstaff, told
from sync.models import VisitHealth
from tagging.models import Tag

PATH = "/hook/the-key-that-nobody-sees?access_token=9b3e77f0a1"
SECRET = "SEC-the-secret-that-nobody-sees"
HIDDEN = ("the-key-that-nobody-sees", "9b3e77f0a1", SECRET)


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("evaluate_alerts", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def found(make_rule, make_instance, make_channel):
    """An open alert that is told, and one that is over."""
    channel = make_channel("email", addresses="dba@example.com", name="dba")
    rule = make_rule("failing", channel, threshold=2, tell_resolved=True, name="Failing")
    for name in ("one", "two"):
        VisitHealth.objects.create(
            instance=make_instance(name), kind="accounts", failures=2, error_code="unreachable", message="no route"
        )
    services.evaluate()
    VisitHealth.objects.filter(instance__name="two").update(failures=0)
    services.evaluate()
    return rule


# The command


def test_the_command_tells_what_it_found(make_rule, make_instance, make_channel):
    make_rule("failing", make_channel("email", addresses="dba@example.com", name="dba"), threshold=2, name="Failing")
    health = VisitHealth.objects.create(
        instance=make_instance("one"), kind="accounts", failures=2, error_code="unreachable", message="no route"
    )
    what = "visits of the kind “Accounts” failed 2 times in a row: unreachable: no route"
    line = f"new: Failing: one: {what}\n"
    assert run("--dry-run") == f"{line}1 new, 0 over, 0 continue; nothing was stored\n"
    alert = {"rule": "Failing", "kind": "failing", "instance": "one", "text": what}
    assert json.loads(run("--dry-run", "--json")) == {
        "dry_run": True,
        "opened": [alert],
        "resolved": [],
        "lasting": 0,
        "messages": ["dba"],
    }
    assert not Alert.objects.exists()
    assert run() == f"{line}1 new, 0 over, 0 continue; 1 messages will be sent\n"
    assert run() == "0 new, 0 over, 1 continue; 0 messages will be sent\n"
    VisitHealth.objects.filter(pk=health.pk).update(failures=0)
    assert run() == f"over: Failing: one: {what}\n0 new, 1 over, 0 continue; 0 messages will be sent\n"


# The API


def test_rules_over_the_api(db):
    client = superclient()
    channel = Channel.objects.create(name="dba", kind="email", addresses="dba@example.com")
    tag = Tag.objects.create(slug="mine", label="Mine")
    wanted = {"name": "x", "kind": "growth", "threshold": 20, "min_bytes": GIB, "tag": "mine", "channels": [channel.pk]}
    answer = client.post("/api/alert-rules/", wanted, format="json")
    assert answer.status_code == 201
    made = AlertRule.objects.get(name="x")
    assert (made.tag, list(made.channels.all()), made.active) == (tag, [channel], False)
    url = f"/api/alert-rules/{made.pk}/"
    assert client.patch(url, {"active": True}, format="json").json()["active_since"]
    assert client.patch(url, {"kind": "paused"}, format="json").json().keys() == {"threshold", "min_bytes"}
    assert client.patch(url, {"channels": []}, format="json").json()["channels"] == []
    assert client.patch(url, {"tag": None}, format="json").json()["tag"] is None
    assert [row["name"] for row in client.get("/api/alert-rules/?active=true").json()["results"]] == ["x"]
    assert client.delete(url).status_code == 204


def test_addresses_go_into_the_api_and_never_come_out(db, service):
    client = superclient()
    url = service.url + PATH
    service.answer = '{"code": 0}'
    word = {"name": "bot", "kind": "feishu", "url": url, "secret": SECRET}
    said = [client.post("/api/alert-channels/", word, format="json")]
    assert said[0].status_code == 201
    assert (said[0].json()["has_url"], said[0].json()["has_secret"]) == (True, True)
    one = f"/api/alert-channels/{said[0].json()['id']}/"
    assert Channel.objects.get().url == url
    said += [client.get(one), client.get("/api/alert-channels/"), client.options(one)]
    said.append(client.post(f"{one}test/"))
    assert said[-1].json()["status"] == "sent"
    assert len(service.posted) == 1
    # Refused, and nothing of it is quoted.
    bad = [
        {"name": "bot", "kind": "feishu", "url": url, "secret": SECRET},
        {"name": "other", "kind": "slack", "url": url, "secret": SECRET},
        {"name": "other", "kind": "email", "url": url, "addresses": "dba@example.com"},
        {"name": "other", "kind": "webhook", "url": f"ftp://{PATH}"},
        {"name": "other", "kind": "webhook"},
        {"name": "other", "url": [url]},
    ]
    refused = [client.post("/api/alert-channels/", word, format="json") for word in bad]
    refused.append(client.patch(one, {"kind": "webhook"}, format="json"))
    assert {answer.status_code for answer in refused} == {400}
    said.append(client.patch(one, {"note": "n"}, format="json"))
    assert Channel.objects.get().secret == SECRET
    said.append(client.patch(one, {"secret": ""}, format="json"))
    assert said[-1].json()["has_secret"] is False
    assert Channel.objects.get().url == url
    for answer in [*said, *refused]:
        assert not any(part in answer.content.decode() for part in HIDDEN)


def test_alerts_and_deliveries_over_the_api(found, django_assert_num_queries):
    client = superclient()
    with django_assert_num_queries(2):
        rows = client.get("/api/alerts/").json()["results"]
    assert {(row["instance_name"], row["resolved_at"] is None) for row in rows} == {("one", True), ("two", False)}
    for query, names in (
        ("open=true", ["one"]),
        ("open=false", ["two"]),
        ("kind=paused", []),
        ("instance_name=two", ["two"]),
        ("search=route&ordering=instance", ["one", "two"]),
    ):
        assert [row["instance_name"] for row in client.get(f"/api/alerts/?{query}").json()["results"]] == names
    with django_assert_num_queries(2):
        rows = client.get("/api/alert-deliveries/?status=pending").json()["results"]
    assert [row["digest"]["subject"] for row in rows] == ["Taifish: 1 over", "Taifish: 2 new alerts"]
    again = f"/api/alert-deliveries/{rows[0]['id']}/send-again/"
    assert client.post(again).status_code == 409
    Delivery.objects.update(status="failed", attempts=8)
    assert client.post(again).json()["status"] == "pending"
    assert services.deliver() == {"sent": 1}


def test_who_may_do_what_over_the_api(found):
    channel, delivery = Channel.objects.get(), Delivery.objects.all()[0]
    Delivery.objects.update(status="failed")
    test, again = f"/api/alert-channels/{channel.pk}/test/", f"/api/alert-deliveries/{delivery.pk}/send-again/"
    assert client_with("alerts.view_channel", "alerts.view_delivery").post(test).status_code == 403
    assert client_with("alerts.view_channel", "alerts.view_delivery").post(again).status_code == 403
    assert client_with("alerts.view_channel", "alerts.change_channel").post(test).status_code == 200
    assert client_with("alerts.view_delivery", "alerts.change_delivery").post(again).status_code == 200
    seer = client_with("alerts.view_alertrule", "alerts.add_channel")
    assert seer.patch(f"/api/alert-rules/{found.pk}/", {"active": False}, format="json").status_code == 403
    assert superclient().post("/api/alerts/", {}, format="json").status_code == 405


# Pages


def form(**changed: object) -> dict[str, object]:
    return {"name": "x", "kind": "failing", "threshold": 3, "min_bytes": "", "note": ""} | changed


def test_a_rule_is_made_and_switched_on(first_rules):
    client = superstaff()
    add = reverse("admin:alerts_alertrule_add")
    page = client.get(add).content.decode()
    assert "failures in a row" in page
    assert "monitor /metrics" in page
    assert "no size" in client.post(add, form(kind="growth", min_bytes="much")).content.decode()
    assert "This kind needs it" in client.post(add, form(kind="growth")).content.decode()
    channel = Channel.objects.create(name="dba", kind="email", addresses="dba@example.com")
    answer = client.post(add, form(kind="growth", min_bytes="10 GiB", channels=[channel.pk]))
    assert answer.status_code == 302
    rule = AlertRule.objects.get(name="x")
    assert (rule.min_bytes, list(rule.channels.all())) == (10 * GIB, [channel])
    url = reverse("admin:alerts_alertrule_changelist")
    page = client.get(url).content.decode()
    assert "abnormal growth, 3 percent, 10.0 GiB" in page
    chosen = list(AlertRule.objects.filter(kind="growth").values_list("pk", flat=True))
    answer = client.post(url, {"action": "switch_on", "_selected_action": chosen}, follow=True)
    assert "Switched on: " in told(answer)
    assert AlertRule.objects.filter(active=True).count() == 2
    assert LogEntry.objects.filter(change_message="Switched on.").count() == 2
    client.post(url, {"action": "switch_off", "_selected_action": chosen})
    assert not AlertRule.objects.filter(active=True).exists()
    assert client.get(reverse("admin:alerts_alertrule_change", args=[rule.pk])).status_code == 200


def test_the_rules_are_looked_at_from_their_list(make_rule, make_instance):
    make_rule("paused")
    VisitHealth.objects.create(instance=make_instance("one"), kind="accounts", failures=5, paused_at=timezone.now())
    answer = superstaff().post(reverse("admin:alerts_alertrule_do_on_list", args=["look"]), follow=True)
    assert "1 new alert; 0 are over, 0 continue, 0 messages will be sent." in told(answer)


def test_a_channel_goes_in_and_its_secrets_never_come_out(db, service):
    client = superstaff()
    add, url = reverse("admin:alerts_channel_add"), service.url + PATH
    typed = {"name": "bot", "kind": "dingtalk", "url": url, "secret": SECRET, "active": "on"}
    seen = [client.get(add), client.post(add, typed | {"name": ""}), client.post(add, typed | {"kind": "slack"})]
    assert not Channel.objects.exists()
    seen.append(client.post(add, typed, follow=True))
    channel = Channel.objects.get()
    assert (channel.url, channel.secret) == (url, SECRET)
    page = reverse("admin:alerts_channel_change", args=[channel.pk])
    seen += [client.get(page), client.get(reverse("admin:alerts_channel_changelist"))]
    assert "One is stored. Leave this empty to keep it." in seen[-2].content.decode()
    seen.append(client.post(page, {"name": "bot 2", "active": "on"}, follow=True))
    channel.refresh_from_db()
    assert (channel.name, channel.kind, channel.url, channel.secret) == ("bot 2", "dingtalk", url, SECRET)
    seen.append(client.post(page, {"name": "bot 2", "url": "nowhere " + PATH}))
    seen.append(client.post(page, {"name": "bot 2", "secret": SECRET, "clear_secret": "on"}))
    assert "Enter a secret or select" in seen[-1].content.decode()
    seen.append(client.post(page, {"name": "bot 2", "clear_secret": "on"}, follow=True))
    channel.refresh_from_db()
    assert (channel.url, channel.secret) == (url, "")
    seen.append(client.get(reverse("admin:alerts_channel_history", args=[channel.pk])))
    seen.append(staff("alerts.view_channel").get(page))
    for answer in seen:
        assert answer.status_code == 200
        assert not any(part in answer.content.decode() for part in HIDDEN)
    entries = " ".join(LogEntry.objects.values_list("change_message", flat=True))
    assert not any(part in entries for part in HIDDEN)


def test_a_test_is_sent_from_the_page_of_a_channel(make_channel, service):
    channel = make_channel("webhook", service.url + PATH)
    do = reverse("admin:alerts_channel_do", args=[channel.pk, "test"])
    client = superstaff()
    assert "The service accepted the test message." in told(client.post(do, follow=True))
    assert len(service.posted) == 1
    service.status = 403
    assert "The test message was not delivered. It answered 403." in told(client.post(do, follow=True))
    assert staff("alerts.view_channel").post(do).status_code == 403
    mailbox = make_channel("email", addresses="dba@example.com")
    client.post(reverse("admin:alerts_channel_do", args=[mailbox.pk, "test"]))
    assert [message.subject for message in mail.outbox] == ["Taifish: a test"]


def test_alerts_and_deliveries_are_looked_at(found, django_assert_num_queries):
    client = superstaff()
    url = reverse("admin:alerts_alert_changelist")
    assert [row.instance.name for row in client.get(url).context["cl"].result_list] == ["one"]
    for state, count in (("over", 1), ("all", 2)):
        with django_assert_num_queries(5):
            answer = client.get(url, {"state": state})
        assert len(answer.context["cl"].result_list) == count
    for alert in Alert.objects.all():
        assert "no route" in client.get(reverse("admin:alerts_alert_change", args=[alert.pk])).content.decode()
    page = client.get(reverse("admin:alerts_delivery_changelist")).content.decode()
    assert "Taifish: 2 new alerts" in page
    delivery = Delivery.objects.order_by("pk")[0]
    url = reverse("admin:alerts_delivery_change", args=[delivery.pk])
    assert "- one: visits of the kind" in client.get(url).content.decode()
    assert "Send again" not in client.get(url).content.decode()
    Delivery.objects.filter(pk=delivery.pk).update(status="failed", error="It answered 500.")
    assert "Send again" in client.get(url).content.decode()
    answer = client.post(reverse("admin:alerts_delivery_do", args=[delivery.pk, "again"]), follow=True)
    assert "It will be sent within a minute." in told(answer)
    for model in ("alert", "delivery"):
        assert client.get(reverse(f"admin:alerts_{model}_add")).status_code == 403


def test_pages_are_for_those_who_may_see_them(found):
    for model in ("alert", "alertrule", "channel", "delivery"):
        url = reverse(f"admin:alerts_{model}_changelist")
        assert staff().get(url).status_code == 403
        assert staff(f"alerts.view_{model}").get(url).status_code == 200
        row = {"alert": Alert, "alertrule": AlertRule, "channel": Channel, "delivery": Delivery}[model].objects.all()[0]
        page = reverse(f"admin:alerts_{model}_change", args=[row.pk])
        assert staff(f"alerts.view_{model}").get(page).status_code == 200
