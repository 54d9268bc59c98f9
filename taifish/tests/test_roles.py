"""Roles are groups that are installed once and then the people's."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.apps.registry import Apps
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command

from taifish import roles
from taifish.models import Role


@pytest.fixture
def installed(db: None) -> None:
    """As after the first `migrate`."""
    Group.objects.all().delete()
    roles.install()


def held(name: str) -> set[str]:
    found = Permission.objects.filter(group__name=name).values_list("content_type__app_label", "codename")
    return {f"{app}.{codename}" for app, codename in found}


def test_migrating_has_installed_them(db):
    assert {role.key: role.group.name for role in Role.objects.all()} == {
        "viewer": "Viewer",
        "operator": "Operator",
        "manager": "Manager",
        "auditor": "Auditor",
        "reviewer": "Reviewer",
        "keeper": "Credential keeper",
    }
    assert "instances.view_instance" in held("Viewer")


def test_what_each_may_do(installed):
    viewer, operator, manager, keeper = map(held, ("Viewer", "Operator", "Manager", "Credential keeper"))
    assert {
        permission.partition(".")[2].partition("_")[0]
        for permission in viewer
        - {
            "taifish.add_apitoken",
            "taifish.delete_apitoken",
        }
    } == {"view"}
    assert {"accounts.view_account", "instances.view_credential", "django_celery_beat.view_periodictask"} <= viewer
    assert operator - viewer == {
        "sync.run_visits",
        "instances.connect_instance",
        "capacity.read_tables",
        "classification.run_classification",
        "tagging.add_instancetag",
        "tagging.delete_instancetag",
    }
    assert viewer < operator < manager
    assert {"instances.delete_instance", "sync.confirm_shrink", "django_celery_beat.delete_crontabschedule"} <= manager
    assert not {"instances.use_credential", "instances.change_credential"} & manager
    assert {permission for permission in keeper if permission.startswith("instances.")} == {
        "instances.view_instance",
        *(f"instances.{verb}_credential" for verb in ("add", "change", "delete", "view", "use")),
    }


def test_who_edits_users_becomes_anybody_so_no_role_may(installed):
    for name, *_ in roles.ROLES.values():
        assert not [permission for permission in held(name) if permission.startswith(("auth.", "admin.", "axes."))]


def test_what_people_changed_survives_every_deploy(installed, capsys):
    viewer, operator = Group.objects.get(name="Viewer"), Group.objects.get(name="Operator")
    viewer.permissions.remove(Permission.objects.get(codename="view_credential"))
    viewer.permissions.add(Permission.objects.get(codename="run_visits"))
    operator.name = "运维"
    operator.save()
    Group.objects.get(name="Manager").delete()
    before = {name: held(name) for name in ("Viewer", "运维", "Credential keeper")}
    call_command("install_roles")
    assert capsys.readouterr().out == "created: Manager\n"
    assert {name: held(name) for name in before} == before
    assert not Group.objects.filter(name="Operator").exists()
    assert "instances.change_instance" in held("Manager")
    call_command("install_roles")
    assert capsys.readouterr().out == "all roles exist\n"


def test_a_group_that_people_made_under_that_name_is_theirs(db):
    Group.objects.all().delete()
    Group.objects.create(name="Viewer")
    assert roles.install() == ["Operator", "Manager", "Auditor", "Reviewer", "Credential keeper"]
    assert held("Viewer") == set()


def test_what_an_app_brings_later_is_given_once(installed):
    table = ContentType.objects.get_for_model(apps.get_model("accounts", "Account"))
    Permission.objects.create(content_type=table, codename="view_novelty", name="Can view a novelty")
    assert roles.install() == []
    for name in ("Viewer", "Operator", "Manager"):
        assert "accounts.view_novelty" in held(name)
    Group.objects.get(name="Viewer").permissions.remove(Permission.objects.get(codename="view_novelty"))
    roles.install()
    assert "accounts.view_novelty" not in held("Viewer")


def test_nothing_is_written_when_nothing_is_new(installed, django_assert_num_queries):
    # Permissions, roles, what they were given; the rest is the transaction's.
    with django_assert_num_queries(5) as told:
        roles.install()
    assert not [query for query in told if "INSERT" in query["sql"]]


def test_flushing_the_store_and_taking_the_migration_back_do_no_harm(transactional_db):
    call_command("flush", interactive=False, verbosity=0)
    assert "instances.view_instance" in held("Viewer")
    roles.install_after_migrate(apps.get_app_config("taifish"), apps=Apps())


def test_the_audit_trail_is_for_auditors(installed):
    """F8.2: viewers see all of the rest."""
    assert held("Auditor") - held("Viewer") == {"audit.view_event"}
    assert "audit.view_event" not in held("Manager")
