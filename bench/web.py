"""Fifty people on the pages of a large fleet, on the web server as it is deployed.

1,000 instances with 200,000 accounts, 2 M grants, 50,000 databases, and gunicorn with two processes of eight threads.
The client runs on the same machine, and takes its share of the processors. `MIX` says how often each page is opened.

Three parts: each page alone, for its size and its processor time in the web and in the store; then every person opens
a page, reads it for 2 to 6 s, and opens the next one; then without a pause, while /healthz is probed four times a
second. A page counts from the request to its last byte.
"""

from __future__ import annotations

import gzip
import http.client
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from ground import ROOT, beside, quick, report, store

INSTANCES = 20 if quick() else 1000
PEOPLE = 50
#: Seconds of each of the last two parts.
LASTING = 15 if quick() else 60
#: Seconds that a person reads a page.
THINKING = (2.0, 6.0)

#: Page → how often of a hundred times. Lists of models by their name, pages of a row as "name #".
MIX = {
    "admin:index": 10,
    "accounts_account": 6,
    "accounts_account ?instance": 12,
    "accounts_account ?q": 6,
    "accounts_account #": 14,
    "accounts_accountchange": 5,
    "who-can": 6,
    "where-is": 3,
    "instances_instance": 9,
    "instances_instance #": 8,
    "capacity_database": 5,
    "capacity_database #": 3,
    "trends": 1,
    "forecasts": 2,
    "filling-up": 1,
    "aggregation_databaseaggregate": 1,
    "sync_syncsession": 4,
    "sync_syncsession #": 2,
    "sync_visithealth": 1,
    "health": 1,
}


def addresses() -> dict[str, list[str]]:
    """Page → addresses of which one is chosen each time."""
    from django.apps import apps
    from django.urls import reverse

    from instances.models import Instance

    instances = list(Instance.objects.order_by("?").values_list("pk", flat=True)[:50])
    found: dict[str, list[str]] = {}
    for page in MIX:
        name, _, more = page.partition(" ")
        if "_" not in name:
            found[page] = [reverse(name)]
        elif more == "#":
            rows = apps.get_model(name.replace("_", ".", 1)).objects.order_by("?").values_list("pk", flat=True)[:50]
            found[page] = [reverse(f"admin:{name}_change", args=[pk]) for pk in rows]
        else:
            url = reverse(f"admin:{name}_changelist")
            queries = {
                "?instance": [f"?instance__id__exact={pk}" for pk in instances],
                "?q": [f"?q=user{n}" for n in range(100, 150)],
            }
            found[page] = [url + query for query in queries.get(more, [""])]
    found["who-can"] = [f"{found['who-can'][0]}?privilege=SELECT&object=shop{n % 50}_0.t1" for n in instances]
    found["where-is"] = [f"{found['where-is'][0]}?name=user{n}" for n in range(20, 70)]
    return found


def processes_of(parent: int) -> list[int]:
    """A process and those below it."""
    found = [parent]
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(FileNotFoundError, ProcessLookupError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    found += processes_of(int(entry.name))
    return found


def processor_seconds(parent: int) -> float:
    """What a process and those below it have used, ended ones included."""
    ticks = 0
    for pid in processes_of(parent):
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def served() -> Iterator[tuple[int, int]]:
    """The web server: its port and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = "gunicorn taifish.wsgi --worker-class taifish.web.Worker --workers 2 --threads 8 --no-control-socket"
    web = subprocess.Popen(
        [sys.executable, "-m", *command.split(), f"--bind=127.0.0.1:{port}", "--log-level=warning"], cwd=ROOT
    )
    try:
        for _ in range(300):
            with suppress(OSError):
                if ask(port, "/healthz")[0] == 200:
                    break
            time.sleep(0.2)
        yield port, web.pid
    finally:
        web.terminate()
        web.wait()


def ask(port: int, url: str, cookie: str = "") -> tuple[int, bytes, float]:
    """Status, body as it came, and seconds of a request."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", url, headers={"Cookie": cookie, "Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    return answer.status, body, time.monotonic() - began


class People:
    """What they saw: seconds of each page, and what was no page."""

    def __init__(
        self, port: int, cookies: list[str], pages: dict[str, list[str]], thinking: tuple[float, float]
    ) -> None:
        self.port, self.pages, self.thinking = port, pages, thinking
        self.took: list[float] = []
        self.wrong: list[str] = []
        self.until = time.monotonic() + LASTING
        self.threads = [threading.Thread(target=self.browse, args=(cookie,)) for cookie in cookies]

    def all_leave(self) -> None:
        for thread in self.threads:
            thread.start()
        for thread in self.threads:
            thread.join()

    def browse(self, cookie: str) -> None:
        chance = random.Random(cookie)
        # Not all at once.
        time.sleep(chance.uniform(0, self.thinking[1]))
        while time.monotonic() < self.until:
            (page,) = chance.choices([*MIX], [*MIX.values()])
            url = chance.choice(self.pages[page])
            try:
                status, _body, seconds = ask(self.port, url, cookie)
            except OSError as error:
                self.wrong.append(f"{url}: {error}")
                continue
            self.took.append(seconds)
            if status != 200:
                self.wrong.append(f"{url}: {status}")
            time.sleep(chance.uniform(*self.thinking))


def alone(port: int, web: int, store_pid: int, cookie: str, pages: dict[str, list[str]]) -> dict[str, Any]:
    """Each page by itself: kB as they are and compressed, and processor time."""
    figures: dict[str, dict[str, float]] = {"kb": {}, "gzip_kb": {}, "web_cpu_ms": {}, "store_cpu_ms": {}}
    for page, urls in pages.items():
        for url in urls[:1] * 6:
            # Both processes have loaded what the page takes.
            status, body, _ = ask(port, url, cookie)
            assert status == 200, (url, status)
        figures["kb"][page] = len(gzip.decompress(body)) / 1000
        figures["gzip_kb"][page] = len(body) / 1000
        before, stored, times = processor_seconds(web), processor_seconds(store_pid), 20
        for n in range(times):
            ask(port, urls[n % len(urls)], cookie)
        figures["web_cpu_ms"][page] = 1000 * (processor_seconds(web) - before) / times
        figures["store_cpu_ms"][page] = 1000 * (processor_seconds(store_pid) - stored) / times
    rounded = {name: {page: round(value, 1) for page, value in found.items()} for name, found in figures.items()}
    most = {f"most_{name}": max(found.values()) for name, found in figures.items()}
    weighted = {
        f"mean_{name}": sum(figures[name][page] * share for page, share in MIX.items()) / sum(MIX.values())
        for name in ("web_cpu_ms", "store_cpu_ms")
    }
    return rounded | most | weighted


def main() -> None:
    figures: dict[str, Any] = {"processors": os.cpu_count(), "people": PEOPLE}
    with store():
        from django.conf import settings
        from django.contrib.auth.models import User
        from django.core.management import call_command
        from django.test import Client

        from taifish import embedded

        figures |= beside("house").fill(INSTANCES)
        call_command("install_rules", verbosity=0)
        pages = addresses()
        cookies = []
        for n in range(PEOPLE):
            client = Client(SERVER_NAME="localhost")
            client.force_login(User.objects.create_superuser(f"bench{n}"))
            cookies.append(f"sessionid={client.cookies['sessionid'].value}")
        store_pid = int((embedded.store(settings.TAIFISH_DATA_DIR).data / "postmaster.pid").read_text().split()[0])
        with served() as (port, web):
            figures |= alone(port, web, store_pid, cookies[0], pages)
            figures["load_before"] = os.getloadavg()[0]
            reading = People(port, cookies, pages, THINKING)
            reading.all_leave()
            figures |= {
                "thinking_pages": len(reading.took),
                "thinking_p50_s": median(reading.took),
                "thinking_p95_s": quantiles(reading.took, n=20)[-1],
            }
            hurried = People(port, cookies, pages, (0, 0))
            probes, stop = [], threading.Event()

            def probe() -> None:
                while not stop.wait(0.25):
                    status, _body, seconds = ask(port, "/healthz")
                    probes.append(seconds if status == 200 else 60.0)

            prober = threading.Thread(target=probe)
            prober.start()
            hurried.all_leave()
            stop.set()
            prober.join()
            figures |= {
                "hurried_pages_a_second": len(hurried.took) / LASTING,
                "hurried_p50_s": median(hurried.took),
                "hurried_p95_s": quantiles(hurried.took, n=20)[-1],
                "healthz_p50_s": median(probes),
                "healthz_worst_s": max(probes),
                "wrong": len(reading.wrong + hurried.wrong),
            }
            for problem in (reading.wrong + hurried.wrong)[:10]:
                print(problem, file=sys.stderr)
    targets = {
        "most_kb": ("<=", 250.0),
        "most_gzip_kb": ("<=", 40.0),
        "most_web_cpu_ms": ("<=", 80.0),
        "thinking_p50_s": ("<=", 0.4),
        "thinking_p95_s": ("<=", 1.2),
        "hurried_pages_a_second": (">=", 25.0),
        "healthz_worst_s": ("<=", 1.0),
        "wrong": ("<=", 0),
    }
    report("web", figures, targets)


if __name__ == "__main__":
    main()
