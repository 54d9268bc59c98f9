"""/api/instances/ and /api/credentials/."""

from __future__ import annotations

import pytest

from instances.models import Credential, Instance
from instances.tests.api import client_with, superclient

SECRET = "Tr0ub4dor&3-secret"


@pytest.fixture
def credential(db: None) -> Credential:
    return Credential.objects.create(name="collector", username="taifish", password=SECRET, hosts="*")


@pytest.fixture
def instance(credential: Credential) -> Instance:
    return Instance.objects.create(name="prod", engine="postgresql", host="db.example.org", credential=credential)


def given(credential: Credential, fields: dict[str, object] | None = None) -> dict[str, object]:
    return {"name": "new", "engine": "postgresql", "host": "db1", "credential": credential.pk} | (fields or {})


def test_an_instance_is_added_read_and_changed(credential):
    client = superclient()
    answer = client.post(
        "/api/instances/", given(credential, {"name": "生产-1", "host": "[2001:db8::1]"}), format="json"
    )
    assert answer.status_code == 201, answer.json()
    added = answer.json()
    assert (added["name"], added["host"], added["credential_name"]) == ("生产-1", "2001:db8::1", "collector")
    url = f"/api/instances/{added['id']}/"
    assert client.patch(url, {"port": 5433}, format="json").json()["port"] == 5433
    assert client.get("/api/instances/?name=生产-1").json()["results"][0]["port"] == 5433
    # What only a visit knows is not a client's to say.
    assert client.patch(url, {"version": "99", "retired_at": "2026-01-01"}, format="json").json()["version"] == ""
    assert client.get(url).json()["retired_at"] is None


@pytest.mark.parametrize(
    ("fields", "field", "told"),
    [
        ({"host": "db1:5432"}, "host", "The port has a separate field"),
        ({"host": "postgresql://db1"}, "host", "Enter a host name"),
        ({"host": "/run/pg", "tls_mode": "verify-full"}, "tls_mode", "A Unix socket has no TLS"),
        ({"port": 65536}, "port", "65535"),
        ({"engine": "db2"}, "engine", "not a valid choice"),
        ({"credential": 0}, "credential", "does not exist"),
        ({"budget": 1}, "budget", "5"),
        ({"name": "prod"}, "name", "already exists"),
        ({"name": "  "}, "name", "blank"),
    ],
)
def test_what_the_model_refuses_the_api_refuses(instance, credential, fields, field, told):
    client = superclient()
    answer = client.post("/api/instances/", given(credential, fields), format="json")
    assert answer.status_code == 400
    assert told in str(answer.json()[field])
    if field != "name":
        answer = client.patch(f"/api/instances/{instance.pk}/", fields, format="json")
        assert answer.status_code == 400
        assert told in str(answer.json()[field])
    assert Instance.objects.count() == 1


def test_deleting_retires_and_restoring_takes_back(instance):
    client = superclient()
    assert client.delete(f"/api/instances/{instance.pk}/").status_code == 204
    assert client.get("/api/instances/?retired=false").json()["count"] == 0
    assert client.get("/api/instances/?retired=true").json()["results"][0]["retired_at"]
    answer = client.post(f"/api/instances/{instance.pk}/restore/")
    assert (answer.status_code, answer.json()["retired_at"]) == (200, None)
    assert client.get("/api/instances/?retired=false").json()["count"] == 1


def test_each_verb_asks_for_its_permission(instance, credential):
    url = f"/api/instances/{instance.pk}/"
    viewer = client_with("instances.view_instance")
    assert viewer.get(url).status_code == 200
    assert viewer.post("/api/instances/", given(credential), format="json").status_code == 403
    assert viewer.patch(url, {"note": "x"}, format="json").status_code == 403
    assert viewer.delete(url).status_code == 403
    assert viewer.post(f"{url}restore/").status_code == 403
    assert viewer.post(f"{url}test-connection/").status_code == 403
    # Without the right to see it, the right to connect shows nothing.
    assert client_with("instances.connect_instance").post(f"{url}test-connection/").status_code == 403
    assert client_with("instances.view_instance").get("/api/credentials/").status_code == 403
    assert Instance.objects.active().get() == instance


def test_a_connection_check_on_postgresql(credential, postgres18):
    target = postgres18.collector("api_check")
    Credential.objects.update(username=target.username, token="")
    credential = Credential.objects.get()
    credential.password = target.password
    credential.save()
    instance = Instance.objects.create(
        name="pg", engine="postgresql", host=target.host, port=target.port, credential=credential
    )
    client = client_with("instances.view_instance", "instances.connect_instance")
    answer = client.post(f"/api/instances/{instance.pk}/test-connection/").json()
    assert (answer["ok"], answer["product"], answer["code"]) == (True, "PostgreSQL", "")
    assert answer["version"].startswith("18")
    assert client.get(f"/api/instances/{instance.pk}/").json()["version"] == answer["version"]
    credential.password = "wrong-" + SECRET
    credential.save()
    answer = client.post(f"/api/instances/{instance.pk}/test-connection/")
    told = answer.json()
    assert (answer.status_code, told["ok"], told["code"], bool(told["hint"])) == (200, False, "auth_failed", True)
    assert target.username in told["message"]
    assert SECRET not in answer.content.decode()


def test_a_connection_check_on_mariadb_and_mysql(db, mysql_family):
    target = mysql_family.collector("api_check")
    credential = Credential.objects.create(name="maria", username=target.username, password=target.password)
    instance = Instance.objects.create(
        name="maria",
        engine="mysql",
        host=target.host,
        port=target.port,
        credential=credential,
        tls_mode=target.tls_mode,
        proof=target.proof,
    )
    answer = superclient().post(f"/api/instances/{instance.pk}/test-connection/").json()
    assert (answer["ok"], answer["product"]) == (True, mysql_family.product), answer


def test_a_connection_check_of_a_secret_that_no_key_opens(instance, settings):
    settings.TAIFISH_CREDENTIAL_KEYS = ["w7zX0b0vXb6o0gk2Yy5Oq1y6rB5X1bq0q9m3xq3m3oA="]
    answer = superclient().post(f"/api/instances/{instance.pk}/test-connection/").json()
    assert (answer["ok"], answer["code"]) == (False, "bad_target")
    assert "TAIFISH_CREDENTIAL_KEYS" in answer["message"]


def test_a_password_goes_in_and_never_comes_out(db):
    client = superclient()
    answers = [client.post("/api/credentials/", {"name": "c", "username": "u", "password": SECRET}, format="json")]
    url = f"/api/credentials/{answers[0].json()['id']}/"
    credential = Credential.objects.get()
    assert credential.password == SECRET
    answers.append(client.patch(url, {"note": "for the lab"}, format="json"))
    assert Credential.objects.get().password == SECRET
    other = SECRET + "\t 2 "
    answers.append(client.put(url, {"name": "c", "username": "u", "password": other}, format="json"))
    assert Credential.objects.get().password == other
    answers += [client.get(url), client.get("/api/credentials/"), client.options(url)]
    answers.append(client.get("/api/credentials/?ordering=password"))
    answers.append(client.get("/api/credentials/?search=" + SECRET[:6]))
    shown = "".join(answer.content.decode() for answer in answers)
    assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 200, 200, 400, 200]
    assert answers[-1].json()["count"] == 0
    assert SECRET not in shown
    assert Credential.objects.get().token not in shown
    assert "token" not in answers[3].json()


def test_a_new_credential_needs_a_password(db):
    answer = superclient().post("/api/credentials/", {"name": "c", "username": "u"}, format="json")
    assert (answer.status_code, list(answer.json())) == (400, ["password"])


def test_a_credential_in_use_stays(instance, credential):
    Instance.objects.create(name="lab", engine="mysql", host="db2", credential=credential)
    client = superclient()
    answer = client.delete(f"/api/credentials/{credential.pk}/")
    assert answer.status_code == 409
    assert "In use by: lab, prod." in answer.json()["detail"]
    Instance.objects.all().delete()
    assert client.delete(f"/api/credentials/{credential.pk}/").status_code == 204


def test_a_list_takes_a_fixed_number_of_queries(instance, credential, django_assert_num_queries):
    client = superclient()
    Instance.objects.bulk_create(
        Instance(name=f"db{n}", engine="mysql", host=f"db{n}", credential=credential) for n in range(40)
    )
    with django_assert_num_queries(2):
        assert len(client.get("/api/instances/").json()["results"]) == 41
    with django_assert_num_queries(2):
        client.get("/api/credentials/")


def test_pages_of_equal_rows_neither_repeat_nor_miss_one(instance, credential):
    Instance.objects.bulk_create(
        Instance(name=f"db{n}", engine="mysql", host=f"db{n}", credential=credential) for n in range(30)
    )
    client = superclient()
    seen = []
    url = "/api/instances/?ordering=-engine&page_size=7"
    while url:
        page = client.get(url).json()
        seen += [row["name"] for row in page["results"]]
        url = page["next"]
    assert len(seen) == len(set(seen)) == 31
