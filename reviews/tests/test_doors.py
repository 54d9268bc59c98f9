"""The doors of campaigns: API, commands, pages, the role that sees its own items only, limits by tag, the alert."""

from __future__ import annotations

import json
import zipfile
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account
from accounts.tests.stored import account
from alerts.findings import alerts_of
from alerts.models import AlertRule
from audit.models import Event
from instances.tests.api import client_of, client_with, superclient
from instances.tests.pages import entered, staff, superstaff
from reviews import services
from reviews.models import Campaign, Decision, Item
from reviews.tests.campaigns import campaign, owned, reviewer
from tagging.models import InstanceTag, Tag, TagLimit

pytestmark = pytest.mark.django_db


@pytest.fixture
def carol():
    found = reviewer("carol")
    found.user_permissions.add(Permission.objects.get(codename="view_item"))
    return found


@pytest.fixture
def made(instances, carol) -> Campaign:
    for name in ("alice", "bob"):
        account(instances[0], name, can_login=True)
    account(instances[1], "eve")
    return services.freeze(campaign(carol))


def test_a_campaign_by_the_api_from_the_draft_to_the_pack(instances, carol, tmp_path):
    account(instances[0], "alice", can_login=True)
    root = superclient()
    answer = root.post(
        "/api/campaigns/",
        {"name": "Q4", "due_on": "2027-01-31", "reviewers": [{"user": carol.pk, "tag": None}]},
        format="json",
    )
    assert answer.status_code == 201, answer.data
    url = f"/api/campaigns/{answer.data['id']}/"
    assert root.post(f"{url}start/").data["state"] == "running"
    assert root.patch(url, {"note": "x"}, format="json").status_code == 409
    assert root.delete(url).status_code == 409
    mine = client_of(carol).get("/api/review-items/").data["results"]
    assert [(row["account_label"], row["what"], row["verdict"]) for row in mine] == [("alice", "account", "")]
    body = {"items": [mine[0]["id"]], "verdict": "revoke"}
    refused = client_of(carol).post("/api/review-items/decide/", body, format="json")
    assert (refused.status_code, "reason" in str(refused.data)) == (409, True)
    done = client_of(carol).post("/api/review-items/decide/", body | {"reason": "has left"}, format="json")
    assert done.data == {"done": 1}
    assert root.get(f"{url}progress/").data[0]["revoke"] == 1
    assert {row["name"]: row["is_unknown"] for row in root.get(f"{url}instances/").data} == {"pg": True, "my": True}
    assert root.get(f"{url}pack/").status_code == 409
    root.post(f"{url}close/")
    root.post(f"{url}acknowledge/", {"text": "Seen."}, format="json")
    assert root.post(f"{url}seal/").data["state"] == "sealed"
    file = tmp_path / "pack.zip"
    file.write_bytes(b"".join(root.get(f"{url}pack/").streaming_content))
    assert "report.html" in zipfile.ZipFile(file).namelist()
    assert Event.objects.filter(kind="export", model="reviews.campaign").exists()


def test_nobody_decides_about_their_own_account_by_api_and_page(made, carol):
    """F9.4."""
    owned(Account.objects.get(name="alice"), carol)
    pk = Item.objects.get(account_label="alice").pk
    body = {"items": [pk], "verdict": "keep"}
    assert client_of(carol).post("/api/review-items/decide/", body, format="json").status_code == 409
    page = entered(carol)
    assert "Your own account" in page.get(reverse("my-items")).text
    answer = page.post(reverse("my-items"), {"items": [pk], "do": "keep", "opened": ""})
    assert "own account" in answer.text
    assert not Decision.objects.exists()


def test_a_reviewer_sees_and_decides_their_own_items_only(made):
    other = reviewer("mallory")
    other.user_permissions.add(Permission.objects.get(codename="view_item"))
    item = Item.objects.get(account_label="alice")
    assert client_of(other).get("/api/review-items/").data["count"] == 0
    page = entered(other)
    assert item.account_label not in page.get(reverse("my-items")).text
    assert item.account_label not in page.get(reverse("admin:reviews_item_changelist")).text
    assert page.get(reverse("admin:reviews_item_change", args=[item.pk])).status_code == 404
    answer = page.post(reverse("my-items"), {"items": [item.pk], "do": "keep"})
    assert "not yours to decide" in answer.text
    assert page.get(reverse("admin:reviews_campaign_changelist")).status_code == 403


def test_who_is_limited_to_a_tag_sees_items_of_its_instances_and_starts_nothing(made, instances):
    tag = Tag.objects.create(slug="prod", label="Production")
    InstanceTag.objects.create(instance=instances[1], tag=tag)
    user = reviewer("limited")
    names = ["view_item", "view_campaign", "change_campaign", "add_campaign"]
    user.user_permissions.add(*Permission.objects.filter(codename__in=names))
    TagLimit.objects.create(user=user, tag=tag)
    rows = client_of(user).get("/api/review-items/").data["results"]
    assert {row["instance_name"] for row in rows} == {"my"}
    page = entered(user)
    board = page.get(reverse("admin:reviews_campaign_change", args=[made.pk]))
    assert [place.name for place in board.context["page"]] == ["my"]
    assert board.context["n_items"] == 1
    body = {"name": "mine", "due_on": "2027-01-31"}
    assert client_of(user).post("/api/campaigns/", body, format="json").status_code == 403
    assert client_of(user).post(f"/api/campaigns/{made.pk}/close/").status_code == 403
    assert page.get(reverse("admin:reviews_campaign_add")).status_code == 403


def test_the_board_and_my_items_take_a_fixed_number_of_queries(made, carol, instances, django_assert_max_num_queries):
    root = superstaff()
    for n in range(30):
        account(instances[0], f"more{n}")
    services.freeze(campaign(carol, name="large"))
    for url in (reverse("admin:reviews_campaign_change", args=[made.pk]), reverse("my-items")):
        root.get(url)
        with django_assert_max_num_queries(30):
            assert root.get(url).status_code == 200


def test_my_items_are_decided_in_bulk_with_the_time_spent(made, carol):
    page = entered(carol)
    opened = page.get(reverse("my-items")).context["opened"]
    ids = list(Item.objects.values_list("pk", flat=True))
    page.post(reverse("my-items"), {"items": ids, "do": "keep", "opened": opened})
    assert {(one.verdict, one.bulk_size) for one in Decision.objects.all()} == {("keep", 3)}
    assert all(one.seconds is not None and one.seconds < 60 for one in Decision.objects.all())


def test_the_commands_start_and_show_and_export(instances, carol, tmp_path, capsys):
    account(instances[0], "alice")
    campaign(carol)
    call_command("review", "start", "Q4")
    assert "carol: 1 items; 0 keep, 0 revoke, 0 change, 1 undecided" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        call_command("review", "status", "Q4", "--json")
    assert ended.value.code == 3
    shown = json.loads(capsys.readouterr().out)
    assert (shown["undecided"], sorted(shown["unknown"])) == (1, ["my", "pg"])
    with pytest.raises(CommandError, match="not sealed"):
        call_command("review", "export", "Q4", "--output", str(tmp_path / "x.zip"))
    with pytest.raises(CommandError, match="no campaign"):
        call_command("review", "status", "Q5")
    root = reviewer("root")
    services.decide(Item.objects.values_list("pk", flat=True), "keep", carol)
    services.seal(services.acknowledge(services.close(Campaign.objects.get()), root, "Seen."))
    call_command("review", "export", "Q4", "--output", str(tmp_path / "x.zip"))
    call_command("review", "key")
    key = tmp_path / "key"
    key.write_text(capsys.readouterr().out.splitlines()[-1])
    call_command("verify_pack", str(tmp_path / "x.zip"), "--key", str(key))


def test_a_late_reviewer_is_an_alert(made):
    rule = AlertRule.objects.create(name="late", kind="review_due", active=True)
    assert list(alerts_of(rule)) == []
    Campaign.objects.update(due_on=timezone.localdate() - timedelta(days=1))
    (alert,) = alerts_of(rule)
    assert alert.text.endswith("without a decision: 3 items of carol")


def test_a_reviewer_is_reminded_before_the_due_day(made):
    rule = AlertRule.objects.create(name="soon", kind="review_near", threshold=3, active=True)
    for days, n in ((4, 0), (3, 1), (0, 1), (-1, 0)):
        Campaign.objects.update(due_on=timezone.localdate() + timedelta(days=days))
        assert len(list(alerts_of(rule))) == n, days
    Campaign.objects.update(due_on=timezone.localdate())
    (alert,) = alerts_of(rule)
    assert f"is due on {timezone.localdate()}; without a decision: 3 items of carol" in alert.text


def test_an_overdue_campaign_is_escalated_once_after_its_days(made, carol, django_assert_num_queries):
    rule = AlertRule.objects.create(name="late", kind="review_due", active=True)
    boss = reviewer("boss")
    due_on = timezone.localdate() - timedelta(days=3)
    Campaign.objects.update(due_on=due_on, escalate_to=boss, escalate_after=3)
    assert [alert.key for alert in alerts_of(rule)] == [f"{made.pk}:{carol.pk}"], "the last of its days is today"
    Campaign.objects.update(escalate_after=2)
    with django_assert_num_queries(2):
        _late, alert = alerts_of(rule)
    assert alert.key == f"{made.pk}:escalated"
    assert f"escalated to boss: it was due on {due_on}; without a decision: 3 items; reviewers: 1" in alert.text
    assert set(made.items.values_list("reviewer", flat=True)) == {carol.pk}
    board = reverse("admin:reviews_campaign_change", args=[made.pk])
    assert "boss, 2 days after the due day" in superstaff().get(board).text
    services.delegate(made.items.values_list("pk", flat=True), boss, carol, reason="carol is late")
    services.decide(made.items.values_list("pk", flat=True), "keep", boss)
    assert list(alerts_of(rule)) == []


def test_the_api_sets_who_a_campaign_is_escalated_to(carol):
    root = superclient()
    body = {"name": "Q4", "due_on": "2027-01-31", "escalate_to": carol.pk, "escalate_after": 5}
    answer = root.post("/api/campaigns/", body, format="json")
    assert (answer.data["escalate_to"], answer.data["escalate_after"]) == (carol.pk, 5)
    url = f"/api/campaigns/{answer.data['id']}/"
    assert "escalate_after" in root.patch(url, {"escalate_after": 366}, format="json").data
    assert root.patch(url, {"escalate_to": None}, format="json").data["escalate_to"] is None


def test_pages_need_their_permissions(made):
    assert staff().get(reverse("my-items")).status_code == 403
    assert client_with().get("/api/review-items/").status_code == 403
    assert client_with("reviews.view_item").post("/api/review-items/decide/", {}, format="json").status_code == 403
