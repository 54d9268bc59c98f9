"""What programs are told: summaries of endpoints, the client of docs/api.md, and the files for Prometheus and Grafana."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from django.conf import settings
from django.urls import reverse
from drf_spectacular.generators import SchemaGenerator

from access.tests.test_questions import grant, instance
from accounts.tests.stored import account
from instances.models import Instance
from instances.tests.pages import entered, user_with
from taifish.metrics import REGISTRY
from taifish.tests.test_tokens import token_of

DOCS = Path(settings.BASE_DIR) / "docs"


def test_every_endpoint_has_a_summary_in_one_line(db):
    schema = SchemaGenerator().get_schema(request=None, public=True)
    summaries = {
        f"{method} {path}": operation.get("summary", "")
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }
    assert len(summaries) > 100
    assert [name for name, text in summaries.items() if not 5 <= len(text) <= 160 or "\n" in text] == []
    assert summaries["get /api/accounts/{id}/"] == "Show one account"
    assert summaries["post /api/account-filters/"] == "Add one account filter"
    assert summaries["post /api/sync-sessions/"] == "Start visits in the workers"
    assert summaries["get /api/where-is/"] == "Instances on which an account exists"
    assert summaries["post /api/sync-sessions/{id}/cancel/"] == "Cancel a session"
    description = schema["info"]["description"]
    assert description.index("Tokens") < description.index("Examples") < description.index("Answers")
    assert f"({reverse('admin:index')})" in description
    assert f"({reverse('admin:taifish_apitoken_changelist')})" in description


@pytest.mark.parametrize(("is_known", "code"), [(True, 0), (False, 3)])
def test_the_client_of_the_docs_runs(transactional_db, live_server, tmp_path, is_known, code):
    pg = instance("pg", "postgresql")
    grant(account(pg, "root"), "SUPERUSER", "attribute")
    if not is_known:
        Instance.objects.create(name="new", engine="postgresql", host="new", credential=pg.credential)
    token = token_of(user_with("accounts.view_grant"))
    client = tmp_path / "client.py"
    client.write_text(re.search(r"```python\n(.*?)```", (DOCS / "api.md").read_text(), re.DOTALL)[1])
    done = subprocess.run(
        [sys.executable, str(client)],
        env={"PATH": os.environ["PATH"], "SERVER": live_server.url, "TOKEN": token},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "pg root login\n"), done.stderr
    assert ("new: not known: " in done.stderr) != is_known


def test_dashboard_and_rules_use_metrics_that_are_exported(db):
    exported = {family.name for family in REGISTRY.collect()}
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((DOCS / "prometheus-rules.yml").read_text())["groups"][0]["rules"]
    named = {word for text in [*shown, *(rule["expr"] for rule in rules)] for word in re.findall(r"taifish_\w+", text)}
    assert named <= exported
    # The dashboard leaves none out.
    assert {word for text in shown for word in re.findall(r"taifish_\w+", text)} == exported
    assert all(rule["annotations"]["summary"] and rule["for"] for rule in rules)


def test_labels_that_rules_select_are_exported(db):
    rules = (DOCS / "prometheus-rules.yml").read_text()
    samples = {
        (s.name, name, value)
        for family in REGISTRY.collect()
        for s in family.samples
        for name, value in s.labels.items()
    }
    selected = re.findall(r'(taifish_\w+)\{(\w+)="(\w+)"\}', rules)
    assert selected
    assert set(selected) <= samples


def test_the_page_of_the_api_is_linked_and_leads_back(db):
    page = entered(user_with("instances.view_instance")).get(reverse("docs"))
    assert page.status_code == 200
