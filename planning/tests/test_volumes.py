"""Volumes from Prometheus: a server on this machine answers as Prometheus does, or as it must not."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from instances.models import Credential, Instance
from instances.tests.api import client_with, superclient
from instances.tests.pages import superstaff, told
from planning import prometheus
from planning.models import Volume, VolumeRead
from planning.tasks import read_volumes as task
from planning.volumes import read_volumes
from taifish.environment import pattern, service_url

GIB = 1024**3
PASSWORD = "s3cr/t%pw"


def series(address: str, mountpoint: str, size: object, available: object, label: str = "instance") -> list[Any]:
    """The two series of a file system, as node_exporter and Prometheus give them."""
    labels = {label: address, "job": "node", "device": "/dev/sdb1", "fstype": "xfs", "mountpoint": mountpoint}
    return [
        {"metric": {"__name__": name, **labels}, "value": [1764290000.123, str(value)]}
        for name, value in ((prometheus.SIZE, size), (prometheus.AVAILABLE, available))
        if value is not None
    ]


def answer(*found: list[Any], **more: Any) -> str:
    result = [one for both in found for one in both]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}, **more})


@dataclass
class Server:
    """What was asked (path, query, headers), and how it answers. `slow` sends a byte at a time, and `hangs` none."""

    url: str = ""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    slow: bool = False
    hangs: bool = False
    go_on: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def server(settings) -> Iterator[Server]:
    it = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            it.asked.append((parts.path, parse_qs(parts.query)["query"][0], dict(self.headers)))
            if it.hangs:
                it.go_on.wait(10)
                return
            self.send_response(it.status)
            for name, value in it.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if not it.slow:
                self.wfile.write(it.body.encode())
            while it.slow and not it.go_on.wait(0.05):
                self.wfile.write(b" ")

        def log_message(self, *args: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    it.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    settings.TAIFISH_PROMETHEUS_URL = (
        f"http://taifish:{PASSWORD.replace('%', '%25').replace('/', '%2F')}@127.0.0.1:{httpd.server_port}/"
    )
    settings.TAIFISH_PROMETHEUS_MOUNTPOINT = '/data|/var/lib/"x".*'
    yield it
    it.go_on.set()
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture
def make(db: None) -> Callable[..., Instance]:
    credential = Credential.objects.create(name="c", username="u")

    def make(name: str, host: str, **fields: object) -> Instance:
        return Instance.objects.create(name=name, host=host, engine="postgresql", credential=credential, **fields)

    return make


def figures() -> dict[str, tuple[int, int | None, list[str]]]:
    return {
        volume.mount: (volume.size, volume.available, sorted(volume.instances.values_list("name", flat=True)))
        for volume in Volume.objects.all()
    }


def test_one_volume_per_host_is_shared_by_its_instances(server, make, django_assert_num_queries):
    """F10.1: the limit is read where it is known; days to full need no typing."""
    make("one", "DB1.example.com")
    make("two", "db1.example.com", port=5433)
    make("six", "2001:db8::1")
    gone = make("gone", "db1.example.com", retired_at=timezone.now())
    server.body = answer(
        series("db1.example.com:9100", "/data", "1.073741824e+11", 40 * GIB),
        series("[2001:db8::1]:9100", "/data", 200 * GIB, 0),
        series("elsewhere:9100", "/data", 5 * GIB, GIB),
        warnings=[],
        infos=["PromQL info"],
    )
    attempt = read_volumes()
    assert (attempt.error, attempt.skipped) == ("", [])
    assert figures() == {
        "db1.example.com:/data": (100 * GIB, 40 * GIB, ["one", "two"]),
        "2001:db8::1:/data": (200 * GIB, 0, ["six"]),
    }
    path, query, headers = server.asked[0]
    assert path == "/api/v1/query"
    assert query == (
        '{__name__=~"node_filesystem_size_bytes|node_filesystem_avail_bytes",mountpoint=~"/data|/var/lib/\\"x\\".*"}'
    )
    assert headers["Authorization"] == "Basic " + base64.b64encode(f"taifish:{PASSWORD}".encode()).decode()
    # Names are the users' from then on; instances come and go.
    Volume.objects.filter(mount="2001:db8::1:/data").update(name="six")
    Instance.objects.filter(name="two").update(host="db2")
    gone.restore()
    server.body = answer(series("db1.example.com:9100", "/data", 100 * GIB, 39 * GIB))
    with django_assert_num_queries(10):
        attempt = read_volumes()
    assert attempt.skipped == ["Prometheus does not have: 2001:db8::1, db2."]
    assert figures() == {
        "db1.example.com:/data": (100 * GIB, 39 * GIB, ["gone", "one"]),
        # No longer seen: the last figures, with their time.
        "2001:db8::1:/data": (200 * GIB, 0, ["six"]),
    }
    old, new = (Volume.objects.get(mount=f"{host}:/data").read_at for host in ("2001:db8::1", "db1.example.com"))
    assert old < new == attempt.read_at
    assert Volume.objects.filter(name="six").exists()


def test_another_label_names_the_host(server, make, settings):
    settings.TAIFISH_PROMETHEUS_LABEL = "nodename"
    make("one", "db1")
    server.body = answer(
        series("db1", "/data", GIB, 1, label="nodename"), series("db1:9100", "/data", 2 * GIB, 2, label="instance")
    )
    assert read_volumes().error == ""
    assert figures() == {"db1:/data": (GIB, 1, ["one"])}
    settings.TAIFISH_PROMETHEUS_LABEL = "host"
    assert read_volumes().error == (
        "It has no file system that TAIFISH_PROMETHEUS_MOUNTPOINT matches and that has the label host."
    )


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (
            [series("db1:9100", "/data", GIB, 1), series("db1:9100", "/data2", GIB, 1)],
            "several file systems match TAIFISH_PROMETHEUS_MOUNTPOINT: /data, /data2",
        ),
        ([series("db1:9100", "/data", GIB, 1), series("db1:9101", "/data", GIB, 1)], "has not one series of each"),
        ([series("db1:9100", "/data", GIB, None)], "has not one series of each"),
        ([series("db1:9100", "/data", None, GIB)], "has not one series of each"),
        ([series("db1:9100", "/data", "NaN", GIB)], "not plausible"),
        ([series("db1:9100", "/data", "+Inf", GIB)], "not plausible"),
        ([series("db1:9100", "/data", GIB, 2 * GIB)], "not plausible"),
        ([series("db1:9100", "/data", GIB, -1)], "not plausible"),
        ([series("db1:9100", "/data", 0, 0)], "not plausible"),
        ([series("db1:9100", "/" + "x" * 140, GIB, 1)], "too long"),
    ],
)
def test_none_is_taken_rather_than_the_wrong_one(server, make, found, why):
    make("one", "db1")
    make("two", "db2")
    old = Volume.objects.create(name="db1:/data", mount="db1:/data", size=7, available=5, read_at=timezone.now())
    server.body = answer(*found, series("db2:9100", "/data", GIB, 1))
    attempt = read_volumes()
    assert attempt.error == ""
    assert len(attempt.skipped) == 1
    assert attempt.skipped[0].startswith("db1: ")
    assert why in attempt.skipped[0]
    old.refresh_from_db()
    assert (old.size, old.available) == (7, 5)
    assert Volume.objects.count() == 2
    assert attempt.skipped[0] in superstaff().get(reverse("admin:planning_volume_changelist")).text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "/var/run/postgresql"])
def test_this_machine_may_be_another_one_to_prometheus(server, make, host):
    make("one", host)
    address = f"[{host}]:9100" if host == "::1" else f"{host}:9100"
    server.body = answer(series(address, "/data", GIB, 1))
    assert (read_volumes().skipped, figures()) == ([], {})


def test_a_name_that_is_taken_stays_with_its_volume(server, make):
    make("one", "db1")
    Volume.objects.create(name="db1:/data", size=3)
    server.body = answer(series("db1:9100", "/data", GIB, 1))
    read_volumes()
    read_volumes()
    assert dict(Volume.objects.values_list("name", "size")) == {"db1:/data": 3, "db1:/data (Prometheus)": GIB}


GOOD = answer(series("db1:9100", "/data", GIB, 1))
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unauthorised": ({"status": 401}, "It answered 401. Check user and password in TAIFISH_PROMETHEUS_URL."),
    "bad query": ({"status": 400}, "It answered 400. Check TAIFISH_PROMETHEUS_MOUNTPOINT."),
    "broken": ({"status": 503, "body": GOOD}, "It answered 503."),
    "redirect": (
        {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}},
        "It answered 302, a redirect, which is not followed.",
    ),
    "another service": ({"body": "<html>Hello"}, "not like Prometheus"),
    "cut off": ({"body": GOOD[:-20]}, "not like Prometheus"),
    "an error with 200": ({"body": '{"status":"error","error":"x"}'}, "not like Prometheus"),
    "a matrix": ({"body": GOOD.replace("vector", "matrix")}, "not like Prometheus"),
    "no number": ({"body": GOOD.replace('"1"', '"x"')}, "not like Prometheus"),
    "NUL in a label": ({"body": GOOD.replace("/data", "/d\\u0000")}, "not like Prometheus"),
    "half a character": ({"body": GOOD.replace("/data", "/d\\ud800")}, "not like Prometheus"),
    "a list": ({"body": "[]"}, "not like Prometheus"),
    "deep": ({"body": "[" * 100_000}, "not like Prometheus"),
    "partial": (
        {"body": answer(series("db1:9100", "/data", GIB, 1), warnings=[f"store {PASSWORD} is down \0"])},
        "It answered only in part: ",
    ),
    "nothing": ({"body": answer()}, "It has no file system that TAIFISH_PROMETHEUS_MOUNTPOINT matches"),
    "too large": ({"body": GOOD + " " * 200_000}, "Its answer is larger than 0 MiB."),
    "slow": ({"slow": True}, "It did not answer within 0.3 s."),
    "silent": ({"hangs": True}, "It did not answer within 0.3 s."),
}


@pytest.mark.parametrize("how", BAD)
def test_a_failed_answer_changes_nothing_and_is_shown_with_its_age(server, make, monkeypatch, caplog, how):
    """Stale figures keep their time, and neither the password nor the URL is quoted anywhere."""
    caplog.set_level(logging.DEBUG)
    make("one", "db1")
    server.body = answer(series("db1:9100", "/data", 2 * GIB, GIB))
    first = read_volumes()
    assert first.error == ""
    behaviour, message = BAD[how]
    if "0.3 s" in message:
        monkeypatch.setattr(prometheus, "TIMEOUT", 0.3)
    monkeypatch.setattr(prometheus, "LARGEST", 200_000)
    for name, value in behaviour.items():
        setattr(server, name, value)
    before = list(Volume.objects.values())
    out = StringIO()
    with pytest.raises(CommandError) as failed:
        call_command("read_volumes", json=True, stdout=out)
    assert failed.value.returncode == 1
    assert message in str(failed.value)
    assert list(Volume.objects.values()) == before
    attempt = VolumeRead.objects.get()
    assert message in attempt.error
    assert (attempt.read_at, attempt.is_fresh) == (first.read_at, False)
    assert attempt.tried_at > first.tried_at
    browser = superstaff()
    pages = [browser.get(reverse(name)).text for name in ("health", "admin:planning_volume_changelist")]
    for page in pages:
        assert "failed 0\xa0minutes ago" in page
        assert "The figures were read 0\xa0minutes ago." in page
    for text in (*pages, out.getvalue(), str(failed.value), attempt.error, caplog.text):
        for secret in (PASSWORD, "s3cr%2Ft", base64.b64encode(f"taifish:{PASSWORD}".encode()).decode()):
            assert secret not in text
    # The next good answer is taken.
    monkeypatch.setattr(prometheus, "TIMEOUT", 30)
    vars(server).update(status=200, body=GOOD, slow=False, hangs=False, headers={})
    assert (read_volumes().error, VolumeRead.objects.get().is_fresh) == ("", True)
    assert figures() == {"db1:/data": (GIB, 1, ["one"])}


def test_a_server_that_is_not_there(make, settings):
    settings.TAIFISH_PROMETHEUS_URL = "http://127.0.0.1:1"
    attempt = read_volumes()
    assert attempt.error == "It cannot be reached: Connection refused."
    assert "and never read" in attempt.summary
    assert "and never read" in superstaff().get(reverse("health")).text


def test_it_is_off_unless_it_is_set(make, settings):
    make("one", "db1")
    assert settings.TAIFISH_PROMETHEUS_URL == ""
    task()
    assert not VolumeRead.objects.exists()
    with pytest.raises(CommandError, match="TAIFISH_PROMETHEUS_URL is not set") as failed:
        call_command("read_volumes")
    assert failed.value.returncode == 2
    assert superclient().post(reverse("volume-read")).status_code == 409
    browser = superstaff()
    assert "Prometheus" not in browser.get(reverse("health")).text
    assert "never read" not in browser.get(reverse("admin:planning_volume_changelist")).text


def test_the_command_the_page_and_the_api_read_now(server, make):
    make("one", "db1")
    server.body = GOOD
    out = StringIO()
    with pytest.raises(SystemExit) as done:
        call_command("read_volumes", stdout=out)
    assert (done.value.code, out.getvalue()) == (0, "1 volumes read\n")
    make("two", "db2")
    with pytest.raises(SystemExit) as done:
        call_command("read_volumes", json=True, stdout=StringIO())
    assert done.value.code == 3
    read = superclient().post(reverse("volume-read")).json()
    assert (read["error"], read["skipped"]) == ("", ["Prometheus does not have: db2."])
    url = reverse("admin:planning_volume_do_on_list", args=["read"])
    browser = superstaff()
    assert "read 0" in told(browser.post(url, follow=True))
    server.status = 500
    assert "It answered 500." in told(browser.post(url, follow=True))
    assert client_with("planning.view_volume").post(reverse("volume-read")).status_code == 403
    assert len(server.asked) == 5


def test_figures_that_are_out_of_date_are_marked(server, make, settings):
    make("one", "db1")
    server.body = GOOD
    read_volumes()
    page = reverse("admin:planning_volume_changelist")
    assert "out of date" not in superstaff().get(page).text
    Volume.objects.update(read_at=timezone.now() - timedelta(hours=settings.TAIFISH_STALE_AFTER + 1))
    assert "out of date" in superstaff("other").get(page).text
    assert superclient().get(reverse("volume-list")).json()["results"][0]["is_stale"] is True


@pytest.mark.parametrize(
    ("value", "is_good"),
    [
        ("", True),
        ("http://prometheus:9090", True),
        ("https://user:pw@prometheus.example.com/prom", True),
        ("http://user:pw@localhost:9090", True),
        ("http://user:pw@prometheus:9090", False),
        ("ftp://user:pw@prometheus", False),
        ("prometheus:9090", False),
        ("http://user:pw@", False),
        ("http://[user:pw@x", False),
        ("https://user:pw@x/?token=pw", False),
    ],
)
def test_the_address_is_checked_and_never_quoted(monkeypatch, tmp_path, value, is_good):
    file = tmp_path / "url"
    file.write_text(f"{value}\n")
    monkeypatch.setenv("TAIFISH_PROMETHEUS_URL_FILE", str(file))
    if is_good:
        assert service_url("TAIFISH_PROMETHEUS_URL") == value
        return
    with pytest.raises(ImproperlyConfigured) as refused:
        service_url("TAIFISH_PROMETHEUS_URL")
    assert ":pw" not in str(refused.value).replace("user:password", "")


def test_a_mount_point_is_needed_with_an_address(monkeypatch):
    monkeypatch.delenv("TAIFISH_PROMETHEUS_MOUNTPOINT", raising=False)
    assert pattern("TAIFISH_PROMETHEUS_MOUNTPOINT", needed_by="") == ""
    with pytest.raises(
        ImproperlyConfigured, match="TAIFISH_PROMETHEUS_URL is set, TAIFISH_PROMETHEUS_MOUNTPOINT is not"
    ):
        pattern("TAIFISH_PROMETHEUS_MOUNTPOINT", needed_by="TAIFISH_PROMETHEUS_URL")
    monkeypatch.setenv("TAIFISH_PROMETHEUS_MOUNTPOINT", "/data[")
    with pytest.raises(ImproperlyConfigured, match="no regular expression"):
        pattern("TAIFISH_PROMETHEUS_MOUNTPOINT", needed_by="")
