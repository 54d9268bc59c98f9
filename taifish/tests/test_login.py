"""The login page and the API count failed logins by name and by address, and make those with too many wait."""

from __future__ import annotations

import base64
import logging
from datetime import timedelta
from threading import Event, Thread

import pytest
from axes.models import AccessAttempt, AccessLog
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from audit.services import logged_in_from
from instances.tests.pages import staff, superstaff
from taifish.login import PASSWORDS, WAITING, AddressLimit, Queue, TooManyAttempts, client_address, counted_address
from taifish.models import ApiToken

LOGIN = reverse("admin:login")
RIGHT, WRONG = "Tr0ub4dor&3-right", "Tr0ub4dor&3-wrong"


@pytest.fixture
def ann(db, settings) -> User:
    settings.AXES_FAILURE_LIMIT = 3
    settings.TAIFISH_API_BASIC = True
    return User.objects.create_superuser("ann", password=RIGHT)


def enter(password: str, name: str = "ann", **headers: str) -> object:
    return Client().post(LOGIN, {"username": name, "password": password}, **headers)


def ask(password: str, name: str = "ann", **headers: str) -> object:
    given = base64.b64encode(f"{name}:{password}".encode()).decode()
    return Client().get("/api/instances/", headers={"Authorization": f"Basic {given}"}, **headers)


def test_names_and_passwords_in_the_api_are_off_until_switched_on(ann, settings):
    """F8.3: no password is hashed, and no failure counted."""
    settings.TAIFISH_API_BASIC = False
    for password in (RIGHT, WRONG):
        answer = ask(password)
        assert (answer.status_code, "Create an API token" in answer.json()["detail"]) == (401, True)
    assert not AccessAttempt.objects.exists()
    settings.TAIFISH_API_BASIC = True
    assert ask(RIGHT).status_code == 200


def test_three_wrong_passwords_and_the_right_one_waits(ann):
    assert [enter(WRONG).status_code for _ in range(3)] == [200, 200, 429]
    answer = enter(RIGHT)
    assert answer.status_code == 429
    assert "Try again in 15 minutes." in answer.content.decode()
    # Of whoever comes from elsewhere, or under another name, nothing is known.
    assert enter(RIGHT, REMOTE_ADDR="10.0.0.9").status_code == 302
    assert enter(WRONG, "bob").status_code == 200


def test_the_pause_ends_when_it_was_said_to(ann):
    for _ in range(4):
        enter(WRONG)
    assert enter(WRONG).status_code == 429
    assert AccessAttempt.objects.get(username="ann").failures_since_start == 3
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=15, seconds=1))
    assert enter(RIGHT).status_code == 302


def test_who_gets_in_starts_anew(ann):
    for _ in range(2):
        assert [enter(WRONG).status_code for _ in range(2)] == [200, 200]
        assert enter(RIGHT).status_code == 302
    assert not AccessAttempt.objects.filter(username="ann").exists()
    assert not AccessLog.objects.exists()


def test_the_api_counts_with_the_login_page(ann):
    assert [ask(WRONG).status_code for _ in range(2)] == [401, 401]
    assert enter(WRONG).status_code == 429
    answer = ask(RIGHT)
    assert (answer.status_code, answer["Retry-After"]) == (429, "900")
    assert answer.json() == {"detail": "Too many wrong passwords. Try again in 15 minutes."}
    assert ask(RIGHT, REMOTE_ADDR="10.0.0.9").status_code == 200


def test_a_name_that_no_store_can_hold_is_nobody(ann):
    answer = ask(RIGHT, "an\0n")
    assert (answer.status_code, list(answer.json())) == (401, ["detail"])


@pytest.mark.parametrize(
    ("behind", "forwarded", "address"),
    [
        (False, None, "10.0.0.1"),
        (False, "192.0.2.7", "10.0.0.1"),
        (True, "192.0.2.7", "192.0.2.7"),
        (True, "made up, 192.0.2.7", "192.0.2.7"),
        (True, "192.0.2.7, 2001:DB8::1", "2001:db8::1"),
        (True, None, "10.0.0.1"),
        (True, "nonsense", None),
    ],
)
def test_whose_address_it_is(settings, behind, forwarded, address):
    """Only behind a proxy is believed what it says, and of that only what it wrote itself."""
    settings.TAIFISH_BEHIND_PROXY = behind
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert client_address(RequestFactory().get("/", headers=headers, REMOTE_ADDR="10.0.0.1")) == address


def test_a_forged_address_opens_no_second_door(ann):
    for number in range(3):
        enter(WRONG, HTTP_X_FORWARDED_FOR=f"192.0.2.{number}")
    assert enter(RIGHT, HTTP_X_FORWARDED_FOR="192.0.2.99").status_code == 429


def test_who_runs_taifish_lets_them_in_again(ann):
    for _ in range(3):
        enter(WRONG)
    page = reverse("admin:axes_accessattempt_changelist")
    client = superstaff()
    assert "ann" in client.get(page).content.decode()
    chosen = {
        "action": "delete_selected",
        "_selected_action": [AccessAttempt.objects.get(username="ann").pk],
        "post": "yes",
    }
    assert staff("axes.view_accessattempt").post(page, chosen).status_code == 403
    assert client.post(page, chosen).status_code == 302
    assert enter(RIGHT).status_code == 302


def test_no_password_is_kept_or_logged(ann, caplog):
    with caplog.at_level(logging.DEBUG):
        for _ in range(4):
            enter(WRONG)
            ask(WRONG)
        enter(RIGHT)
    kept = str(list(AccessAttempt.objects.values()))
    assert "ann" in kept
    assert not [secret for secret in (RIGHT, WRONG) if secret in kept + caplog.text]


@pytest.fixture
def hashes(monkeypatch) -> list[str]:
    """The passwords that were hashed since."""
    hashed: list[str] = []
    encode = MD5PasswordHasher.encode

    def counted(self, password, salt):
        hashed.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    return hashed


@pytest.fixture
def few(ann, settings) -> User:
    """An address may fail four times."""
    settings.TAIFISH_LOGIN_ADDRESS_TRIES = 4
    ann.set_password(RIGHT)
    ann.save()
    return ann


def bear(secret: str, **headers: str) -> object:
    return Client().get("/api/instances/", headers={"Authorization": f"Bearer {secret}"}, **headers)


def test_new_names_each_time_are_limited_by_address_before_a_hash(few, hashes):
    """Fault 11, F8.3: on both doors together, and a correct login from elsewhere works."""
    answers = [door(WRONG, f"name{number}").status_code for number in range(2) for door in (enter, ask)]
    assert (answers, len(hashes)) == ([200, 401, 200, 401], 4)
    for answer in (enter(WRONG, "name9"), ask(WRONG, "name9"), enter(RIGHT), ask(RIGHT)):
        assert answer.status_code == 429
        assert 840 < int(answer["Retry-After"]) <= 900
        assert "Too many failed logins from this address. Try again in 15 minutes." in answer.content.decode()
    assert len(hashes) == 4
    assert ask(RIGHT, REMOTE_ADDR="10.0.0.9").status_code == 200
    assert enter(RIGHT, REMOTE_ADDR="10.0.0.9").status_code == 302


def test_a_success_does_not_reset_the_address(few):
    """Fault 11, F8.3: a valid account is no means to guess others without end."""
    for number in range(4):
        assert enter(WRONG, f"name{number}").status_code == 200
        assert number == 3 or enter(RIGHT).status_code == 302
    assert enter(RIGHT).status_code == 429


def test_an_address_waits_as_long_as_it_was_said(few):
    """Fault 11, F8.3: failures older than the pause do not count, and it begins with the last failure."""
    limit = AddressLimit(RequestFactory().get("/"), PASSWORDS)
    rows = AccessAttempt.objects.filter(username="")
    for _ in range(3):
        limit.count()
    rows.update(attempt_time=timezone.now() - timedelta(minutes=14))
    limit.count()
    assert timezone.now() - rows.get().attempt_time < timedelta(minutes=1)
    with pytest.raises(TooManyAttempts):
        limit.count()
    assert rows.get().failures_since_start == 4
    rows.update(attempt_time=timezone.now() - timedelta(minutes=15, seconds=1))
    assert limit.failures() == 0
    limit.count()
    assert rows.get().failures_since_start == 1


def test_unknown_tokens_are_limited_and_known_ones_are_not(few):
    """Fault 11, F8.3: guesses of tokens count by themselves; neither a neighbour's valid token nor password waits."""
    token, old = ApiToken(user=few, name="report"), ApiToken(user=few, name="old", expires_at=timezone.now())
    secret, expired = token.draw(), old.draw()
    token.save()
    old.save()
    assert [bear(expired).status_code for _ in range(6)] == [401] * 6
    assert [bear(f"taifish_{number}").status_code for number in range(6)] == [401] * 4 + [429] * 2
    answer = bear("taifish_guess")
    assert "this address" in answer.json()["detail"]
    assert 0 < int(answer["Retry-After"]) <= 900
    assert [bear(secret).status_code, bear(expired).status_code, ask(RIGHT).status_code] == [200, 401, 200]
    assert bear("taifish_guess", REMOTE_ADDR="10.0.0.9").status_code == 401


def test_guesses_of_the_metrics_token_are_limited(few, settings):
    """Fault 11, F8.3: the right one still works."""
    settings.TAIFISH_METRICS_TOKEN = "right"

    def scrape(token: str) -> object:
        return Client().get("/metrics", headers={"Authorization": f"Bearer {token}"})

    assert [scrape("guess").status_code for _ in range(6)] == [401] * 4 + [429] * 2
    assert "Retry-After" in scrape("guess").headers
    assert scrape("right").status_code == 200


def test_guesses_of_the_old_password_are_limited(few, hashes, settings):
    """Fault 11, F8.3: by name and address as at the login, and by address."""
    client, new = Client(), "Tr0ub4dor&3-new"
    client.force_login(few)

    def change(old: str, **headers: str) -> object:
        fields = {"old_password": old, "new_password1": new, "new_password2": new}
        return client.post(reverse("admin:password_change"), fields, **headers)

    assert [change(WRONG).status_code for _ in range(3)] == [200, 200, 429]
    hashed = len(hashes)
    assert change(RIGHT).status_code == 429
    settings.AXES_FAILURE_LIMIT = 100
    assert change(WRONG).status_code == 200
    answer = change(RIGHT)
    assert (answer.status_code, len(hashes)) == (429, hashed + 1)
    assert "from this address" in answer.content.decode()
    few.refresh_from_db()
    assert few.check_password(RIGHT)
    answer = change(RIGHT, REMOTE_ADDR="10.0.0.9")
    assert (answer.status_code, answer["Location"]) == (302, reverse("admin:password_change_done"))
    few.refresh_from_db()
    assert few.check_password(new)


def test_a_right_old_password_has_its_page(few):
    """Fault 11: the page with a form of ours is still the admin's, with its sidebar."""
    client = Client()
    client.force_login(few)
    page = client.get(reverse("admin:password_change"))
    assert page.status_code == 200
    assert reverse("admin:index") in page.content.decode()


def test_behind_a_proxy_it_is_the_clients_address(few, settings):
    """Fault 11, F8.3: neither do neighbours behind one proxy wait together, nor does a made-up address help."""
    settings.TAIFISH_BEHIND_PROXY = True
    for number in range(4):
        ask(WRONG, f"name{number}", HTTP_X_FORWARDED_FOR=f"10.9.9.{number}, 192.0.2.7")
    assert ask(RIGHT, HTTP_X_FORWARDED_FOR="10.9.9.9, 192.0.2.7").status_code == 429
    assert ask(RIGHT, HTTP_X_FORWARDED_FOR="192.0.2.8").status_code == 200


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        (None, "::"),
    ],
)
def test_what_an_address_is(address, counted):
    """Fault 11, F8.3: one client has a whole /64 of IPv6."""
    assert counted_address(address) == counted


def test_superusers_release_an_address(few):
    """Fault 11: by the row of the address, and by that of a name, which would be locked out otherwise."""
    client, page = superstaff(), reverse("admin:axes_accessattempt_changelist")
    for by in ({"username": ""}, {"username": "name1"}):
        for number in range(4):
            enter(WRONG, f"name{number}")
        bear("guess")
        assert enter(RIGHT).status_code == 429
        shown = client.get(page).content.decode()
        assert "any, by password" in shown
        assert "any, by token" in shown
        chosen = [str(row.pk) for row in AccessAttempt.objects.filter(**by)]
        client.post(page, {"action": "delete_selected", "_selected_action": chosen, "post": "yes"})
        assert enter(RIGHT).status_code == 302
    for number in range(4):
        enter(WRONG, f"name{number}")
    row = AccessAttempt.objects.get(username="name1")
    client.post(reverse("admin:axes_accessattempt_delete", args=[row.pk]), {"post": "yes"})
    assert enter(RIGHT).status_code == 302


def test_operators_release_an_address(few):
    """Fault 11: on the machine, where nobody gets in any more."""
    for number in range(4):
        enter(WRONG, f"name{number}")
    call_command("axes_reset_ip", "127.0.0.1", verbosity=0)
    assert enter(RIGHT).status_code == 302


class Line:
    """Threads that want their turn in a queue: `add` returns when one waits, hashes or was refused."""

    def __init__(self) -> None:
        self.queue = Queue()
        self.hashed: list[str] = []
        self.refused: list[str] = []
        self.go_on = Event()
        self.threads: list[Thread] = []

    def add(self, name: str, address: str, failures: int = 0, most: int = 4, known: bool = False) -> None:
        def work() -> None:
            try:
                with self.queue.turn(address, failures, most, known):
                    self.hashed.append(name)
                    assert self.go_on.wait(30)
            except TooManyAttempts:
                self.refused.append(name)

        before = self.count()
        self.threads.append(Thread(target=work))
        self.threads[-1].start()
        while self.count() == before:
            assert self.threads[-1].is_alive() or self.refused

    def count(self) -> int:
        # A thread that is refused is among those that wait for a moment, with the lock.
        with self.queue._changed:
            waiting = len(self.queue._waiting)
        return waiting + len(self.hashed) + len(self.refused)

    def finish(self) -> None:
        self.go_on.set()
        for thread in self.threads:
            thread.join(30)


def test_passwords_are_hashed_one_at_a_time_those_of_few_failures_first():
    """F8.3: whoever has not failed overtakes those who guess; of one address few wait, one once it has failed often."""
    line = Line()
    line.add("first", "10.0.0.1", failures=9)
    line.add("guesses", "10.0.0.2", failures=5)
    line.add("guesses again", "10.0.0.2", failures=5, most=1)
    line.add("mistyped", "10.0.0.3", failures=1)
    line.add("right", "10.0.0.4")
    line.add("known", "10.0.0.5", failures=2, known=True)
    assert (line.hashed, line.refused) == (["first"], ["guesses again"])
    line.finish()
    assert line.hashed == ["first", "known", "right", "mistyped", "guesses"]
    assert not line.queue._waiting


def test_whoever_would_be_last_leaves_a_full_queue():
    """F8.3: guesses from many addresses keep nobody else out."""
    line = Line()
    line.add("hashes", "10.0.0.1")
    for number in range(WAITING):
        line.add(f"guess {number}", f"10.0.1.{number}", failures=1)
    line.add("one more", "10.0.2.1", failures=1)
    assert line.refused == ["one more"]
    line.add("right", "10.0.2.2")
    assert line.refused == ["one more", f"guess {WAITING - 1}"]
    line.finish()
    assert line.hashed[:2] == ["hashes", "right"]


def test_whoever_asks_often_waits_longer():
    """F8.3: addresses that have not failed yet are told apart by how often they try."""
    line = Line()
    line.add("hashes", "10.0.0.1")
    for number in range(3):
        line.add(f"guess {number}", "10.0.0.2")
    line.add("right", "10.0.0.3")
    line.finish()
    assert line.hashed == ["hashes", "guess 0", "right", "guess 1", "guess 2"]


def test_an_address_is_known_once_somebody_logged_in_there(few):
    """F8.3: by the audit trail, through either door, until thirty days have gone."""
    assert not logged_in_from("10.0.0.7")
    enter(WRONG, REMOTE_ADDR="10.0.0.7")
    assert not logged_in_from("10.0.0.7")
    enter(RIGHT, REMOTE_ADDR="10.0.0.7")
    ask(RIGHT, REMOTE_ADDR="10.0.0.8")
    assert [logged_in_from(f"10.0.0.{n}") for n in (7, 8, 9)] == [True, True, False]
    assert not logged_in_from("10.0.0.7", timedelta())
    assert not logged_in_from(None)


def test_the_login_page_welcomes_in_our_words_and_in_a_language_of_choice(db):
    client = Client()
    url = f"{LOGIN}?next=/admin/search/"
    page = client.get(url).text
    assert "Welcome to" in page
    assert "Who may do what, since when" in page
    for word in ("Welcome back", "Return to site"):
        assert word not in page
    form = page.split(f'action="{reverse("set_language")}"')[1].split("</form>")[0]
    assert 'value="zh-hans" lang="zh-hans"' in form
    answer = client.post(reverse("set_language"), {"language": "zh-hans", "next": url}, follow=True)
    assert answer.redirect_chain == [(url, 302)]
    assert 'lang="zh-hans"' in answer.text.split("<head>")[0]
