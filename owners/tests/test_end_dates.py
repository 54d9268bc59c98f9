"""End dates: set from the page of an account, and what visits have seen of them since."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account, Coverage, Grant
from accounts.tests.stored import MAY_1, account, join
from accounts.tests.test_admin import grant
from accounts.tests.test_sync import sync
from alerts.findings import alerts_of
from alerts.models import AlertRule
from instances.models import Instance
from instances.tests.api import client_with
from instances.tests.pages import entered, staff
from owners.end_dates import dated, due_soon, overdue
from owners.models import EndDate
from owners.tests.test_owners import limited_to
from sync.models import SyncRecord, SyncSession, VisitHealth

MAY = ("accounts.view_account", "owners.view_enddate", "owners.add_enddate", "owners.change_enddate")
PAGE = reverse("end-dates")
DAY = timedelta(days=1)


def read(instance: Instance, **fields: object) -> None:
    """As after a visit now that read everything."""
    values = {"level": "C", "covered": [], "beyond": [], "since": MAY_1, "read_at": timezone.now()} | fields
    Coverage.objects.create(instance=instance, **values)


def end(of: Account, days: int, kind: str = "account", **fields: object) -> EndDate:
    values = {"ends_on": timezone.localdate() + days * DAY, "reason": "project"} | fields
    return EndDate.objects.create(account=of, of=kind, **values)


def states() -> dict[str, str]:
    return {str(one.end): one.state for one in dated(EndDate.objects.all())}


def test_a_right_that_is_revoked_is_gone_and_one_granted_again_is_overdue(add, server):
    """F9.2"""
    instance = add("prod", server.collector())
    server.execute("CREATE ROLE dba; CREATE ROLE alice LOGIN IN ROLE dba; GRANT CREATE ON DATABASE postgres TO alice")
    sync(instance)
    alice, dba = Account.objects.get(name="alice"), Account.objects.get(name="dba")
    right = Grant.objects.get(account=alice, privilege="CREATE", until=None)
    names = {"grant_kind": right.kind, "database": right.database, "scope": right.scope}
    for found in (
        end(alice, -1, "membership", role=dba),
        end(alice, -1, "grant", privilege="CREATE", **names),
        end(alice, -1),
    ):
        assert dated(EndDate.objects.filter(pk=found.pk))[0].state == "overdue"
    server.execute("REVOKE dba FROM alice; REVOKE CREATE ON DATABASE postgres FROM alice; ALTER ROLE alice NOLOGIN")
    record = sync(instance)
    found = dated(EndDate.objects.all())
    gone = [one for one in found if one.end.of != "account"]
    assert [(one.state, one.session, one.days_held) for one in gone] == [("gone", record.session_id, None)] * 2
    server.execute("GRANT dba TO alice; GRANT CREATE ON DATABASE postgres TO alice")
    sync(instance)
    assert {one.state for one in dated(EndDate.objects.exclude(of="account"))} == {"overdue"}
    server.execute("DROP OWNED BY alice; DROP ROLE alice")
    record = sync(instance)
    assert {(one.state, one.session) for one in dated(EndDate.objects.all())} == {("gone", record.session_id)}


def test_states_follow_the_last_read(instances):
    """F9.2: a failed or old read is never an answer."""
    pg, my = instances
    read(pg)
    read(my, read_at=timezone.now() - 3 * DAY)
    today, late = account(pg, "today"), account(pg, "late")
    end(today, 0)
    end(account(pg, "soon"), 14)
    end(account(pg, "far"), 15)
    end(late, -1)
    end(account(pg, "locked", is_locked=True), 3)
    end(account(pg, "hidden", unobserved_since=timezone.now() - 5 * DAY), -2)
    # Of an instance that was not read lately.
    end(account(my, "unread"), -1)
    end(account(my, "seen-after"), -5)
    end(account(my, "dropped", gone_at=MAY_1), -5)
    assert states() == {
        "late": "overdue",
        "seen-after": "overdue",
        "hidden": "unknown",
        "unread": "unknown",
        "dropped": "unknown",
        "today": "due",
        "soon": "due",
        "far": "upcoming",
        # Nothing says when it was locked.
        "locked": "unknown",
    }
    assert [str(one.end) for one in due_soon(EndDate.objects.all(), 3)] == ["today"]
    assert {str(one.end) for one in overdue(EndDate.objects.all())} == {"late", "seen-after"}
    VisitHealth.objects.create(instance=pg, kind="accounts", failures=1, failed_at=timezone.now())
    # What was seen after the end stays so.
    assert states()["late"] == "overdue"


def test_what_the_read_depth_leaves_out_is_unknown(instances):
    pg = instances[0]
    read(pg, beyond=["table"])
    app = account(pg, "app")
    grant(app, "SELECT", kind="table", scope="shop.public.t", until=MAY_1, ended="revoked")
    end(app, -1, "grant", grant_kind="table", database="shop", scope="shop.public.t", privilege="SELECT")
    [found] = dated(EndDate.objects.all())
    assert found.state == "unknown"
    assert "leaves out: table" in found.detail


def test_states_take_a_fixed_number_of_queries(instances, django_assert_num_queries):
    pg, my = instances
    read(pg)
    read(my)
    for number in range(20):
        row = account(instances[number % 2], f"a{number}", gone_at=MAY_1 if number % 3 else None)
        end(row, -1)
    # End dates, last reads, sessions.
    with django_assert_num_queries(3):
        assert len(dated(EndDate.objects.all())) == 20


def test_it_is_set_from_the_page_of_the_account(instances):
    """F9.2"""
    pg, _my = instances
    read(pg)
    app, dba = account(pg, "app"), account(pg, "dba", kind="role")
    member, right = join(app, dba), grant(app, "CREATE")
    client = staff(*MAY)
    page = reverse("admin:accounts_account_change", args=[app.pk])
    add = f"{reverse('admin:owners_enddate_add')}?account={app.pk}"
    assert add in client.get(page).content.decode()
    form = client.get(add).content.decode()
    for text in ("role dba", "CREATE on database shop"):
        assert text in form
    day = timezone.localdate() + 3 * DAY
    posted = {"account": app.pk, "ends_on": day.isoformat(), "reason": "<i>leave</i>", "approver": "Bob", "ticket": ""}
    for what in ("account", f"membership:{member.pk}", f"grant:{right.pk}"):
        assert client.post(add, posted | {"what": what}).url == page
    # A second one of the same, one of another account, and one that is not there.
    other = grant(dba, "CREATE")
    for what in ("account", f"grant:{right.pk}", f"grant:{other.pk}", "grant:99999", "grant:x"):
        assert client.post(add, posted | {"what": what}).status_code == 200
    found = {(row.of, row.role, row.grant_kind, row.privilege) for row in EndDate.objects.all()}
    assert found == {("account", None, "", ""), ("membership", dba, "", ""), ("grant", None, "database", "CREATE")}
    assert EndDate.objects.first().created_by is not None
    html = client.get(page).content.decode()
    assert html.count("due soon") == 3
    assert "&lt;i&gt;leave&lt;/i&gt;" in html
    row = EndDate.objects.get(of="grant")
    change = f"{reverse('admin:owners_enddate_change', args=[row.pk])}?edit=1"
    answer = client.post(
        change, {"ends_on": (day + DAY).isoformat(), "reason": "later", "ticket": "T-2", "approver": "Bob"}
    )
    assert answer.status_code == 302, answer.context["adminform"].errors
    row.refresh_from_db()
    assert (row.ends_on, row.ticket, row.privilege) == (day + DAY, "T-2", "CREATE")


def test_the_page_lists_them_by_state_within_the_limit(instances):
    """F9.2"""
    pg, my = instances
    read(pg)
    read(my)
    end(account(pg, "late"), -1, ticket="T-1")
    end(account(pg, "soon"), 2)
    end(account(my, "zebra"), -1)
    client = entered(limited_to(pg, permissions=MAY))
    html = client.get(PAGE).content.decode()
    assert "zebra" not in html
    assert [str(one.end) for one in client.get(PAGE).context["page"]] == ["late", "soon"]
    context = client.get(f"{PAGE}?state=overdue").context
    assert [str(one.end) for one in context["page"]] == ["late"]
    assert {name: count for name, _label, count in context["counts"]}["due"] == 1
    text = client.get(f"{PAGE}?csv=1").getvalue().decode()
    assert "late" in text
    assert "zebra" not in text
    assert staff("accounts.view_account").get(PAGE).status_code == 403


def run(*options: str) -> tuple[int, str]:
    out = StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("end_dates", *options, stdout=out, stderr=StringIO())
    return left.value.code, out.getvalue()


def test_the_command_exits_with_3_if_something_is_unknown(instances):
    """F9.2"""
    pg, my = instances
    read(pg)
    end(account(pg, "late"), -1)
    end(account(pg, "soon"), 1)
    code, out = run("--overdue", "--json")
    assert (code, [row["account"] for row in json.loads(out)["results"]]) == (0, ["late"])
    end(account(my, "never-read"), -1)
    code, out = run("--overdue", "--json")
    assert (code, json.loads(out)["unknown"]) == (3, 1)
    code, out = run()
    assert (code, [line.split()[0] for line in out.splitlines()]) == (3, ["STATE", "overdue", "unknown", "due"])
    assert run("--csv")[1].splitlines()[1].split(",")[1:4] == ["pg", "late", "account"]


def test_the_api_sets_and_lists_them(instances):
    """F9.2"""
    pg, _my = instances
    read(pg)
    app, dba = account(pg, "app"), account(pg, "dba", kind="role")
    member = join(app, dba)
    client = client_with(*MAY, "owners.delete_enddate")
    day = (timezone.localdate() - DAY).isoformat()
    body = {"account": app.pk, "membership": member.pk, "ends_on": day, "reason": "r"}
    made = client.post("/api/end-dates/", body, format="json")
    assert (made.status_code, made.data["of"], made.data["what"]) == (201, "membership", "role dba")
    assert client.post("/api/end-dates/", body, format="json").status_code == 400
    wrong = client.post("/api/end-dates/", body | {"account": dba.pk}, format="json")
    assert wrong.data == {"membership": ["The account has none with this id now."]}
    seen = client.get("/api/end-dates-seen/?state=overdue").data
    assert ([row["what"] for row in seen["results"]], seen["unknown"]) == (["role dba"], 0)
    changed = client.patch(f"/api/end-dates/{made.data['id']}/", {"ticket": "T"}, format="json")
    assert (changed.status_code, changed.data["ticket"]) == (200, "T")
    assert client.delete(f"/api/end-dates/{made.data['id']}/").status_code == 204


def test_alerts_before_and_after(instances):
    """F9.2"""
    pg, _my = instances
    read(pg)
    end(account(pg, "late"), -1)
    end(account(pg, "soon"), 5)
    end(account(pg, "far"), 8)
    near = AlertRule(name="near", kind="end_date_near", threshold=7, active=True)
    passed = AlertRule(name="passed", kind="end_date_passed", active=True)
    assert [alert.text.split(" has")[0] for alert in alerts_of(near)] == ["soon"]
    assert [alert.text.split(" had")[0] for alert in alerts_of(passed)] == ["late"]
    Account.objects.filter(name="late").update(gone_at=timezone.now())
    assert list(alerts_of(passed)) == []


def test_a_locked_account_is_gone_with_the_visit_that_found_it_locked(instances):
    pg = instances[0]
    read(pg)
    row = account(pg, "app", is_locked=True)
    session = SyncSession.objects.create(kind="accounts", trigger="manual")
    SyncRecord.objects.create(session=session, instance=pg, kind="accounts", status="completed", started_at=MAY_1)
    row.changes.create(at=MAY_1, events=["locked"])
    end(row, -1)
    [found] = dated(EndDate.objects.all())
    assert (found.state, found.session, found.detail) == ("gone", session.pk, "The account is locked.")
