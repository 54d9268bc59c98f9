"""English and Chinese: the catalogue is complete, and the pages show it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser

import polib
import pytest
from django.apps import apps
from django.db import models
from django.urls import reverse
from django.utils import translation
from django.utils.functional import Promise

from accounts.models import Account
from aggregation.models import ChangedDay
from alerts.models import ReadAlert
from classification.models import Classification
from classification.rules import RuleError, parse
from instances.tests.pages import superstaff
from taifish.tests import catalogue as ours
from taifish.tests.test_pages import entered, visited  # noqa: F401

HOW = "Run `make messages`, fill in what is empty in locale/zh_Hans/LC_MESSAGES/django.po, and run it again."
CHINESE = re.compile(r"[\u4e00-\u9fff]")
#: Texts that are the same in both languages, whole.
SAME = {"CSV", "XLSX", "API", "Slack", "Prometheus", "TLS", "URL", "worker", "Workers"}
APPS = (
    "taifish",
    "instances",
    "tagging",
    "sync",
    "accounts",
    "access",
    "capacity",
    "aggregation",
    "planning",
    "owners",
    "drift",
    "duties",
    "reviews",
    "alerts",
    "classification",
)


@pytest.fixture(scope="module")
def catalogue() -> polib.POFile:
    return polib.pofile(str(ours.PO))


def listed(messages: dict[ours.Message, str]) -> str:
    return "\n".join(f"  {path}: {message.text!r}" for message, path in sorted(messages.items()))


def test_every_text_of_ours_is_translated(catalogue):
    missing = ours.lacking(catalogue)
    assert not missing, f"{len(missing)} texts are not translated:\n{listed(missing)}\n{HOW}"


def test_the_catalogue_has_nothing_that_no_page_says(catalogue):
    wanted = ours.in_sources()
    left = [message.text for message in ours.in_catalogue(catalogue) if message not in wanted]
    left += [entry.msgid for entry in catalogue if entry.obsolete]
    assert not left, f"No source says any more: {left}. Run `make messages`."


def test_our_reader_of_sources_finds_what_makemessages_finds(tmp_path):
    if not shutil.which("xgettext"):
        pytest.skip("xgettext is not installed: our own reader of sources is not compared with it")
    for folder in ours.FOLDERS:
        shutil.copytree(ours.ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("tests", "static"))
    (tmp_path / "locale").mkdir()
    command = [sys.executable, "-m", "django", "makemessages", "--locale=zh_Hans", "--no-location"]
    environment = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    theirs = ours.in_catalogue(polib.pofile(str(tmp_path / ours.PO.relative_to(ours.ROOT))))
    assert set(ours.in_sources()) == set(theirs)


def test_no_text_is_there_twice(catalogue):
    """One that counts and one that does not are one to gettext: the last would win."""
    several = {text for text, n in Counter((entry.msgid, entry.msgctxt) for entry in catalogue).items() if n > 1}
    assert several == set()


def test_every_translation_is_chinese_and_keeps_its_placeholders(catalogue):
    for entry in catalogue:
        for told in ours.translations(entry):
            has_words = re.search("[A-Za-z]", ours.PLACEHOLDER.sub("", entry.msgid))
            assert CHINESE.search(told) or not has_words or entry.msgid in SAME, entry.msgid
            wanted, found = (Counter(ours.PLACEHOLDER.findall(text)) for text in (entry.msgid, told))
            # A name may be said once or twice; what has no name must come as often as it is given, and in its order.
            named = {one for one in (wanted | found) if "(" in one or (one.startswith("{") and one != "{}")}
            assert {one for one in wanted if one in named} == {one for one in found if one in named}, entry.msgid
            positional = [
                [one for one in ours.PLACEHOLDER.findall(text) if one not in named] for text in (entry.msgid, told)
            ]
            assert positional[0] == positional[1], entry.msgid


def test_the_compiled_catalogue_is_this_one(catalogue):
    assert ours.MO.read_bytes() == catalogue.to_binary(), "Run `make messages`."


def test_models_have_no_text_that_somebody_forgot_to_mark():
    """Names that Django makes of a field's own are not shown; kinds of grants and engines are words of their own."""
    plain = []
    for model in (model for name in APPS for model in apps.get_app_config(name).get_models()):
        if model in (ChangedDay, ReadAlert):  # No page shows it.
            continue
        meta = model._meta
        named = {meta.label: meta.verbose_name, f"{meta.label}, plural": meta.verbose_name_plural}
        for field in (field for field in meta.get_fields() if isinstance(field, models.Field)):
            if field.verbose_name != field.name.replace("_", " "):
                named[f"{field}"] = field.verbose_name
            if field.help_text:
                named[f"{field}, help"] = field.help_text
            if field.name not in ("kind", "engine") or field.model is Account:
                named |= {f"{field}, {value}": label for value, label in field.flatchoices or ()}
        plain += [where for where, text in named.items() if not isinstance(text, Promise) and text != "ID"]
    assert plain == []


class Told(HTMLParser):
    """What a page says: its title, its heading, and each text of its sidebar."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.title, self.heading, self.sidebar = "", "", []
        self._open: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("br", "hr", "img", "input", "link", "meta"):
            given = dict(attrs)
            self._open.append((tag, given.get("id") or given.get("class") or ""))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        text, tags = data.strip(), {tag for tag, _ in self._open}
        if "head" in tags and "title" in tags:
            self.title += text
        elif "h1" in tags:
            self.heading += text
        # The names of the icons are no texts.
        elif text and self._is_in("nav-sidebar-apps") and "material-symbols-outlined" not in self._open[-1][1]:
            self.sidebar.append(text)

    def _is_in(self, name: str) -> bool:
        return any(one == name for _, one in self._open)


def told(answer) -> Told:
    assert answer.status_code == 200
    return Told(answer.content.decode())


MAIN = [
    "admin:index",
    "admin:instances_instance_changelist",
    "admin:accounts_account_changelist",
    "admin:capacity_database_changelist",
    "trends",
    "admin:classification_classification_changelist",
    "admin:sync_syncsession_changelist",
    "health",
]


@pytest.mark.parametrize("name", MAIN)
def test_a_page_is_chinese_for_who_reads_chinese(db, name):
    client = superstaff()
    english = told(client.get(reverse(name), headers={"accept-language": "en"}))
    chinese = told(client.get(reverse(name), headers={"accept-language": "zh-CN,zh;q=0.9,en;q=0.5"}))
    assert CHINESE.search(chinese.title)
    assert CHINESE.search(chinese.heading) or name == "admin:index"
    assert len(chinese.sidebar) == len(english.sidebar) >= 30
    assert {text for text in chinese.sidebar if not CHINESE.search(text)} <= SAME
    assert not any(CHINESE.search(text) for text in [english.title, english.heading, *english.sidebar])


def test_a_language_no_page_has_gets_english(db):
    page = told(superstaff().get(reverse("admin:index"), headers={"accept-language": "fr"}))
    assert "Accounts" in page.sidebar


def test_the_choice_of_a_person_outweighs_the_browsers(db):
    client = superstaff()
    answer = client.post(reverse("set_language"), {"language": "zh-hans", "next": reverse("health")})
    assert answer.url == reverse("health")
    page = told(client.get(reverse("health"), headers={"accept-language": "en"}))
    assert page.heading == "运行状况"
    client.post(reverse("set_language"), {"language": "en"})
    page = told(client.get(reverse("health"), headers={"accept-language": "zh-hans"}))
    assert page.heading == "Health"


def test_programs_read_english_whatever_they_accept(db):
    """A script that looks for a text must find it on every machine."""
    client = superstaff()
    client.cookies["django_language"] = "zh-hans"
    answer = client.post("/api/instances/", {}, content_type="application/json", headers={"accept-language": "zh-hans"})
    assert answer.status_code == 400
    assert answer.json()["name"] == ["This field is required."]


def test_what_is_shipped_is_named_in_the_readers_language_and_what_people_named_is_not(db):
    shipped = Classification(name="Open door", is_system=True)
    ours_too = Classification(name="Open door")
    with translation.override("zh-hans"):
        assert (str(shipped), str(ours_too)) == ("门户洞开", "Open door")
        with pytest.raises(RuleError, match="第 2 行第 3 列：没有词 loked。您是否想输入 locked？"):
            parse("can_login and\n  loked")
    assert str(shipped) == "Open door"


@pytest.mark.page
def test_a_person_switches_to_chinese(entered, live_server, visited, picture):  # noqa: F811
    """Each page in Chinese is opened by test_pages."""
    entered.goto(live_server.url + reverse("admin:index"))
    entered.locator("#nav-sidebar-inner span", has_text="unfold_more").click()
    picture("zh-switch")
    entered.get_by_role("button", name="简体中文").click()
    entered.wait_for_selector("h2:has-text('最大的数据库')")
