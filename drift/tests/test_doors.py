"""F9.8 through pages, API and command: who sees what, and what is accepted."""

from __future__ import annotations

import csv
import json
from datetime import date, timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from access.tests.test_questions import grant, instance
from accounts.models import Account, Coverage
from accounts.tests.stored import account, join
from alerts.findings import alerts_of
from alerts.models import Alert, AlertRule
from alerts.services import evaluate
from drift.align import aligning
from drift.compare import drift_of, state_of
from drift.models import AcceptedDeviation, Baseline
from drift.news import counted
from drift.services import save_state
from drift.states import parsed, written
from instances.models import Instance
from instances.tests.api import client_of, client_with
from instances.tests.pages import entered, staff, superstaff, told, user_with, without_random_words
from sync.models import VisitHealth
from tagging.models import InstanceTag, Tag, TagLimit
from tagging.services import assign

VIEW = ("drift.view_baseline", "drift.view_accepteddeviation")
ACCEPT = (*VIEW, "drift.add_accepteddeviation")


@pytest.fixture
def fleet(db: None) -> dict[str, Instance]:
    """On the reference app holds SELECT; one has bob, two lacks the grant, three was never read."""
    made = {name: instance(name, "postgresql") for name in ("golden", "one", "two")}
    for name, one in made.items():
        app = account(one, "app")
        if name != "two":
            grant(app, "SELECT", "table", "shop.public.orders", database="shop")
    account(made["one"], "bob")
    made["three"] = instance("three", "postgresql")
    Coverage.objects.filter(instance=made["three"]).delete()
    return made


@pytest.fixture
def baseline(fleet) -> Baseline:
    tag = Tag.objects.create(slug="prod", label="Production")
    for one in fleet.values():
        InstanceTag.objects.create(instance=one, tag=tag)
    return Baseline.objects.create(name="Production", tag=tag, reference=fleet["golden"])


@pytest.fixture
def limited(fleet):
    """A user who sees one and three only."""
    tag = Tag.objects.create(slug="mine", label="Mine")
    for name in ("one", "three"):
        InstanceTag.objects.create(instance=fleet[name], tag=tag)
    user = user_with(*ACCEPT, "drift.change_baseline", "drift.change_accepteddeviation")
    TagLimit.objects.create(user=user, tag=tag)
    return user


def page_of(baseline: Baseline) -> str:
    return reverse("admin:drift_baseline_change", args=[baseline.pk])


def test_the_page(baseline, fleet):
    """Each instance with its deviations, what is unknown above the rows, the rows by account."""
    page = staff(*VIEW).get(page_of(baseline)).content.decode()
    assert "not visited by then" in page
    assert page.index("1 instance is unknown") < page.index("bob")
    for text in ("account exists", "SELECT on table shop.public.orders", "deviates", "golden"):
        assert text in page
    assert 'type="checkbox"' not in page
    filtered = staff_page(baseline, "?account=BO")
    assert "bob" in filtered
    assert "SELECT on table" not in filtered
    assert "No deviation fits the filter." in staff_page(baseline, "?instance=1000000000")


def staff_page(baseline: Baseline, query: str) -> str:
    User.objects.filter(username="root").delete()
    return superstaff().get(page_of(baseline) + query).content.decode()


def test_accepted_on_the_page(baseline, fleet):
    """With a reason and a last day; without a reason nothing is accepted."""
    client = staff(*ACCEPT)
    bob = drift_of(baseline).compared[0].deviations[0]
    url = reverse("admin:drift_baseline_do", args=[baseline.pk, "accept"])
    chosen = {"chosen": [f"{fleet['one'].pk}:{bob.key}"]}
    assert "1 row is selected" in client.post(url, chosen).content.decode()
    assert "This field is required" in client.post(url, chosen | {"confirmed": "1"}).content.decode()
    past = timezone.localdate() - timedelta(days=1)
    late = client.post(url, chosen | {"confirmed": "1", "reason": "x", "ends_on": past}).content.decode()
    assert "This day has passed." in late
    assert not AcceptedDeviation.objects.exists()
    answer = client.post(url, chosen | {"confirmed": "1", "reason": "until the move", "ticket": "T-1"}, follow=True)
    assert told(answer) == "1 deviation is accepted."
    row = AcceptedDeviation.objects.get()
    assert (row.instance, row.account, row.deviation) == (fleet["one"], "bob", "extra: account exists")
    assert "until the move" in answer.content.decode()
    assert "Choose deviations." in told(client.post(url, follow=True))
    gone = client.post(url, {"chosen": ["1:x"], "confirmed": "1", "reason": "x"}).content.decode()
    assert "1 of the deviations are no longer there" in gone


def test_limited_users(baseline, fleet, limited):
    """They see the instances within their limit, the reference is not named, and they edit nothing of the whole."""
    client = entered(limited)
    page = client.get(page_of(baseline)).content.decode()
    assert "bob" in page
    assert "golden" not in page
    assert "two" not in without_random_words(page).replace("two lines", "")
    assert "not shown" in page
    assert client.get(page_of(baseline) + "?edit=1").content.decode().count("golden") == 0
    for file in ("csv", "xlsx"):
        assert client.get(page_of(baseline) + f"?file={file}").status_code == 200
    text = b"".join(client.get(page_of(baseline) + "?file=csv").streaming_content).decode()
    assert "golden" not in text
    api = client_of(limited)
    answer = api.get(f"/api/baselines/{baseline.pk}/deviations/").json()
    assert (answer["reference"], [row["account"] for row in answer["results"]]) == ("", ["bob"])
    assert "golden" not in json.dumps(answer)
    assert api.get(f"/api/baselines/{baseline.pk}/").json()["reference"] is None
    assert api.patch(f"/api/baselines/{baseline.pk}/", {"note": "x"}, format="json").status_code == 403
    assert api.get(f"/api/baselines/{baseline.pk}/state/").status_code == 403
    bob = answer["results"][0]
    url, body = f"/api/baselines/{baseline.pk}/accept/", {"reason": "x"}
    chosen = {"deviations": [{"instance": bob["instance"], "key": bob["key"]}]}
    assert api.post(url, body | chosen | {"everywhere": True}, format="json").status_code == 400
    hidden = drift_of(baseline).compared[2].deviations[0]
    other = {"deviations": [{"instance": fleet["two"].pk, "key": hidden.key}]}
    assert api.post(url, body | other, format="json").status_code == 400
    assert api.post(url, body | chosen, format="json").json() == {"accepted": 1}
    gap = {"scope": "table", "database": "golden_db", "code": "denied", "message": "golden_db: denied", "hint": ""}
    Coverage.objects.filter(instance=fleet["golden"]).update(gaps=[gap])
    page = client.get(page_of(baseline)).content.decode()
    assert "of the reference: a part of it could not be read" in page
    assert "golden" not in page
    Coverage.objects.filter(instance=fleet["golden"]).update(read_at=timezone.now() - timedelta(days=30))
    page = client.get(page_of(baseline)).content.decode()
    assert "The reference is not known." in page
    assert "golden" not in page
    Baseline.objects.update(reference=fleet["one"])
    assert api.get(f"/api/baselines/{baseline.pk}/").json()["reference"] == fleet["one"].pk
    assert api.get("/api/baselines/").json()["results"][0]["reference"] == fleet["one"].pk
    Baseline.objects.update(reference=fleet["golden"])
    # Without an instance that they see, there is no such baseline.
    InstanceTag.objects.filter(tag=baseline.tag, instance__in=[fleet["one"], fleet["three"]]).delete()
    assert client.get(page_of(baseline)).status_code == 404
    assert api.get(f"/api/baselines/{baseline.pk}/deviations/").status_code == 404


def test_the_api(baseline, fleet):
    """Deviations with filters, acceptance of all or none, and its withdrawal."""
    api = client_with(*ACCEPT, "drift.delete_accepteddeviation", "drift.add_baseline")
    url = f"/api/baselines/{baseline.pk}/"
    answer = api.get(url + "deviations/").json()
    assert [(row["instance_name"], row["what"], row["text"]) for row in answer["results"]] == [
        ("one", "extra", "account exists"),
        ("two", "missing", "SELECT on table shop.public.orders"),
    ]
    assert [row["instance_name"] for row in answer["unknown"]] == ["three"]
    assert (answer["reference"], answer["deviations"]) == ("golden", 2)
    assert len(api.get(url + f"deviations/?instance={fleet['two'].pk}").json()["results"]) == 1
    assert api.get(url + "deviations/?what=different").json()["results"] == []
    assert api.get(url + "deviations/?whta=extra").status_code == 400
    keys = [{"instance": row["instance"], "key": row["key"]} for row in answer["results"]]
    body = {"reason": "agreed", "everywhere": True}
    wrong = api.post(url + "accept/", body | {"deviations": [*keys, {"instance": 1, "key": "x"}]}, format="json")
    assert (wrong.status_code, AcceptedDeviation.objects.count()) == (400, 0)
    for _again in range(2):
        assert api.post(url + "accept/", body | {"deviations": keys}, format="json").json() == {"accepted": 2}
    assert AcceptedDeviation.objects.filter(instance=None).count() == 2
    assert api.get(url + "deviations/?accepted=false").json()["results"] == []
    assert api.get(url + "deviations/").json()["results"][0]["accepted"]["reason"] == "agreed"
    first = api.get("/api/accepted-deviations/").json()["results"][0]["id"]
    assert api.delete(f"/api/accepted-deviations/{first}/").status_code == 204
    made = api.post("/api/baselines/", {"name": "b", "instances": [fleet["one"].pk]}, format="json")
    assert (made.status_code, made.json()["instances"]) == (201, [fleet["one"].pk])


def test_states_on_the_page(baseline, fleet):
    """Saved, downloaded, changed, imported: the deviations follow."""
    client = superstaff()

    def press(name: str, **data: object):
        return client.post(reverse("admin:drift_baseline_do", args=[baseline.pk, name]), data, follow=True)

    assert "no longer with the reference" in press("save").content.decode()
    assert "The state is saved." in told(press("save", confirmed="1"))
    state = parsed(press("state").content.decode())
    assert state == state_of(fleet["golden"])
    state["items"] = [item for item in state["items"] if item[2] != "table"]
    assert parsed(press("yaml").content.decode()) == state | {"items": state_of(fleet["golden"])["items"]}
    assert "Choose a file." in press("import", chosen="1").content.decode()
    wrong = press("import", file=SimpleUploadedFile("s.json", b"{}")).content.decode()
    assert "The file is not a saved state" in wrong
    assert "The state is imported." in told(press("import", file=SimpleUploadedFile("s.json", written(state).encode())))
    baseline.refresh_from_db()
    found = {one.instance.name: [row.what for row in one.deviations] for one in drift_of(baseline).compared}
    assert found == {"golden": ["extra"], "one": ["extra", "extra"], "three": [], "two": []}


def test_states_through_the_api(baseline, fleet, limited):
    """A state goes out and in as JSON and YAML; a wrong one is refused with what is wrong, and nothing is stored."""
    api = client_with(*VIEW, "drift.change_baseline")
    url = f"/api/baselines/{baseline.pk}/state/"
    assert api.get(url).status_code == 404
    text = written(state_of(fleet["golden"]), "yaml")
    answer = api.post(url, text, content_type="application/yaml")
    assert (answer.status_code, answer.json()["items"]) == (200, len(parsed(text)["items"]))
    assert Baseline.objects.get().reference is None
    yaml = api.get(url + "?form=yaml")
    assert (yaml.content.decode(), yaml["Content-Type"]) == (text, "application/yaml")
    assert api.get(url + "?form=xml").status_code == api.get(url + "?from=yaml").status_code == 400
    assert api.post(url, api.get(url).content, content_type="application/json").status_code == 200
    wrong = api.post(url, "engine: &a x", content_type="application/yaml")
    assert (wrong.status_code, wrong.json()["state"]) == (
        400,
        ["The file is not a saved state: line 1: aliases and anchors are not read; write the value out."],
    )
    assert api.post(url, b"\xff", content_type="application/yaml").status_code == 400
    assert api.post(url, "x", content_type="text/csv").status_code == 415
    assert client_with(*VIEW).post(url, text, content_type="application/yaml").status_code == 403
    assert client_of(limited).post(url, text, content_type="application/yaml").status_code == 403
    assert Baseline.objects.get().state == parsed(text)


def test_files(baseline):
    """The question above the rows, and each instance, known or not."""
    client = superstaff()
    text = b"".join(client.get(page_of(baseline) + "?file=csv").streaming_content).decode("utf-8-sig")
    lines = list(csv.reader(StringIO(text)))
    assert ["baseline", "Production"] in lines
    assert ["reference", "golden"] in lines
    rows = {line[0]: line for line in lines[lines.index([]) + 2 :]}
    assert rows["one"][1:4] == ["bob", "extra", "account"]
    assert rows["three"][1:3] == ["", ""]
    assert "not visited" in rows["three"][12]
    assert client.get(page_of(baseline) + "?file=xlsx").content[:2] == b"PK"


def run(*args: str, **options: object) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    with pytest.raises(SystemExit) as exit_:
        call_command("drift", *args, stdout=out, stderr=err, **options)
    return exit_.value.code, out.getvalue(), err.getvalue()


def test_the_command(baseline, fleet):
    code, out, err = run("Production")
    assert (code, out.splitlines()) == (
        3,
        ["one: bob: extra: account exists", "two: app: missing: SELECT on table shop.public.orders"],
    )
    assert err.splitlines()[0].startswith("three: not known: not visited")
    assert err.splitlines()[1] == "2 deviations, 0 accepted; 1 instances unknown of 3"
    assert run("Production", fail=True)[0] == 1
    fleet["three"].retire()
    assert run(tag="prod", reference="golden")[0] == 0
    document = json.loads(run("Production", json=True)[1])
    assert (document["deviations"], document["instances"][0]["deviations"][0]["account"]) == (2, "bob")
    assert len(list(csv.reader(StringIO(run("Production", csv=True)[1])))) == 3
    for wrong in ({}, {"tag": "prod"}, {"tag": "prdo", "reference": "golden"}):
        with pytest.raises(CommandError) as error:
            call_command("drift", **wrong)
        assert error.value.returncode == 2
    with pytest.raises(CommandError, match=r"There is no baseline “Produktion”\. "):
        call_command("drift", "Produktion")


def test_an_alert_for_each_instance(baseline, fleet):
    """One for each instance with deviations; it stays while the instance is unknown, and ends when they are
    accepted."""
    rule = AlertRule.objects.create(name="drift", kind="drift", active=True, active_since=timezone.now())
    evaluate()
    texts = dict(Alert.objects.filter(rule=rule).values_list("instance__name", "text"))
    assert texts == {
        "one": "deviates from the baseline “Production” in 1 item: bob",
        "two": "deviates from the baseline “Production” in 1 item: app",
    }
    VisitHealth.objects.create(
        instance=fleet["one"], kind="accounts", failures=1, error_code="x", failed_at=timezone.now()
    )
    two = next(one for one in drift_of(baseline).compared if one.instance == fleet["two"])
    AcceptedDeviation.objects.create(baseline=baseline, key=two.deviations[0].key, reason="r")
    evaluate()
    assert set(Alert.objects.filter(resolved_at=None).values_list("instance__name", flat=True)) == {"one"}
    Baseline.objects.update(active=False)
    evaluate()
    assert not Alert.objects.filter(resolved_at=None).exists()


def test_an_alert_takes_no_more_queries_for_more_instances(baseline, django_assert_num_queries):
    """Seven find out whether there is news; comparing takes seven more, and is not repeated without news."""
    rule = AlertRule.objects.create(name="drift", kind="drift", active=True, active_since=timezone.now())
    with django_assert_num_queries(14):
        assert len(list(alerts_of(rule))) == 2
    with django_assert_num_queries(7):
        assert len(list(alerts_of(rule))) == 2
    for number in range(4):
        more = instance(f"more{number}", "postgresql")
        InstanceTag.objects.create(instance=more, tag=baseline.tag)
    with django_assert_num_queries(14):
        assert len(list(alerts_of(rule))) == 6
    with django_assert_num_queries(7):
        assert len(list(alerts_of(rule))) == 6


def later(**conditions: object) -> None:
    """As a visit says that it has read an instance."""
    Coverage.objects.filter(**conditions).update(read_at=timezone.now())


@pytest.mark.parametrize(
    ("news", "expected"),
    [
        (lambda base, one, _two: (account(one, "eve"), later(instance=one)), {"one": 2, "two": 1}),
        (lambda base, _one, _two: (Account.objects.get(instance=base.reference, name="app").grants.all().delete(),
                                   later(instance=base.reference)), {"one": 2}),
        (lambda base, one, _two: base.instances.add(instance("four", "postgresql")), {"one": 1, "two": 1, "four": 2}),
        (lambda base, one, _two: InstanceTag.objects.filter(instance=one).delete(), {"two": 1}),
        (lambda base, one, _two: Baseline.objects.update(ignored="bob"), {"two": 1}),
        (lambda base, one, two: Baseline.objects.update(reference=two), {"one": 2, "golden": 1}),
        (lambda base, one, _two: save_state(base), {"one": 1, "two": 1}),
        (lambda base, one, _two: Instance.objects.filter(pk=one.pk).update(engine="mysql"), {"two": 1}),
        (lambda base, one, _two: Coverage.objects.filter(instance=one).update(
            read_at=timezone.now() - timedelta(days=30)), {"two": 1}),
        (lambda base, one, _two: one.retire(), {"two": 1}),
        (lambda base, one, two: accept_all(base, two, timezone.localdate()), {"one": 1}),
    ],
    ids=["visit", "reference", "member", "tag", "ignored", "other", "state", "engine", "stale", "retired", "accepted"],
)  # fmt: skip
def test_news_is_compared_again(baseline, fleet, news, expected):
    """What is kept counts only as long as nothing has changed on which it stands."""
    before = {row.instance_id: row.n for row in counted(baseline)}
    assert before == {fleet["one"].pk: 1, fleet["two"].pk: 1, fleet["three"].pk: 0}
    news(baseline, fleet["one"], fleet["two"])
    baseline = Baseline.objects.get()
    fresh = {one.instance.name: len(one.deviations) for one in drift_of(baseline).compared}
    names = dict(Instance.objects.values_list("pk", "name"))
    assert {names[row.instance_id]: row.n for row in counted(baseline)} == fresh
    assert {name: n for name, n in fresh.items() if n} == expected


def accept_all(baseline: Baseline, one: Instance, ends_on: date) -> None:
    for row in next(found for found in drift_of(baseline).compared if found.instance == one).deviations:
        AcceptedDeviation.objects.create(baseline=baseline, instance=one, key=row.key, reason="r", ends_on=ends_on)


def test_an_acceptance_that_ended_is_news(baseline, fleet):
    accept_all(baseline, fleet["two"], timezone.localdate())
    assert sum(row.n for row in counted(baseline)) == 1
    AcceptedDeviation.objects.update(ends_on=timezone.localdate() - timedelta(days=1))
    assert sum(row.n for row in counted(Baseline.objects.get())) == 2


def test_sql_to_align(baseline, fleet):
    """Statements as the engine takes them, by database; a hostile name is in none of them."""
    one = fleet["one"]
    readers = account(fleet["golden"], 'read"ers', kind="role")
    join(Account.objects.get(instance=fleet["golden"], name="app"), readers, admin_option=True)
    grant(Account.objects.get(instance=fleet["golden"], name="app"), "CREATEDB", "attribute")
    grant(account(one, "evil\n; DROP"), "SUPERUSER", "attribute")
    grant(Account.objects.get(instance=one, name="app"), "INSERT", "column", "shop.public.orders.id", database="shop")
    page = staff_page(baseline, f"?sql={one.pk}")
    found = next(row for row in drift_of(baseline).compared if row.instance == one)
    remedy = aligning(found, baseline)
    assert remedy.statements[0].splitlines() == [
        'ALTER ROLE "bob" NOLOGIN;',
        'CREATE ROLE "read""ers" NOLOGIN;',
        'GRANT "read""ers" TO "app" WITH ADMIN TRUE, INHERIT TRUE;',
        'ALTER ROLE "app" CREATEDB;',
    ]
    assert remedy.statements[1].splitlines()[1:] == ['REVOKE INSERT ("id") ON TABLE "public"."orders" FROM "app";']
    assert len(remedy.by_hand) == 2
    assert "DROP" not in "".join(remedy.statements)
    assert "ALTER ROLE &quot;bob&quot; NOLOGIN;" in page


def test_a_tag_goes_with_its_baselines_after_a_bulk_operation_in_one_transaction(db):
    """The operation looks at references at once; Django deletes a tag before the rows that refer to it."""
    tag = Tag.objects.create(slug="x", label="X")
    Baseline.objects.create(name="golden", tag=tag)
    assign([instance("one", "mysql").pk], [tag.pk])
    tag.delete()
    assert not Baseline.objects.exists()
