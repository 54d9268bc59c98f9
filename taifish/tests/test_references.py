"""What tests compare the product with must not be the product: reference modules import nothing of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings

REFERENCES = sorted(settings.BASE_DIR.glob("*/tests/**/reference_*.py"))
#: Our packages: those of the apps, and what else lies beside manage.py.
OURS = {path.parent.name for path in settings.BASE_DIR.glob("*/__init__.py")}


def imported(path: Path) -> Iterator[str]:
    """Every module that the file imports, "." for one beside it, and what it could import one by that we cannot see."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=module, level=level):
                yield "." * level + (module or "")
            case ast.Name(id=("__import__" | "eval" | "exec") as name):
                yield name


def forbidden(path: Path) -> list[str]:
    """Imports of the product; other references are none."""
    return [
        name
        for name in imported(path)
        if name in ("__import__", "eval", "exec", "importlib")
        or name.startswith((".", "django"))
        or (name.partition(".")[0] in OURS and not name.rpartition(".")[2].startswith("reference_"))
    ]


def test_references_are_found():
    """Also that our packages are known: a test that looks for nothing finds nothing."""
    assert {path.stem for path in REFERENCES} >= {"reference_postgresql", "reference_mysql", "reference_rules"}
    ours = {config.name for config in apps.get_app_configs() if Path(config.path).parent == settings.BASE_DIR}
    assert ours
    assert ours <= OURS


@pytest.mark.parametrize("path", REFERENCES, ids=lambda path: path.stem)
def test_a_reference_imports_nothing_of_the_product(path):
    assert forbidden(path) == []


@pytest.mark.parametrize(
    "line",
    [
        "from access.questions import who_can",
        "import engines.semantics as s",
        "from .stored import account",
        "from classification.tests.stored import x",
        "def f():\n    from access import questions as access",
        "m = __import__('accounts')",
    ],
)
def test_an_import_of_the_product_is_found(line, tmp_path):
    path = tmp_path / "reference_x.py"
    path.write_text(line)
    assert len(forbidden(path)) == 1


def test_a_driver_and_another_reference_are_allowed(tmp_path):
    path = tmp_path / "reference_x.py"
    path.write_text("import pymysql\nfrom access.tests.reference_mysql import USERS\n")
    assert forbidden(path) == []
