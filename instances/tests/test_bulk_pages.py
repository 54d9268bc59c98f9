"""Editing many instances at once."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from audit.models import Event
from instances.models import Credential, Instance
from instances.tests.pages import entered, staff, told
from tagging.models import InstanceTag, Tag, TagLimit

LIST = reverse("admin:instances_instance_changelist")
EDITOR = ("instances.view_instance", "instances.change_instance")
KEEPER = (*EDITOR, "instances.use_credential")


@pytest.fixture
def fleet(db: None) -> list[Instance]:
    old = Credential.objects.create(name="old", username="taifish")
    return [
        Instance.objects.create(name=f"db{number}", engine="mysql", host=f"db{number}.example.org", credential=old)
        for number in range(3)
    ]


def post(client, instances: list[Instance], **fields: object):
    data = {"action": "edit_many", "_selected_action": [one.pk for one in instances], "next": LIST, **fields}
    return client.post(LIST, data)


def confirm(client, instances: list[Instance], **fields: object):
    seen = re.search('name="seen" value="([^"]*)"', post(client, instances, preview="1", **fields).text)
    return post(client, instances, confirmed="1", seen=seen[1], **fields)


def test_the_preview_says_what_changes_and_the_confirmed_one_changes_it(fleet):
    """F8.2: each change is in the audit trail, with the old and the new value."""
    Instance.objects.filter(name="db2").update(budget=900)
    client = staff(*EDITOR)
    assert "What is left empty stays as it is." in post(client, fleet).text
    page = post(client, fleet, preview="1", budget="900", level="C").text
    assert "3 instances would change." in page
    assert '<div>time budget of a visit, s: 600 → <span class="tf-strong">900</span></div>' in page
    assert page.count("600 →") == 2
    assert set(Instance.objects.values_list("budget", "level")) == {(600, "B"), (900, "B")}
    done = client.get(confirm(client, fleet, budget="900", level="C").url)
    assert "3 instances changed." in told(done)
    assert set(Instance.objects.values_list("budget", "level", "connect_timeout")) == {(900, "C", 10)}
    events = Event.objects.filter(kind="update", model="instances.instance", after__has_key="budget")
    assert {(event.object, event.before["budget"], event.after["budget"]) for event in events} >= {("db0", 600, 900)}


def test_one_that_cannot_be_changed_keeps_all_as_they_are(fleet):
    """F8.1: a password goes only where its credential says."""
    new = Credential(name="new", username="t", hosts="db0.example.org, db1.example.org")
    new.password = "x"
    new.save()
    client = staff(*KEEPER)
    page = post(client, fleet, preview="1", credential=new.pk).text
    assert "1 of them cannot be changed, so none will be." in page
    assert "The credential does not list this host." in page
    seen = re.search('name="seen" value="([^"]*)"', page)[1]
    assert post(client, fleet, confirmed="1", seen=seen, credential=new.pk).status_code == 200
    assert set(Instance.objects.values_list("credential__name", flat=True)) == {"old"}
    confirm(client, fleet[:2], credential=new.pk)
    assert list(Instance.objects.values_list("credential__name", flat=True)) == ["new", "new", "old"]
    Credential.objects.filter(pk=new.pk).update(hosts="")
    assert "Enter the password of the credential again" in post(client, fleet, preview="1", credential=new.pk).text


def test_a_credential_takes_the_permission_to_use_it_and_an_edit_that_to_change(fleet):
    other = Credential.objects.create(name="other", username="t", hosts="*")
    editor = staff(*EDITOR)
    assert 'name="credential"' not in post(editor, fleet).text
    assert "Enter what to change." in post(editor, fleet, preview="1", credential=other.pk).text
    assert post(staff("instances.view_instance"), fleet, preview="1", budget="900").status_code == 403
    assert set(Instance.objects.values_list("credential__name", flat=True)) == {"old"}


def test_instances_outside_the_limit_are_not_touched(fleet):
    tag = Tag.objects.create(slug="lab", label="Lab")
    InstanceTag.objects.create(instance=fleet[0], tag=tag)
    user = User.objects.create_user("limited")
    TagLimit.objects.create(user=user, tag=tag)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_instance", "change_instance"]))
    page = post(entered(user), fleet, preview="1", budget="900").text
    assert "1 instance would change." in page
    assert not re.search(r">\s*db1\b", page)


def test_a_preview_that_is_out_of_date_is_shown_again(fleet):
    client = staff(*EDITOR)
    seen = re.search('name="seen" value="([^"]*)"', post(client, fleet, preview="1", budget="900").text)[1]
    Instance.objects.filter(name="db0").update(budget=30)
    page = post(client, fleet, confirmed="1", seen=seen, budget="900").text
    assert "The instances have changed meanwhile." in page
    assert "30 →" in page
    assert set(Instance.objects.values_list("budget", flat=True)) == {30, 600}


@pytest.mark.parametrize("wrong", [{"budget": "1"}, {"level": "Z"}, {"connect_timeout": "x"}, {}])
def test_values_that_the_form_of_one_instance_refuses_are_refused(fleet, wrong):
    page = post(staff(*EDITOR), fleet, preview="1", **wrong)
    assert page.status_code == 200
    assert 'class="tf-bad"' in page.text
    assert 'name="seen"' not in page.text


def test_a_preview_costs_no_statement_per_instance(fleet):
    client = staff(*EDITOR)

    def statements(instances: list[Instance]) -> int:
        with CaptureQueriesContext(connection) as captured:
            post(client, instances, preview="1", budget="900")
        return len(captured)

    statements(fleet)
    assert statements(fleet[:1]) == statements(fleet)
