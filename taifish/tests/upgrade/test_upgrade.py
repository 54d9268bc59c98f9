"""A store that an earlier release filled, after an upgrade: what was known is known, and is told as before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services
from accounts.models import FACT_FIELDS, Account, AccountChange, Coverage, Grant, Membership
from accounts.rows import AccountFacts
from alerts.findings import alerts_of
from alerts.models import AlertRule, Channel
from capacity.models import Database
from engines.facts import AccountFact, GrantFact, Inventory, MembershipFact, Permissions, ServerInfo
from instances.models import Credential, Instance
from sync.models import SyncRecord, SyncSession
from taifish.tests.upgrade import LOGIN_PASSWORD
from taifish.tests.upgrade.answers import answers
from taifish.tests.upgrade.conftest import unpacked

#: Each test in a transaction on the upgraded store, rolled back.
pytestmark = pytest.mark.django_db

#: Pages that are no list of a model.
PAGES = ("admin:index", "who-can", "where-is", "capacity-gaps", "trends", "forecasts", "health")


def expected() -> dict[str, Any]:
    """What the release of the dump answered, but for what later ones change on purpose."""
    before = json.loads(unpacked("answers.json.gz"))
    for account in before["answers"]["accounts"]:
        # Fault 3: the visit could not read these, and a "no" was stored for them.
        if account["instance_name"] == "billing-without-hashes":
            account |= dict.fromkeys(("is_locked", "password_expired", "auth_method"))
    return before


@pytest.fixture
def page(upgraded: None) -> Client:
    client = Client()
    client.force_login(User.objects.get(username="admin"))
    return client


def test_the_api_answers_as_before(upgraded):
    """F1, F3, F5, F6: accounts, grants, who can, sizes, aggregates, assignments, now and in the past.

    Later releases may say more about a row, but every field is still there with its value.
    """
    before = expected()
    client = APIClient(SERVER_NAME="localhost")
    client.force_authenticate(User.objects.get(username="admin"))
    now = answers(client, before["moments"])
    assert now.keys() == before["answers"].keys()
    # Kinds that came later have a first rule each, inactive.
    later = ("visit_failed", "stale", "moved", "account_expires", "password_expired")
    later += ("end_date_near", "end_date_passed", "drift", "review_near", "review_due", "duty_conflict")
    now["alert-rules"] = [rule for rule in now["alert-rules"] if rule["kind"] not in later]
    for question, rows in before["answers"].items():
        # Rows of one list have the same fields. Their order is not kept.
        known = (
            [{name: row.get(name, "missing") for name in rows[0]} for row in now[question]] if rows else now[question]
        )
        grants = [row["grant"] for row in rows if row.get("grant")]
        for row in known:
            if row.get("grant"):
                row["grant"] = {name: row["grant"].get(name, "missing") for name in grants[0]}
        assert sorted(map(json.dumps, known)) == sorted(map(json.dumps, rows)), question


def test_the_dump_is_worth_it():
    """It holds at least one row of everything that an upgrade could lose."""
    answered = json.loads(unpacked("answers.json.gz"))["answers"]
    assert [name for name, rows in answered.items() if not rows and "/" not in name and "access" not in name] == []
    for kind in ("grants", "roles", "effective"):
        assert any(rows for name, rows in answered.items() if name.endswith(kind)), kind
    assert sum(bool(rows) for name, rows in answered.items() if name.startswith("access")) > 15
    assert {row["engine"] for row in answered["instances"]} == {"postgresql", "mysql", "oracle"}
    assert {row["status"] for row in answered["sync-records"]} >= {"completed", "failed", "skipped"}
    assert {row["period"] for row in answered["instance-aggregates"]} == {"daily", "weekly", "monthly", "quarterly"}
    assert any(row["gone_at"] for row in answered["accounts"])
    assert any(row["until"] for row in answered["assignments"])


def test_no_migration_is_missing(upgraded):
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_secrets_open_with_the_key_of_then(upgraded):
    """F2.3"""
    assert all(credential.password for credential in Credential.objects.all())
    assert Channel.objects.get().url == "https://open.example.org/hook/made-up"


def test_people_log_in_as_before(upgraded):
    assert User.objects.get(username="vera").check_password(LOGIN_PASSWORD)


def test_every_list_opens(page):
    for model in admin.site._registry:
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        assert page.get(url).status_code == 200, url
    for name in PAGES:
        assert page.get(reverse(name)).status_code == 200, name


@pytest.mark.parametrize("model", [Account, Channel, Credential, Database, Instance, SyncSession])
def test_the_first_and_the_last_row_open(page, model):
    for row in (model.objects.first(), model.objects.last()):
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[row.pk])
        assert page.get(url).status_code == 200, url


def facts_of(instance: Instance) -> AccountFacts:
    """What a visit reads of a server on which nothing has changed since the dump: with ids and grantors."""
    stored = list(Account.objects.present().filter(instance=instance))
    keys = {account.pk: (account.name, account.host) for account in stored}
    coverage = Coverage.objects.get(instance=instance, until=None)
    grants = Grant.objects.filter(account__in=stored, until=None)
    memberships = Membership.objects.filter(member__in=stored, until=None)
    return AccountFacts(
        ServerInfo("PostgreSQL", "18", ""),
        Inventory([AccountFact(*keys[a.pk], *(getattr(a, name) for name in FACT_FIELDS)) for a in stored]),
        Permissions(
            [
                MembershipFact(keys[m.member_id], keys[m.role_id], m.admin_option, m.inherit, m.set_option, ("boss",))
                for m in memberships
            ],
            [
                GrantFact(
                    keys[g.account_id], g.kind, g.privilege, g.scope, g.database, g.grantable, g.denied,
                    f"1/{g.kind}/{g.scope}" if g.scope else "", ("boss",),
                )
                for g in grants
            ],
            frozenset(coverage.covered),
            beyond=frozenset(coverage.beyond),
        ),
        1,
        coverage.level,
    )  # fmt: skip


@pytest.mark.parametrize("engine", ["postgresql", "mysql", "oracle"])
def test_the_first_visit_afterwards_changes_nothing_that_people_see(upgraded, engine):
    """F7.10: it adopts ids and grantors: no event, `held_since` as it was, and alert rules are silent."""
    instance = Instance.objects.filter(engine=engine, coverage__until=None, coverage__isnull=False).first()
    columns = ("pk", "scope", "since", "held_since", "until", "unobserved_since")
    before = list(Grant.objects.order_by("pk").values(*columns)), list(Membership.objects.order_by("pk").values())
    n_changes, now = AccountChange.objects.count(), timezone.now()
    session = SyncSession.objects.create(kind="accounts")
    record = SyncRecord.objects.create(session=session, instance=instance, kind="accounts", started_at=now)
    services.write(instance, facts_of(instance), record)
    after = list(Grant.objects.order_by("pk").values(*columns)), list(Membership.objects.order_by("pk").values())
    assert after[0] == before[0]
    adopted = Membership.objects.filter(member__instance=instance, until=None)
    assert [row | {"grantors": None} for row in after[1]] == before[1]
    assert all(names == ["boss"] for names in adopted.values_list("grantors", flat=True))
    assert not Grant.objects.filter(account__instance=instance, until=None, object_id=None).exists()
    assert AccountChange.objects.count() == n_changes
    for kind in ("new_superuser", "privilege_changes"):
        rule = AlertRule.objects.create(name=f"any {kind}", kind=kind, threshold=1, active=True, active_since=now)
        assert list(alerts_of(rule)) == []
