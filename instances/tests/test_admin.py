"""The pages of instances and credentials."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from instances.admin import ADDITIONS
from instances.models import Credential, Instance
from instances.tests.api import client_with
from instances.tests.pages import staff, superstaff, told

SECRET = "Tr0ub4dor&3-secret"
LIST = "/admin/instances/instance/"
VIEW = "instances.view_instance"
CHANGE = (VIEW, "instances.change_instance")


@pytest.fixture
def credential(db: None) -> Credential:
    return Credential.objects.create(name="collector", username="taifish", password=SECRET, hosts="*")


@pytest.fixture
def instance(credential: Credential) -> Instance:
    return Instance.objects.create(name="prod", engine="postgresql", host="db.example.org", credential=credential)


def page(instance: Instance) -> str:
    return reverse("admin:instances_instance_change", args=[instance.pk])


def do(instance: Instance, button: str) -> str:
    return reverse("admin:instances_instance_do", args=[instance.pk, button])


def form(instance: Instance, **changed: object) -> dict[str, object]:
    """What the browser posts for the page of an instance."""
    fields = ("name", "engine", "host", "port", "database", "tls_mode", "tls_ca", "proof", "level", "note")
    numbers = ("connect_timeout", "statement_timeout", "budget")
    values = {name: getattr(instance, name) for name in (*fields, *numbers)}
    values["port"] = instance.port or ""
    inline = {"instance_tags-TOTAL_FORMS": 0, "instance_tags-INITIAL_FORMS": 0}
    return values | {"credential": instance.credential_id} | inline | changed


def names(answer) -> list[str]:
    assert answer.status_code == 200
    return [row.name for row in answer.context["cl"].result_list]


def test_the_list_is_filtered_by_state_engine_and_credential(credential, instance):
    Instance.objects.create(name="old", engine="mysql", host="db2", credential=credential).retire()
    other = Credential.objects.create(name="other", username="x")
    Instance.objects.create(name="lab", engine="mysql", host="db3", credential=other)
    client = staff(VIEW)
    assert names(client.get(LIST)) == ["lab", "prod"]
    assert names(client.get(LIST, {"state": "retired"})) == ["old"]
    assert names(client.get(LIST, {"state": "all", "engine__exact": "mysql"})) == ["lab", "old"]
    assert names(client.get(LIST, {"credential__id__exact": other.pk})) == ["lab"]
    assert names(client.get(LIST, {"q": "db.example"})) == ["prod"]


def test_an_address_is_shown_as_people_write_it(credential):
    for name, host, port in (("a", "2001:db8::1", 5433), ("b", "db1", None), ("c", "<i>x</i>", None)):
        Instance.objects.create(name=name, engine="postgresql", host=host, port=port, credential=credential)
    page = staff(VIEW).get(LIST).content.decode().replace("<wbr>", "")
    assert "[2001:db8::1]:5433" in page
    assert "db1:5432" in page
    assert "&lt;i&gt;x&lt;/i&gt;" in page
    assert "<i>x</i>" not in page


def test_a_list_takes_a_fixed_number_of_queries(credential, django_assert_num_queries):
    """Every column that apps above add included."""
    Instance.objects.bulk_create(
        Instance(name=f"db{n}", engine="mysql", host=f"db{n}", credential=credential) for n in range(60)
    )
    client = superstaff()
    # Session, user, tags for their filter, two counts, the rows, the tags of the rows, and the saved views.
    with django_assert_num_queries(8):
        assert len(names(client.get(LIST))) == 50


def test_apps_above_plug_in_at_one_place(instance):
    """Without their permissions nothing of theirs is shown."""
    permissions = {addition.permission for addition in ADDITIONS}
    assert permissions == {
        "alerts.view_alert",
        "classification.view_assignment",
        "tagging.view_tag",
        "tagging.add_instancetag",
        "tagging.delete_instancetag",
        "sync.view_syncrecord",
        "sync.view_visithealth",
        "sync.run_visits",
        "accounts.view_account",
        "capacity.view_database",
        "planning.view_sizelimit",
        "planning.change_sizelimit",
        "planning.change_volume",
        "classification.run_classification",
    }
    plain = staff(VIEW).get(LIST).content.decode()
    for word in ("Sync accounts", "never visited", "column-tags", "column-n_accounts", "column-latest_size"):
        assert word not in plain, word
    whole = superstaff().get(LIST).content.decode()
    for word in ("Sync accounts", "never visited", "column-tags", "column-n_accounts", "column-latest_size"):
        assert word in whole, word


# Where a stored password is sent


def test_who_may_change_an_instance_may_not_yet_say_where_the_password_goes(instance, credential):
    other = Credential.objects.create(name="other", username="x", password="y", hosts="*")
    reach = {"host": "evil.example.org", "port": 1, "engine": "mysql", "credential": other.pk, "tls_mode": "disable"}
    reach |= {"proof": "as_before", "certificate": "ab" * 32, "certificate_compared": "on"}
    client = staff(*CHANGE)
    shown = client.get(page(instance) + "?edit=1").content.decode()
    assert 'name="note"' in shown
    for name in reach:
        assert f'name="{name}"' not in shown
    client.post(page(instance), form(instance, note="seen", tls_ca="/tmp/ca", **reach))
    instance.refresh_from_db()
    assert (instance.note, instance.host, instance.port) == ("seen", "db.example.org", None)
    assert (instance.engine, instance.credential, instance.tls_mode) == ("postgresql", credential, "prefer")
    assert (instance.tls_ca, instance.proof) == ("", "strict")
    assert (instance.certificate, instance.certificate_compared) == ("", False)
    staff(*CHANGE, "instances.use_credential").post(page(instance), form(instance, host="db2"))
    instance.refresh_from_db()
    assert instance.host == "db2"


def test_who_may_add_an_instance_may_not_yet_either(instance):
    url = reverse("admin:instances_instance_add")
    fields = form(instance, name="new")
    client = staff(*CHANGE, "instances.add_instance")
    assert client.get(url).status_code == 403
    assert client.post(url, fields).status_code == 403
    assert staff(VIEW, "instances.add_instance", "instances.use_credential").post(url, fields).status_code == 302
    assert Instance.objects.count() == 2


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"note": "x"}, 200),
        # What is there already moves nothing.
        ({"host": "db.example.org", "engine": "postgresql", "port": None}, 200),
        ({"host": "evil.example.org"}, 403),
        ({"port": 5433}, 403),
        ({"engine": "mysql"}, 403),
        ({"tls_mode": "disable"}, 403),
        ({"tls_ca": "/tmp/ca"}, 403),
        ({"proof": "hashes"}, 403),
        ({"certificate": "ab" * 32}, 403),
        ({"certificate": "ab" * 32, "certificate_compared": True}, 403),
    ],
)
def test_the_api_holds_to_the_same_rule(instance, fields, status):
    url = f"/api/instances/{instance.pk}/"
    answer = client_with(*CHANGE).patch(url, fields, format="json")
    assert answer.status_code == status, answer.json()
    if status == 403:
        assert "may not decide where a stored password is sent" in answer.json()["detail"]
    assert client_with(*CHANGE, "instances.use_credential").patch(url, fields, format="json").status_code == 200


def test_the_api_holds_to_it_for_credentials_and_new_instances(instance, credential):
    other = Credential.objects.create(name="other", username="x")
    url = f"/api/instances/{instance.pk}/"
    assert client_with(*CHANGE).patch(url, {"credential": other.pk}, format="json").status_code == 403
    new = {"name": "new", "engine": "postgresql", "host": "db1", "credential": credential.pk}
    adder = client_with(VIEW, "instances.add_instance")
    assert adder.post("/api/instances/", new, format="json").status_code == 403
    assert Instance.objects.get() == instance


# Buttons


@pytest.mark.parametrize("button", ["test", "retire", "restore", "sync-accounts"])
def test_a_viewer_sees_no_button_and_is_refused(instance, button):
    client = staff(VIEW)
    assert "/do/" not in client.get(page(instance)).content.decode()
    assert client.post(do(instance, button), {"confirmed": 1}).status_code == 403
    instance.refresh_from_db()
    assert not instance.is_retired


@pytest.mark.parametrize("action", ["retire", "restore", "sync_accounts", "resume_instances", "delete_selected"])
def test_a_viewer_is_refused_actions_on_many(instance, action):
    fields = {"action": action, "_selected_action": [instance.pk], "confirmed": 1}
    assert staff(VIEW).post(LIST, fields).status_code == 403


def test_buttons_are_pressed_by_post_only(instance):
    client = superstaff()
    assert client.get(do(instance, "retire")).status_code == 405
    assert client.post(do(instance, "no-such-button")).status_code == 404
    assert client.post(reverse("admin:instances_instance_do", args=[77, "retire"])).status_code == 404


def test_retiring_asks_first_and_can_be_undone(instance, settings):
    """Nothing is deleted: only the purge deletes."""
    settings.TAIFISH_KEEP_RETIRED_DAYS = 7
    client = staff(VIEW, "instances.delete_instance", "instances.change_instance")
    asked = client.post(do(instance, "retire")).content.decode()
    assert "After 7 days they are deleted" in asked
    assert not Instance.objects.get().is_retired
    client.post(do(instance, "retire"), {"confirmed": 1})
    assert Instance.objects.get().is_retired
    assert "no longer available" in told(client.post(do(instance, "retire"), {"confirmed": 1}, follow=True))
    client.post(do(instance, "restore"))
    assert not Instance.objects.get().is_retired
    assert [entry.change_message for entry in LogEntry.objects.order_by("pk")] == ["Retired.", "Restored."]
    assert (
        client.post(reverse("admin:instances_instance_delete", args=[instance.pk]), {"post": "yes"}).status_code == 403
    )


def test_many_are_retired_and_restored_at_once(instance, credential):
    Instance.objects.create(name="lab", engine="mysql", host="db2", credential=credential)
    client = superstaff()
    fields = {"action": "retire", "_selected_action": [row.pk for row in Instance.objects.all()]}
    assert "Instances to retire: lab, prod." in client.post(LIST, fields).content.decode()
    assert Instance.objects.active().count() == 2
    client.post(LIST, fields | {"confirmed": 1})
    assert Instance.objects.active().count() == 0
    client.post(f"{LIST}?state=retired", fields | {"action": "restore"})
    assert Instance.objects.active().count() == 2


def test_back_leads_to_where_one_was_and_nowhere_else(instance):
    client = superstaff()
    instance.retire()
    assert client.post(do(instance, "restore"), {"next": f"{LIST}?state=all"}).url == f"{LIST}?state=all"
    instance.retire()
    assert client.post(do(instance, "restore"), {"next": "https://evil.example.org/"}).url == page(instance)


def test_a_connection_is_tested_from_the_page(credential, postgres18):
    target = postgres18.collector("admin_check")
    credential.username, credential.password = target.username, target.password
    credential.save()
    instance = Instance.objects.create(
        name="pg", engine="postgresql", host=target.host, port=target.port, credential=credential
    )
    client = staff(VIEW, "instances.connect_instance")
    assert "PostgreSQL 18" in told(client.post(do(instance, "test"), follow=True))
    credential.password = "wrong-" + SECRET
    credential.save()
    answer = client.post(do(instance, "test"), follow=True)
    assert "auth_failed" in told(answer)
    assert SECRET not in answer.content.decode()


def test_the_check_has_a_page(credential, postgres18):
    """What works, the GRANT that is missing and what is beyond need; without a connection, why there is none."""
    target = postgres18.collector("admin_examined")
    credential.username, credential.password = target.username, target.password
    credential.save()
    instance = Instance.objects.create(
        name="pg", engine="postgresql", host=target.host, port=target.port, credential=credential, level="B"
    )
    client = staff(VIEW, "instances.connect_instance")
    assert "everything works" in client.post(do(instance, "check")).content.decode()
    postgres18.fresh_database("closed")
    postgres18.execute("REVOKE CONNECT ON DATABASE closed FROM PUBLIC; ALTER ROLE admin_examined CREATEDB")
    page = client.post(do(instance, "check")).content.decode()
    assert "GRANT CONNECT ON DATABASE &quot;closed&quot; TO &quot;admin_examined&quot;;" in page
    assert "ALTER ROLE &quot;admin_examined&quot; NOCREATEDB;" in page
    credential.password = "wrong-" + SECRET
    credential.save()
    page = client.post(do(instance, "check")).content.decode()
    assert "no connection" in page
    assert "auth_failed" in page
    assert SECRET not in page
    assert staff(VIEW).post(do(instance, "check")).status_code == 403
    postgres18.reset()


# Credentials

CREDENTIAL = reverse("admin:instances_credential_changelist")


def test_a_password_goes_in_and_never_comes_out(db):
    client = superstaff()
    add = reverse("admin:instances_credential_add")
    seen = [client.post(add, {"name": "c", "username": "u", "kind": "password", "password": SECRET}, follow=True)]
    credential = Credential.objects.get()
    assert credential.password == SECRET
    url = reverse("admin:instances_credential_change", args=[credential.pk])
    seen.append(client.get(url))
    # Blank keeps it.
    seen.append(
        client.post(
            url, {"name": "c2", "username": "u", "kind": "password", "password": "", "_continue": 1}, follow=True
        )
    )
    assert Credential.objects.get().password == SECRET
    # A rejected form does not give it back either.
    seen.append(client.post(url, {"name": "", "username": "u", "kind": "password", "password": SECRET}))
    seen.append(
        client.post(
            url,
            {"name": "c", "username": "u", "kind": "password", "password": f" {SECRET} ", "_continue": 1},
            follow=True,
        )
    )
    assert Credential.objects.get().password == f" {SECRET} "
    seen += [client.get(reverse("admin:instances_credential_history", args=[credential.pk])), client.get(CREDENTIAL)]
    assert all(answer.status_code == 200 for answer in seen)
    shown = "".join(answer.content.decode() for answer in seen)
    shown += "".join(entry.change_message + entry.object_repr for entry in LogEntry.objects.all())
    assert SECRET not in shown
    for credential in Credential.objects.all():
        assert credential.token not in shown


def test_a_password_is_taken_away_only_on_purpose(credential):
    client = superstaff()
    url = reverse("admin:instances_credential_change", args=[credential.pk])
    fields = {"name": "c", "username": "u", "kind": "password"}
    both = client.post(url, fields | {"password": "x", "clear_password": "on"})
    assert "Either enter a password or choose none" in both.content.decode()
    client.post(url, fields | {"clear_password": "on"})
    assert Credential.objects.get().token == ""
    answer = client.post(reverse("admin:instances_credential_add"), {"name": "d", "username": "u", "kind": "password"})
    assert "Enter the password" in answer.content.decode()


def test_a_viewer_of_credentials_sees_no_form(credential):
    client = staff("instances.view_credential")
    url = reverse("admin:instances_credential_change", args=[credential.pk])
    shown = client.get(url).content.decode()
    assert 'name="password"' not in shown
    assert credential.token not in shown
    assert client.post(url, {"name": "x", "username": "u", "kind": "password", "password": "x"}).status_code == 403


def test_a_credential_in_use_says_by_how_many_and_stays(instance, credential):
    client = superstaff()
    assert client.get(CREDENTIAL).context["cl"].result_list[0].n_instances == 1
    client.post(reverse("admin:instances_credential_delete", args=[credential.pk]), {"post": "yes"})
    client.post(CREDENTIAL, {"action": "delete_selected", "_selected_action": [credential.pk], "post": "yes"})
    assert Credential.objects.exists()


def test_the_list_has_a_button_that_adds(instance):
    """It was lost once, and with it the first thing that a new user looks for."""
    add = f'href="{reverse("admin:instances_instance_add")}"'
    assert add in superstaff().get(LIST).content.decode()
    assert add not in staff("instances.view_instance").get(LIST).content.decode()


def test_who_added_an_instance_comes_to_its_page_and_is_told_what_comes_next(credential):
    page = superstaff().post(
        reverse("admin:instances_instance_add"),
        {
            "name": "new", "engine": "mysql", "host": "h", "credential": credential.pk, "tls_mode": "prefer", "proof": "strict",
            "level": "A",
            "connect_timeout": 10, "statement_timeout": 60, "budget": 600,
            "instance_tags-TOTAL_FORMS": 0, "instance_tags-INITIAL_FORMS": 0,
        },
        follow=True,
    )  # fmt: skip
    made = Instance.objects.get(name="new")
    assert page.redirect_chain == [(reverse("admin:instances_instance_change", args=[made.pk]), 302)]
    assert "Not visited yet." in told(page)


def test_before_the_first_visit_nobody_knows_how_many_accounts_there_are(instance):
    (row,) = superstaff().get(LIST).context["cl"].result_list
    assert row.n_accounts is None


def test_an_empty_list_proposes_only_what_can_be_done(db):
    """unfold's own text proposes to create an item, on lists that nobody can add to as well."""
    client = superstaff()
    page = client.get(reverse("admin:instances_instance_changelist")).content.decode()
    assert "There is nothing here yet." in page
    assert "Show all" not in page
    page = client.get(reverse("admin:accounts_account_changelist"), {"q": "nobody"}).content.decode()
    assert "Nothing is like that." in page
    assert "Show all" in page
    assert "Create a new item" not in page


@pytest.mark.parametrize(
    ("product", "version", "said"),
    [
        ("PostgreSQL", "12.22 (Debian)", "real servers of this version"),
        ("MySQL", "9.7.4-2", "real servers of this version"),
        ("MySQL", "8.0.39", "emulated catalogues of this version, not on a real server"),
        ("MariaDB", "10.6.2-MariaDB", "other versions, not on this one"),
    ],
)
def test_a_page_says_how_its_version_is_tested(admin_client, product, version, said):
    credential = Credential.objects.create(name="c", username="taifish", password="secret")
    instance = Instance.objects.create(
        name="prod", engine="mysql", host="db.test", credential=credential, product=product, version=version
    )
    page = admin_client.get(reverse("admin:instances_instance_change", args=[instance.pk]))
    assert said in page.content.decode()
