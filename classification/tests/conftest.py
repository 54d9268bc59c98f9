"""Accounts to classify, and rules to do it by."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone

from accounts.models import Account, Coverage, Grant
from accounts.tests.stored import MAY_1, account, join
from classification import runs, services
from classification.models import Classification, ClassificationRule
from instances.models import Credential, Instance
from sync.models import SyncSession

ALL_KINDS = ["memberships", "attribute", "system", "database", "table"]


@pytest.fixture
def instances(db: None) -> list[Instance]:
    """PostgreSQL and MySQL, each read wholly since May."""
    Classification.objects.all()
    ClassificationRule.objects.all().delete()
    Classification.objects.all().delete()
    credential = Credential.objects.create(name="c", username="u")
    made = [
        Instance.objects.create(name=name, engine=engine, host=name, credential=credential)
        for name, engine in (("pg", "postgresql"), ("my", "mysql"))
    ]
    for instance in made:
        Coverage.objects.create(
            instance=instance, level="A", covered=ALL_KINDS, beyond=[], since=MAY_1, read_at=timezone.now()
        )
    return made


@pytest.fixture
def people(instances: list[Instance]) -> dict[str, Account]:
    """ada is a superuser, bob is in dba which may create roles, carl is nobody; web on MySQL reads files."""
    pg, my = instances
    made = {
        "ada": account(pg, "ada", can_login=True, is_superuser=True, is_locked=False),
        "bob": account(pg, "bob", can_login=True, is_superuser=False, is_locked=False),
        "carl": account(pg, "carl", can_login=True, is_superuser=False, is_locked=False),
        "dba": account(pg, "dba", kind="role", can_login=False, is_superuser=False),
        "web": account(my, "web", host="%", can_login=True, is_superuser=False, is_locked=False),
    }
    join(made["bob"], made["dba"])
    grant(made["ada"], "SUPERUSER")
    grant(made["dba"], "CREATEROLE")
    grant(made["web"], "FILE", kind="system")
    return made


def grant(holder: Account, privilege: str, **fields: object) -> Grant:
    values = {"kind": "attribute", "grantable": False, "denied": False, "since": MAY_1} | fields
    values = {"held_since": values["since"]} | values
    return Grant.objects.create(account=holder, privilege=privilege, **values)


@pytest.fixture
def rule(instances: list[Instance]) -> Callable[..., ClassificationRule]:
    """Make a rule of the classification "privileged", or of another by name."""

    def make(code: str, expression: str, name: str = "privileged", **fields: object) -> ClassificationRule:
        kept, _ = Classification.objects.get_or_create(code=name, defaults={"name": name, "risk": "high"})
        return services.keep_rule(
            ClassificationRule(classification=kept, code=code, name=code, expression=expression, **fields)
        )

    return make


@pytest.fixture
def applied(instances: list[Instance]) -> Callable[..., dict[str, dict[str, object]]]:
    """Run the rules as a session would: instance → what its record says, "gaps" with it."""

    def apply(*only: Instance, rules: list[ClassificationRule] | None = None) -> dict[str, dict[str, object]]:
        params = {"rules": [one.pk for one in rules]} if rules else {}
        session = SyncSession(kind="classification", trigger="manual", params=params, created_at=timezone.now())
        chosen = only or tuple(instances)
        outcomes = runs.write(session, [instance.pk for instance in chosen])
        return {
            instance.name: {**outcomes[instance.pk].summary, "gaps": [*outcomes[instance.pk].gaps]}
            for instance in chosen
        }

    return apply
