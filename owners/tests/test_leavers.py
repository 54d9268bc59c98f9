"""People who leave: what they have, and proof that it is gone."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import call_command
from django.urls import reverse

from accounts.tests.stored import MAY_3, account, join
from accounts.tests.test_admin import grant
from instances.tests.api import client_with
from instances.tests.pages import entered, staff
from owners.leavers import leavers
from owners.models import Ownership, Person
from owners.tests.test_end_dates import read
from owners.tests.test_owners import limited_to
from sync.models import SyncRecord, SyncSession

MAY = ("accounts.view_account", "accounts.view_grant", "owners.view_person", "owners.view_ownership")
PAGE = reverse("leavers")


@pytest.fixture
def alice(instances) -> Person:
    """She owns app on one instance, her name is on both, and a role is hers alone."""
    pg, my = instances
    read(pg)
    read(my)
    person = Person.objects.create(name="Alice", mail="alice@example.com", external_id="E1")
    app = account(pg, "app", is_superuser=True)
    Ownership.objects.create(account=app, owner=person)
    own, shared = account(pg, "own", kind="role"), account(pg, "shared", kind="role")
    join(app, own)
    join(app, shared)
    join(account(pg, "bob"), shared)
    grant(app, "OWNER", kind="table", scope="shop.public.orders")
    session = SyncSession.objects.create(kind="accounts", trigger="manual")
    SyncRecord.objects.create(session=session, instance=my, kind="accounts", status="completed", started_at=MAY_3)
    account(my, "Alice", host="%", gone_at=MAY_3)
    return person


def test_everything_of_a_person_is_listed_with_how_it_was_found(alice, django_assert_num_queries):
    with django_assert_num_queries(11):
        found = leavers(["E1"])
    assert [(str(row.account), row.way, row.state) for row in found.rows] == [
        ("app", "owner", "present"),
        ("Alice@%", "name", "gone"),
    ]
    app, gone = found.rows
    assert (app.objects, app.roles) == (["table shop.public.orders"], ["own"])
    sql = "\n".join(app.statements)
    assert 'ALTER ROLE "app"' in sql
    assert "REVOKE" in sql
    assert (gone.session, gone.statements) == (SyncSession.objects.get().pk, [])
    assert not found.is_unknown


def test_without_a_current_read_the_state_is_unknown(alice, instances):
    pg, _my = instances
    pg.coverage.all().delete()
    found = leavers(["alice@example.com", "bob", "nobody"])
    assert {(str(row.account), row.leaver, row.state) for row in found.rows} == {
        ("app", "alice@example.com", "unknown"),
        ("Alice@%", "alice@example.com", "gone"),
        ("bob", "bob", "unknown"),
    }
    assert (found.nameless, [one.instance for one in found.unknown]) == (["nobody"], [pg])


def test_the_page(alice, instances):
    client = staff(*MAY)
    html = client.get(f"{PAGE}?people=E1%0Anobody").content.decode()
    for text in ("by name", "only holder of", "table shop.public.orders", "ALTER ROLE", "session"):
        assert text in html
    assert "is no known person" in html
    assert "Alice@%" in client.get(f"{PAGE}?people=E1&csv=1").getvalue().decode()
    limited = entered(limited_to(instances[1], permissions=MAY))
    html = limited.get(f"{PAGE}?people=E1").content.decode()
    assert "shop.public.orders" not in html
    assert staff(*MAY[:3]).get(PAGE).status_code == 403


def run(*options: str) -> tuple[int, str]:
    out = StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("leavers", *options, stdout=out, stderr=StringIO())
    return left.value.code, out.getvalue()


def test_the_command_and_the_api(alice, instances, tmp_path):
    file = tmp_path / "people.txt"
    file.write_text("E1\nbob\n")
    code, out = run(str(file), "--json")
    assert code == 0
    assert [row["account"] for row in json.loads(out)["results"]] == ["app", "Alice@%", "bob"]
    assert 'pg: ALTER ROLE "app"' in run("E1")[1]
    assert run("E1", "--csv")[1].splitlines()[0].startswith("leaver,way,instance")
    answer = client_with(*MAY).get("/api/leavers/?people=E1&people=nobody").data
    assert ([row["state"] for row in answer["results"]], answer["nameless"]) == (["present", "gone"], ["nobody"])
    for permissions in (MAY[1:], MAY[:1] + MAY[2:], MAY[:3]):
        assert client_with(*permissions).get("/api/leavers/?people=E1").status_code == 403
    instances[0].coverage.all().delete()
    assert run("E1")[0] == 3
