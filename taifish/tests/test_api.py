"""What is true of every endpoint: who is let in, and that no question is quietly answered with another."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.urls import reverse
from rest_framework.test import APIClient

from instances.models import Credential, Instance
from instances.tests.api import client_with, superclient
from tagging.models import Tag
from taifish.api import router

#: route name → permission to look
LISTS = {
    "instance": "instances.view_instance",
    "credential": "instances.view_credential",
    "tag": "tagging.view_tag",
    "tagoperation": "tagging.view_tagoperation",
    "syncsession": "sync.view_syncsession",
    "syncrecord": "sync.view_syncrecord",
    "visithealth": "sync.view_visithealth",
    "account": "accounts.view_account",
    "accountchange": "accounts.view_accountchange",
    "accountfilter": "accounts.view_accountfilter",
    "database": "capacity.view_database",
    "databasefilter": "capacity.view_databasefilter",
    "databasesize": "capacity.view_databasesize",
    "instancesize": "capacity.view_instancesize",
    "tablespace": "capacity.view_tablespace",
    "tablespacesize": "capacity.view_tablespacesize",
    "instanceaggregate": "aggregation.view_instanceaggregate",
    "databaseaggregate": "aggregation.view_databaseaggregate",
    "sizelimit": "planning.view_sizelimit",
    "volume": "planning.view_volume",
    "instance-limits": "planning.view_sizelimit",
    "forecasts": "planning.view_sizelimit",
    "classification": "classification.view_classification",
    "classificationrule": "classification.view_classificationrule",
    "assignment": "classification.view_assignment",
    "person": "owners.view_person",
    "ownership": "owners.view_ownership",
    "ownerrule": "owners.view_ownerrule",
    "enddate": "owners.view_enddate",
    "baseline": "drift.view_baseline",
    "accepteddeviation": "drift.view_accepteddeviation",
    "dutypair": "duties.view_dutypair",
    "acceptedconflict": "duties.view_acceptedconflict",
    "campaign": "reviews.view_campaign",
    "item": "reviews.view_item",
    "alertrule": "alerts.view_alertrule",
    "channel": "alerts.view_channel",
    "alert": "alerts.view_alert",
    "delivery": "alerts.view_delivery",
    "periodictask": "django_celery_beat.view_periodictask",
    "apitoken": "taifish.view_apitoken",
    "audit": "audit.view_event",
}
#: route name → (path argument, permission to look)
NESTED = {
    "tag-instances": ("tag_id", "instances.view_instance"),
    "syncsession-records": ("session_id", "sync.view_syncrecord"),
    "account-grants": ("account_id", "accounts.view_grant"),
    "account-memberships": ("account_id", "accounts.view_membership"),
    "account-roles": ("account_id", "accounts.view_rolereach"),
    "account-effective": ("account_id", "accounts.view_grant"),
    "baseline-deviations": ("baseline_id", "drift.view_baseline"),
    "dutypair-conflicts": ("pair_id", "duties.view_dutypair"),
}
#: route name → permission to look, and the answer to a question that says nothing; it is asked in the query
QUESTIONS = {
    "access": ("accounts.view_grant", 400),
    "compare": ("accounts.view_grant", 400),
    "where-is": ("accounts.view_account", 400),
    "matrix": ("accounts.view_grant", 400),
    "capacity-gaps": ("capacity.view_instancesize", 200),
    "aggregate-totals": ("aggregation.view_instanceaggregate", 200),
    "aggregate-lacking": ("aggregation.view_instanceaggregate", 200),
    "filling-up": ("planning.view_sizelimit", 200),
    "end-dates-seen": ("owners.view_enddate", 200),
    "leavers": ("accounts.view_grant", 400),
    "sizes-so-far": ("aggregation.view_instanceaggregate", 400),
}


def test_every_endpoint_is_looked_at_here():
    # The search is of several models: see test_search.
    assert {name for _, _, name in router.registry} == LISTS.keys() | NESTED.keys() | QUESTIONS.keys() | {"search"}


def test_the_schema_is_valid_and_without_warnings(tmp_path):
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema.yaml"))
    schema = (tmp_path / "schema.yaml").read_text()
    assert "/api/accounts/{account_id}/grants/:" in schema
    assert "/api/instances/{id}/test-connection/:" in schema


@pytest.mark.parametrize("name", LISTS)
def test_without_the_view_permission_nothing_is_shown(db, name):
    url = reverse(f"{name}-list")
    assert APIClient().get(url).status_code in (401, 403)
    assert client_with().get(url).status_code == 403
    assert client_with(LISTS[name]).get(url).status_code == 200
    assert client_with(LISTS[name]).post(url, {}, format="json").status_code in (403, 405)
    assert client_with(LISTS[name]).get(f"{url}77/").status_code == 404


@pytest.mark.parametrize("name", NESTED)
def test_what_belongs_to_nothing_is_not_an_empty_list(db, name):
    argument, permission = NESTED[name]
    url = reverse(f"{name}-list", kwargs={argument: 99999999999999999999999})
    assert client_with().get(url).status_code == 403
    assert client_with(permission).get(url).status_code == 404


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("colour_of=red", "Unknown parameter. Valid are: "),
        ("page=1&page=2", "Given more than once."),
        ("ordering=", "Empty."),
        ("ordering=-token", "Cannot order by '-token'. Valid are: "),
        ("page_size=all", "Give a whole number from 1 to 1000."),
        ("page_size=1001", "Give a whole number from 1 to 1000."),
    ],
)
def test_a_parameter_that_means_nothing_is_refused(db, name, query, told):
    answer = superclient().get(f"{reverse(f'{name}-list')}?{query}")
    assert answer.status_code == 400
    assert told in str(answer.json()[query.partition("=")[0]])


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("account-list?superuser=yes", "Say true or false."),
        ("account-list?gone=no", "Say true or false."),
        ("account-list?kind=group", "group is not one of the available choices"),
        ("account-list?instance=77", "There is no instance “77”."),
        ("account-list?instance=x", "There is no instance “x”."),
        ("account-list?instance_name=prod", "There is no instance “prod”."),
        ("account-list?tag=prod", "There is no tag “prod”."),
        ("account-list?tag=50%25s", "There is no tag “50%s”."),
        ("account-list?name=%00", "Null characters are not allowed."),
        ("accountchange-list?since=yesterday", "Enter a valid date/time."),
        ("accountchange-list?event=vanished", "vanished is not one of the available choices"),
        ("syncsession-list?kind=acounts", "acounts is not one of the available choices"),
        ("syncsession-list?retry_of=5", "There is no sync session “5”."),
        ("instance-list?engine=db2", "db2 is not one of the available choices"),
    ],
)
def test_a_value_that_means_nothing_is_refused(db, query, told):
    name, _, query = query.partition("?")
    answer = superclient().get(f"{reverse(name)}?{query}")
    assert answer.status_code == 400
    assert told in str(answer.json()[query.partition("=")[0]])


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_needs_the_permission_too(db, name):
    url = reverse(f"{name}-list")
    assert APIClient().get(url).status_code in (401, 403)
    assert client_with().get(url).status_code == 403
    permission, answer = QUESTIONS[name]
    assert client_with(permission).get(url).status_code == answer
    assert client_with(permission).get(f"{url}?colour_of=red").status_code == 400


@pytest.mark.parametrize("name", ["syncsession", "tagoperation", "accountchange"])
@pytest.mark.parametrize(
    ("moment", "status"),
    [
        ("2026-05-03T14:00:00%2B23:40", 200),
        ("0001-01-01T00:00:00%2B01:00", 400),
        ("9999-12-31T23:59:59-01:00", 400),
    ],
)
def test_a_moment_that_the_store_cannot_hold_is_no_failure(db, name, moment, status):
    answer = superclient().get(f"{reverse(f'{name}-list')}?since={moment}")
    assert answer.status_code == status


def test_instances_are_chosen_by_the_same_words_everywhere(db):
    """A filter that is called otherwise, or takes a name where others take an id, is one to look up each time."""
    words = {"instance", "instance_name", "tag", "engine"}
    of_instances = [
        "account", "accountchange", "alert", "assignment", "database", "databaseaggregate", "databasesize",
        "instanceaggregate", "sizelimit", "instancesize", "syncrecord", "visithealth",
        "volume",
    ]  # fmt: skip
    client = superclient()
    for name in of_instances:
        for word in words:
            answer = client.get(reverse(f"{name}-list"), {word: "nope"})
            assert (answer.status_code, list(answer.json())) == (400, [word]), (name, word)
    for name in ("access", "capacity-gaps"):
        for word in words - {"instance_name"}:
            answer = client.get(
                reverse(f"{name}-list"), {"privilege": "X", word: "nope"} if name == "access" else {word: "nope"}
            )
            assert (answer.status_code, list(answer.json())) == (400, [word]), (name, word)


def test_instances_with_a_tag(db):
    credential = Credential.objects.create(name="c", username="u")
    one, _two = (Instance.objects.create(name=name, engine="mysql", host=name, credential=credential) for name in "ab")
    Tag.objects.create(slug="lab", label="Lab").instances.add(one)
    client = superclient()
    assert [row["name"] for row in client.get(reverse("instance-list"), {"tag": "lab"}).json()["results"]] == ["a"]
    assert client.get(reverse("instance-list"), {"tag": "lob"}).json() == {
        "tag": ["There is no tag “lob”. Did you mean lab?"]
    }
