"""/api/classifications/, /api/classification-rules/ and /api/assignments/."""

from __future__ import annotations

import pytest
from django.utils import timezone

from classification import services
from classification.models import Assignment, Classification, ClassificationRule
from instances.tests.api import client_with, superclient
from sync.models import SyncSession

RULES, ASSIGNMENTS = "/api/classification-rules/", "/api/assignments/"
VIEW_RULE, VIEW_ACCOUNT = "classification.view_classificationrule", "accounts.view_account"


@pytest.fixture
def body(people, rule) -> dict[str, object]:
    first = rule("one", "superuser")
    return {"code": "two", "name": "Two", "classification": first.classification_id, "expression": "can_login"}


def test_a_rule_is_made_changed_and_deleted(body):
    client = client_with(*(f"classification.{verb}_classificationrule" for verb in ("view", "add", "change", "delete")))
    made = client.post(RULES, body, format="json")
    assert (made.status_code, made.json()["version"], made.json()["active"]) == (201, 1, True)
    url = f"{RULES}{made.json()['id']}/"
    assert client.patch(url, {"expression": "locked"}, format="json").json()["version"] == 2
    told = client.get(f"{url}versions/").json()
    assert [(row["number"], row["expression"]) for row in told] == [(2, "locked"), (1, "can_login")]
    assert told[0]["by"]
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404
    assert ClassificationRule.objects.get(code="two").retired_at
    assert client_with(VIEW_RULE).post(RULES, body, format="json").status_code == 403


@pytest.mark.parametrize(
    ("changed", "field", "told"),
    [
        (
            {"expression": "supruser"},
            "expression",
            "Line 1, column 1: There is no word supruser. Did you mean superuser?",
        ),
        ({"expression": " "}, "expression", "may not be blank"),
        ({"expression": 'instance_tag("labb")'}, "expression", "There is no tag “labb”."),
        (
            {"expression": 'assigned("privilegd")'},
            "expression",
            "There is no classification “privilegd”. Did you mean privileged?",
        ),
        ({"engine": "sqlserver"}, "engine", "not a valid choice"),
        ({"code": "one"}, "code", "already exists"),
    ],
)
def test_what_is_no_rule_is_refused_at_save(body, changed, field, told):
    """F5.3"""
    answer = superclient().post(RULES, body | changed, format="json")
    assert answer.status_code == 400
    assert told in str(answer.json()[field])


def test_a_rule_stays_with_its_classification(body):
    other = Classification.objects.create(code="other", name="Other")
    url = f"{RULES}{ClassificationRule.objects.get(code='one').pk}/"
    assert "make another rule" in str(superclient().patch(url, {"classification": other.pk}, format="json").json())


def test_a_dry_run_of_a_saved_and_of_an_unsaved_rule(body, people):
    """F5.6"""
    client = client_with(VIEW_RULE, VIEW_ACCOUNT)
    first = ClassificationRule.objects.get(code="one")
    told = client.post(
        f"{RULES}{first.pk}/dry-run/", {"instance_ids": [people["ada"].instance_id]}, format="json"
    ).json()
    assert (told["examined"], told["matched"]) == (4, 1)
    assert told["counts"] == {"gained": 1, "lost": 0, "kept": 0, "unknown": 0}
    assert told["accounts"]["gained"][0] | {"id": 0} == {
        "id": 0, "label": "ada", "instance": people["ada"].instance_id, "instance_name": "pg", "reason": "",
    }  # fmt: skip
    asked = {"rule": first.pk, "expression": "unused_days > 90", "engine": "mysql"}
    told = client.post(f"{RULES}dry-run/", asked, format="json").json()
    assert told["counts"] == {"gained": 0, "lost": 0, "kept": 0, "unknown": 1}
    assert first.expression == ClassificationRule.objects.get(pk=first.pk).expression
    wrong = client.post(f"{RULES}dry-run/", {"expression": "locked or\n  x"}, format="json")
    assert (wrong.status_code, wrong.json()["place"]) == (400, {"line": "2", "column": "3"})
    late = {"as_of": f"{timezone.now().year + 1}-01-01T00:00:00Z"}
    assert client.post(f"{RULES}{first.pk}/dry-run/", late, format="json").status_code == 400
    for permissions in ([VIEW_RULE], [VIEW_ACCOUNT]):
        assert client_with(*permissions).post(f"{RULES}dry-run/", asked, format="json").status_code == 403


def test_a_dry_run_has_all_accounts_in_pages(body, people, instances, monkeypatch):
    monkeypatch.setattr("classification.serializers.PER_PAGE", 3)
    client = client_with(VIEW_RULE, VIEW_ACCOUNT)
    asked = {"expression": "superuser or unused_days > 90"}
    pages = [client.post(f"{RULES}dry-run/", asked | {"page": page}, format="json").json() for page in (1, 2, 3)]
    assert [(one["page"], one["n_pages"]) for one in pages] == [(1, 2), (2, 2), (3, 2)]
    listed = [[row["label"] for row in one["accounts"]["unknown"]] for one in pages]
    assert listed == [["web@%", "bob", "carl"], ["dba"], []]
    assert pages[1]["accounts"]["unknown"][0]["reason"] == "no login is recorded, or the engine does not show logins"
    assert [len(one["accounts"]["gained"]) for one in pages] == [1, 0, 0]
    assert client.post(f"{RULES}dry-run/", asked | {"page": 0}, format="json").status_code == 400


def test_an_account_is_explained(body, people):
    url = f"{RULES}{ClassificationRule.objects.get(code='one').pk}/explain/"
    client = client_with(VIEW_RULE, VIEW_ACCOUNT)
    assert client.get(url, {"account": people["ada"].pk}).json() == [
        {"depth": 0, "text": "superuser", "verdict": True, "because": []}
    ]
    assert client.get(url).status_code == 400
    assert client.get(url, {"account": 0}).status_code == 404
    assert client.get(url, {"accout": 1}).status_code == 400


def test_people_assign_and_withdraw_and_rules_are_left_to_runs(body, people, applied):
    applied()
    client = client_with(*(f"classification.{verb}_assignment" for verb in ("view", "add", "delete")))
    asked = {"account": people["carl"].pk, "classification": body["classification"], "reason": "on call"}
    made = client.post(ASSIGNMENTS, asked, format="json")
    assert (made.status_code, made.json()["rule"], made.json()["reason"]) == (201, None, "on call")
    assert made.json()["assigned_by"]
    assert client.post(ASSIGNMENTS, asked, format="json").status_code == 409
    assert client.post(ASSIGNMENTS, asked | {"reason": ""}, format="json").status_code == 400
    by_rule = Assignment.objects.get(account=people["ada"])
    assert client.delete(f"{ASSIGNMENTS}{by_rule.pk}/").status_code == 409
    assert client.delete(f"{ASSIGNMENTS}{made.json()['id']}/").status_code == 204
    expected = {"?current=true": 1, "?manual=true": 1, "?manual=false": 1, "?instance_name=pg": 2, "?confirmed=true": 2}
    for query, count in expected.items():
        assert client.get(f"{ASSIGNMENTS}{query}").json()["count"] == count, query


def test_auto_classify_starts_a_session(body, people, instances):
    url = "/api/classifications/auto-classify/"
    client = client_with("classification.view_classification", "classification.run_classification")
    answer = client.post(url, {"instance_ids": [instances[0].pk], "rules": ["one"]}, format="json")
    assert (answer.status_code, answer.json()["kind"]) == (202, "classification")
    session = SyncSession.objects.get()
    assert (session.trigger, session.params) == ("api", {"rules": [ClassificationRule.objects.get().pk]})
    assert [record.instance.name for record in session.records.all()] == ["pg"]
    assert client.post(url, {}, format="json").json()["counts"]["total"] == 2
    instances[1].retire()
    services.retire_rule(ClassificationRule.objects.get())
    for wrong in ({"instance_ids": [0]}, {"instance_ids": [instances[1].pk]}, {"rules": ["one"]}, {"rules": ["x"]}):
        assert client.post(url, wrong, format="json").status_code == 400, wrong
    assert client_with("classification.view_classification").post(url, {}, format="json").status_code == 403


def test_classifications_count_and_are_not_deleted_while_in_use(body, people, applied):
    applied()
    services.count_day(0)
    client = superclient()
    (row,) = client.get("/api/classifications/").json()["results"]
    assert (row["n_accounts"], row["n_rules"]) == (1, 1)
    url = f"/api/classifications/{row['id']}/"
    assert [count["accounts"] for count in client.get(f"{url}counts/").json()] == [1]
    assert client.delete(url).status_code == 409
    assert client.patch(url, {"colour": "red"}, format="json").status_code == 400
    assert client.patch(url, {"is_system": True}, format="json").json()["is_system"] is False
    shipped = Classification.objects.create(code="s", name="S", is_system=True)
    assert client.delete(f"/api/classifications/{shipped.pk}/").status_code == 409
    assert [
        result["instance_name"]
        for result in client.get(f"{RULES}{ClassificationRule.objects.get().pk}/results/").json()
    ] == ["my", "pg"]


def test_a_word_that_means_nothing_starts_no_run(db):
    """With `instance` for `instance_ids` the rules would have been applied to all."""
    answer = superclient().post("/api/classifications/auto-classify/", {"instance": ["prod"]}, format="json")
    assert (answer.status_code, answer.json()["instance"]) == (400, ["Unknown. Valid are: instance_ids, rules."])
    assert not SyncSession.objects.exists()


def test_accounts_by_their_highest_risk(people):
    """As the list of accounts in the admin, and for those who may see classifications."""
    low, high = (Classification.objects.create(code=risk, name=risk, risk=risk) for risk in ("low", "critical"))
    for name, classification in (("ada", low), ("ada", high), ("bob", low)):
        Assignment.objects.create(
            account=people[name],
            instance=people[name].instance,
            classification=classification,
            since=timezone.now(),
            reason="as told",
        )
    client = superclient()

    def found(risk: str) -> set[str]:
        return {row["name"] for row in client.get(f"/api/accounts/?risk={risk}").json()["results"]}

    assert (found("critical"), found("low"), found("high")) == ({"ada"}, {"bob"}, set())
    assert found("unclassified") == people.keys() - {"ada", "bob"}
    assert client.get("/api/accounts/?risk=dire").status_code == 400
    reader = client_with(VIEW_ACCOUNT)
    assert reader.get("/api/accounts/").status_code == 200
    assert reader.get("/api/accounts/?risk=low").status_code == 403
