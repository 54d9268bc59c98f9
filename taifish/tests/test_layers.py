"""SQL reaches as far down as imports do, and says so."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from django.apps import apps

ROOT = Path(__file__).resolve().parent.parent.parent
#: Highest first, as in the import contract.
LAYERS = [
    "taifish",
    "alerts",
    "reviews",
    "duties",
    "owners",
    "drift",
    "planning",
    "classification",
    "aggregation",
    "access",
    "accounts",
    "capacity",
    "sync",
    "tagging",
    "instances",
    "audit",
]
TABLES = {model._meta.db_table: model._meta.app_label for model in apps.get_models(include_auto_created=True)}
_TABLE = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|USING|TABLE)\s+(?:ONLY\s+)?([a-z_]+)")


def tables_in_sql(app: str) -> set[str]:
    found: set[str] = set()
    for path in (ROOT / app).rglob("*.py"):
        if not {"tests", "migrations"} & set(path.relative_to(ROOT).parts):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.update(_TABLE.findall(node.value))
    return found & TABLES.keys()


@pytest.mark.parametrize("app", LAYERS)
def test_sql_names_only_declared_tables_of_apps_below(app: str) -> None:
    foreign = {table for table in tables_in_sql(app) if TABLES[table] not in (app, "auth", "django_celery_beat")}
    assert foreign == set(getattr(apps.get_app_config(app), "reads_tables", ())), f"declare them in {app}/apps.py"
    for table in foreign:
        assert LAYERS.index(TABLES[table]) > LAYERS.index(app)
