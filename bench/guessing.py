"""A hundred clients that guess passwords, and what others notice of it.

Gunicorn with two processes of eight threads, as deployed, on an empty store. The clients guess without a pause, with a
new name each time: first all from one address, then each from a different one. Meanwhile one person logs in with the
right password from a known address, and tries again a second after each refusal; another, who is logged in, opens the
list of instances; and /healthz is probed. The figures are the longest times. `stranger` is for information: the right
password from an address without an earlier login. The reference is the time of one hash alone.
"""

from __future__ import annotations

import base64
import http.client
import os
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from typing import Any

from ground import beside, quick, report, seconds, store

CLIENTS = 100
LASTING = 10 if quick() else 40
RIGHT = "a-l0ng-Right-password"


def status_of(port: int, source: str, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(source, 0))
    with closing(connection), suppress(OSError, http.client.HTTPException):
        connection.request("GET", path, headers={"Host": "localhost", **headers})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    return 0


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def part(port: int, addresses: list[str], cookie: str) -> dict[str, Any]:
    """The worst seconds of each kind of request while all clients guess."""
    stop = threading.Event()
    guesses: Counter[int] = Counter()
    worst = {"healthz": 0.0, "login": 0.0, "page": 0.0, "stranger": 0.0}
    assert status_of(port, "127.0.9.2", "/api/instances/", Authorization=basic("right", RIGHT)) == 200
    fresh = f"127.0.8.{len(addresses)}"
    wrong: Counter[str] = Counter()

    def guess(number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            source = addresses[number % len(addresses)]
            guesses[status_of(port, source, "/api/instances/", Authorization=basic(f"n{number}-{turn}", "wrong"))] += 1

    def again(kind: str, path: str, pause: float, source: str, **headers: str) -> None:
        while not stop.wait(pause):
            began = time.monotonic()
            while (status := status_of(port, source, path, **headers)) == 429:
                # As the answer says.
                time.sleep(1)
            if status != 200:
                wrong[f"{kind} {status}"] += 1
            worst[kind] = max(worst[kind], time.monotonic() - began)

    threads = [threading.Thread(target=guess, args=[number]) for number in range(CLIENTS)]
    threads += [
        threading.Thread(target=again, args=["healthz", "/healthz", 0.25, "127.0.9.1"]),
        threading.Thread(
            target=again,
            args=["login", "/api/instances/", 1.0, "127.0.9.2"],
            kwargs={"Authorization": basic("right", RIGHT)},
        ),
        threading.Thread(
            target=again,
            args=["stranger", "/api/instances/", 3.0, fresh],
            kwargs={"Authorization": basic("right", RIGHT)},
        ),
        threading.Thread(
            target=again, args=["page", "/admin/instances/instance/", 0.5, "127.0.9.3"], kwargs={"Cookie": cookie}
        ),
    ]
    for thread in threads:
        thread.start()
    time.sleep(LASTING)
    stop.set()
    for thread in threads:
        thread.join()
    return {f"{kind}_worst_s": took for kind, took in worst.items()} | {
        "guesses_hashed": guesses[401],
        "guesses_refused": guesses[429],
        "wrong": sum(wrong.values()) + sum(guesses[status] for status in guesses if status not in (401, 429)),
    }


def main() -> None:
    figures: dict[str, Any] = {"processors": os.cpu_count(), "clients": CLIENTS, "load_before": os.getloadavg()[0]}
    with store(TAIFISH_API_BASIC="yes"):
        from django.contrib.auth.hashers import make_password
        from django.contrib.auth.models import User
        from django.test import Client

        User.objects.create_superuser("right", password=RIGHT)
        figures["one_hash_s"] = seconds(lambda: make_password("wrong"), 3)
        client = Client(SERVER_NAME="localhost")
        client.force_login(User.objects.create_superuser("reader"))
        cookie = f"sessionid={client.cookies['sessionid'].value}"
        with beside("web").served() as (port, _web):
            one = part(port, ["127.0.1.1"], cookie)
            many = part(port, [f"127.0.2.{number}" for number in range(1, CLIENTS + 1)], cookie)
    figures |= {f"one_address_{name}": value for name, value in one.items()}
    figures |= {f"many_addresses_{name}": value for name, value in many.items()}
    targets: dict[str, tuple[str, float]] = {}
    for where in ("one_address", "many_addresses"):
        targets |= {
            f"{where}_healthz_worst_s": ("<=", 1.0),
            f"{where}_login_worst_s": ("<=", 5.0),
            f"{where}_page_worst_s": ("<=", 2.0),
            f"{where}_wrong": ("<=", 0),
        }
    report("guessing", figures, targets)


if __name__ == "__main__":
    main()
