"""What the roles may do. They are Django groups: installed once, and the people's from then on.

A role is given each permission once, when it is new: with the role, or with the app that brings it. What people take
from a group or add to it stays as they left it.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from django.apps import AppConfig, apps
from django.apps.registry import Apps
from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.db import transaction

from .models import Role

#: Whoever may enter may have programs enter in their name.
OWN_TOKENS = ["taifish.*_apitoken"]
SCHEDULES = ["periodictask", "crontabschedule", "intervalschedule", "clockedschedule", "solarschedule"]

#: key → name of the group, the roles it includes, and what it may do besides, as patterns of "app.codename". `OURS` is
#: each of our own apps. Users, groups and locked logins are in none of them: who can edit those can become anybody.
ROLES: dict[str, tuple[str, list[str], list[str]]] = {
    "viewer": ("Viewer", [], ["OURS.view_*", "django_celery_beat.view_*", *OWN_TOKENS]),
    "operator": (
        "Operator",
        ["viewer"],
        [
            "sync.run_visits",
            "instances.connect_instance",
            "capacity.read_tables",
            "classification.run_classification",
            "tagging.add_instancetag",
            "tagging.delete_instancetag",
        ],
    ),
    "manager": (
        "Manager",
        ["operator"],
        [
            "instances.*_instance",
            "tagging.*_tag",
            "tagging.*_instancetag",
            "sync.confirm_shrink",
            "accounts.*_accountfilter",
            "capacity.*_databasefilter",
            "planning.*_sizelimit",
            "classification.*_classification",
            "classification.*_classificationrule",
            "classification.*_assignment",
            "alerts.*_alertrule",
            "alerts.*_channel",
            "alerts.change_delivery",
            *(f"django_celery_beat.*_{model}" for model in SCHEDULES),
        ],
    ),
    "keeper": ("Credential keeper", [], ["instances.*_credential", "instances.view_instance", *OWN_TOKENS]),
}


def patterns(key: str) -> list[str]:
    """Everything that a role may do, those it includes among it."""
    _, included, own = ROLES[key]
    return [pattern for other in included for pattern in patterns(other)] + own


def permissions_of(key: str, existing: Iterable[str]) -> set[str]:
    """Those of the existing permissions ("app.codename") that a role holds."""
    ours = {config.label for config in apps.get_app_configs() if Path(config.path).parent == settings.BASE_DIR}

    def fits(permission: str, pattern: str) -> bool:
        app, _, codename = permission.partition(".")
        wanted, _, codenames = pattern.partition(".")
        return (app in ours if wanted == "OURS" else app == wanted) and fnmatch(codename, codenames)

    return {permission for permission in existing if any(fits(permission, pattern) for pattern in patterns(key))}


@transaction.atomic
def install() -> list[str]:
    """Create the groups that are missing, and give each role what is new to it. Returns the names created.

    A group that people made under the name of a role is theirs, and left alone.
    """
    existing = {
        f"{app}.{codename}": pk
        for pk, app, codename in Permission.objects.order_by().values_list("pk", "content_type__app_label", "codename")
    }
    roles = {role.key: role for role in Role.objects.select_for_update()}
    offered = set(Role.offered.through.objects.values_list("role", "permission"))
    created, given, told = [], [], []
    for key, (name, *_) in ROLES.items():
        role = roles.get(key)
        if role is None:
            group, is_new = Group.objects.get_or_create(name=name)
            if not is_new:
                continue
            role = Role.objects.create(key=key, group=group)
            created.append(name)
        for pk in sorted(existing[permission] for permission in permissions_of(key, existing)):
            if (role.pk, pk) not in offered:
                given.append(Group.permissions.through(group_id=role.group_id, permission_id=pk))
                told.append(Role.offered.through(role_id=role.pk, permission_id=pk))
    Group.permissions.through.objects.bulk_create(given, ignore_conflicts=True)
    Role.offered.through.objects.bulk_create(told)
    return created


def install_after_migrate(sender: AppConfig, apps: Apps | None = None, **kwargs: object) -> None:
    """Connected to the last app's `post_migrate`: only then are the permissions of all apps there.

    `apps` are the models as far as they are migrated; `flush`, which also sends the signal, names none.
    """
    if apps is None or "role" in apps.all_models["taifish"]:
        install()
