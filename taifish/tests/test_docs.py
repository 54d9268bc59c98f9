"""The README and docs/ name nothing that is not there, and leave out no setting and no command."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import get_commands
from django.urls import resolve

ROOT = Path(settings.BASE_DIR)
README = ROOT / "README.md"
DOCS = [README, *sorted((ROOT / "docs").glob("*.md"))]
APPS = [Path(config.path) for config in apps.get_app_configs() if Path(config.path).parent == ROOT]

VARIABLE = re.compile(r"\b(?:TAIFISH|CELERY|DATABASE)_[A-Z_]+\b")
#: What reads a variable: the functions of taifish.environment, and os.environ.get.
READERS = {
    "text", "flag", "number", "words", "kept_secret", "per_minute", "pairs", "https_url", "service_url", "allowed", "destination", "one_of", "pattern", "get",
}  # fmt: skip

each_page = pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)


def said(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def table(page: str) -> list[list[str]]:
    """The cells of the table on a page of docs/."""
    lines = said(ROOT / "docs" / page).splitlines()
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def reader(call: ast.Call) -> str:
    """The name of the function that is called."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


@cache
def variables() -> dict[str, ast.Call]:
    """Every variable that the code reads, and of tests those that say which servers they may use."""
    found = {}
    for file in [*ROOT.glob("*.py"), *(file for app in [*APPS, ROOT / "engines"] for file in app.rglob("*.py"))]:
        tree = ast.parse(said(file))
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and node.args):
                continue
            first = node.args[0]
            name = first.value if isinstance(first, ast.Constant) else constants.get(getattr(first, "id", ""))
            if not (reader(node) in READERS and isinstance(name, str) and VARIABLE.fullmatch(name)):
                continue
            if "tests" not in file.parts or name.startswith(("TAIFISH_TEST_", "TAIFISH_SERVERS")):
                found[name] = node
    return found


def links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"", said(page)):
        if not (link := "".join(target)).startswith(("http:", "https:")):
            yield link


def anchors(page: Path) -> set[str]:
    """Of headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", said(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_every_command_is_there(page):
    named = set(re.findall(r"manage\.py ([a-z_]+)", said(page)))
    assert named <= get_commands().keys()


def test_the_docs_list_all_our_commands_and_no_others():
    listed = {name for cells in table("commands.md") for name in re.findall(r"`([a-z_]+)", cells[0])}
    ours = {name for name, app in get_commands().items() if app in {folder.name for folder in APPS}}
    assert listed == ours


@each_page
def test_every_variable_is_read(page):
    named = {name.removesuffix("_FILE") for name in VARIABLE.findall(said(page))}
    assert named <= variables().keys()


def test_the_docs_list_all_settings_with_their_defaults():
    listed = {name: cells[1] for cells in table("settings.md") for name in re.findall(r"`([A-Z_]+)`", cells[0])}
    read = {
        name: call for name, call in variables().items() if not name.startswith(("TAIFISH_TEST_", "TAIFISH_SERVERS"))
    }
    assert listed.keys() == read.keys()
    numbers = {name: call.args[1] for name, call in read.items() if reader(call) == "number"}
    assert numbers
    for name, default in numbers.items():
        assert listed[name] == str(ast.literal_eval(default)), name


@each_page
def test_every_link_leads_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_no_page_and_no_picture_lies_about():
    linked = {(page.parent / link.partition("#")[0]).resolve() for page in DOCS for link in links(page)}
    assert {file for file in (ROOT / "docs").rglob("*") if file.is_file()} <= linked


@each_page
def test_every_path_of_the_api_answers(page):
    for method, path in re.findall(r"(?:\b(GET|POST|PUT|PATCH|DELETE) )?(/api/[\w/{}<>-]*)", said(page)):
        view = resolve(re.sub(r"\bID\b|\{\w+\}|<\w+>", "1", path)).func
        assert not method or method.lower() in view.actions, path
