"""The roles and their permissions. Roles are Django groups that are installed once; users may change them afterwards.

Each permission is granted to a role once: when the role is created, or when a new app adds the permission. Users'
changes of groups are kept.
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

#: All roles may create API tokens.
OWN_TOKENS = ["taifish.*_apitoken"]
SCHEDULES = ["periodictask", "crontabschedule", "intervalschedule", "clockedschedule", "solarschedule"]

#: key → name of the group, included roles, and further permissions as patterns of "app.codename". `OURS` is each app of
#: Taifish. No role may edit users, groups or locked logins, because that would give access to any account.
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
            "planning.*_volume",
            "classification.*_classification",
            "classification.*_classificationrule",
            "classification.*_assignment",
            "owners.*",
            "drift.*_baseline",
            "drift.*_accepteddeviation",
            "duties.*_dutypair",
            "duties.*_acceptedconflict",
            "reviews.*_campaign",
            "reviews.decide_item",
            "alerts.*_alertrule",
            "alerts.*_channel",
            "alerts.change_delivery",
            *(f"django_celery_beat.*_{model}" for model in SCHEDULES),
        ],
    ),
    "auditor": ("Auditor", ["viewer"], ["audit.*"]),
    # Without the permission to view campaigns, only the items that are theirs to decide.
    "reviewer": ("Reviewer", [], ["reviews.decide_item", "reviews.view_item", *OWN_TOKENS]),
    "keeper": ("Credential keeper", [], ["instances.*_credential", "instances.view_instance", *OWN_TOKENS]),
}


def patterns(key: str) -> list[str]:
    """The permission patterns of a role, including those of included roles."""
    _, included, own = ROLES[key]
    return [pattern for other in included for pattern in patterns(other)] + own


def permissions_of(key: str, existing: Iterable[str]) -> set[str]:
    """The existing permissions ("app.codename") that a role should have."""
    ours = {config.label for config in apps.get_app_configs() if Path(config.path).parent == settings.BASE_DIR}
    # The trail names what viewers need not know, such as addresses of people.
    ours.discard("audit")

    def fits(permission: str, pattern: str) -> bool:
        app, _, codename = permission.partition(".")
        label, _, codenames = pattern.partition(".")
        return (app in ours if label == "OURS" else app == label) and fnmatch(codename, codenames)

    return {permission for permission in existing if any(fits(permission, pattern) for pattern in patterns(key))}


@transaction.atomic
def install() -> list[str]:
    """Create missing groups, and grant new permissions to each role. Returns the names of created groups.

    A group that users created under the name of a role is not changed.
    """
    existing = {
        f"{app}.{codename}": pk
        for pk, app, codename in Permission.objects.order_by().values_list("pk", "content_type__app_label", "codename")
    }
    roles = {role.key: role for role in Role.objects.select_for_update()}
    offered = set(Role.offered.through.objects.values_list("role", "permission"))
    created, granted, noted = [], [], []
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
                granted.append(Group.permissions.through(group_id=role.group_id, permission_id=pk))
                noted.append(Role.offered.through(role_id=role.pk, permission_id=pk))
    Group.permissions.through.objects.bulk_create(granted, ignore_conflicts=True)
    Role.offered.through.objects.bulk_create(noted)
    return created


def install_after_migrate(sender: AppConfig, apps: Apps | None = None, **kwargs: object) -> None:
    """Receiver of the last app's `post_migrate`, when the permissions of all apps exist.

    `apps` are the migrated models; None if `flush` sends the signal.
    """
    if apps is None or "role" in apps.all_models["taifish"]:
        install()
