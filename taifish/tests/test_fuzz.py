"""Every operation that the API describes, asked with what its description allows, and with what it does not.

And every list of the admin, with what no column can hold.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import re
from collections.abc import Iterator
from functools import reduce
from typing import Any

import pytest
import schemathesis
from django.contrib import admin
from django.contrib.auth.models import User
from django.core import signals
from django.db import close_old_connections, transaction
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as how
from hypothesis import strategies as st
from rest_framework.exceptions import ParseError
from rest_framework.throttling import UserRateThrottle
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accounts.models import Account
from api.parsers import ShallowJSONParser
from instances.tests.pages import staff
from tagging.models import Tag, TagLimit
from taifish import roles
from taifish.api import router
from taifish.models import ApiToken
from taifish.tests.fleet import small_fleet
from taifish.tests.test_matrix import somebody
from taifish.wsgi import application

FORM = "application/x-www-form-urlencoded"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
NOBODIES = [*roles.ROLES, "limited"]

#: Requests to each operation: what its description allows, and what it forbids.
EXAMPLES = {GenerationMode.POSITIVE: 5, GenerationMode.NEGATIVE: 3}


@pytest.fixture
def program(request: pytest.FixtureRequest, db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The headers of the program of a superuser, or of somebody else; nobody counts its requests. "limited" is a
    manager who sees one of the two instances."""
    monkeypatch.setitem(UserRateThrottle.THROTTLE_RATES, "user", None)
    roles.install()
    small_fleet()
    who = getattr(request, "param", "superuser")
    user = somebody("manager" if who == "limited" else who)
    if who == "limited":
        TagLimit.objects.create(user=user, tag=Tag.objects.get(slug="lab"))
    token = ApiToken(user=user, name="everything")
    secret = token.draw()
    token.save()
    # As Django's own test client does: requests share the test's connection.
    for signal in (signals.request_started, signals.request_finished):
        signal.disconnect(close_old_connections)
    # schemathesis does not expand what is compressed.
    yield {"Authorization": f"Bearer {secret}", "Accept-Encoding": "identity"}
    for signal in (signals.request_started, signals.request_finished):
        signal.connect(close_old_connections)


def rows_there_are(path: str) -> dict[str, int]:
    """For the parameters of a path ("/api/accounts/{account_id}/grants/") the ids of rows that exist."""
    viewsets = {prefix: viewset for prefix, viewset, _ in router.registry}
    found = {}
    for prefix, name in re.findall(r"/([\w-]+)/\{(\w+)\}", path):
        row = viewsets[prefix].queryset.model._default_manager.order_by("pk").first()
        if row is not None and prefix in viewsets:
            found[name] = row.pk
    return found


def complaints(
    operation: schemathesis.APIOperation, mode: GenerationMode, headers: dict[str, str], examples: int = 0
) -> list[str]:
    """What is wrong with the answers of one operation, as schemathesis tells it; what they wrote is undone."""
    there = rows_there_are(operation.path)
    told = []

    @given(case=operation.as_strategy(generation_mode=mode), real=st.booleans())
    @how(
        max_examples=examples or EXAMPLES[mode],
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Case, real: bool) -> None:
        if real and there:
            case.path_parameters = dict(there)
        with transaction.atomic():
            answer = case.call(headers=headers)
            transaction.set_rollback(True)
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as error:
            told.append(f"{operation.label}: {error}")

    ask()
    return told


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_answer_is_a_failure_or_other_than_described(program):
    """Nothing answers where its instances are; to say so takes no time."""
    schema = schemathesis.openapi.from_wsgi("/api/schema/?format=json", application, headers=program)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 60
    told = [line for operation in operations for mode in EXAMPLES for line in complaints(operation, mode, program)]
    assert not told, "\n\n".join(told)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("program", NOBODIES, indirect=True)
@pytest.mark.parametrize(
    "part", [pytest.param(len(NOBODIES), marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.exhaustive)]
)
def test_nobody_meets_a_failure(program, part, request):
    """F8.7: as each role, and as a person who sees one instance. One of them asks each operation, and all of them
    in `make exhaustive`."""
    schema = schemathesis.openapi.from_wsgi("/api/schema/?format=json", application, headers=program)
    number = NOBODIES.index(request.node.callspec.params["program"])
    operations = [result.ok() for result in schema.get_all_operations()][number % part :: part]
    assert len(operations) > 60 / part
    told = [line for operation in operations for mode in EXAMPLES for line in complaints(operation, mode, program, 1)]
    assert not told, "\n\n".join(told)


#: Bodies that no operation can take.
ODD_BODIES = {
    "nested lists": "[" * 100_000,
    "nested objects": '{"name":' * 100_000,
    "nested and closed": json.dumps({"name": reduce(lambda inner, _: [inner], range(200), [])}),
    "NUL": json.dumps({"name": "a\0b", "username": "\0"}),
    "lone surrogate": '{"name": "\\ud800"}',
    "long number": '{"port": ' + "9" * 5000 + "}",
    "large number": '{"port": 1e999}',
    "not UTF-8": b'{"name": "\xff"}',
    "null": "null",
    "list": "[1]",
    "large": json.dumps({"name": "x" * 3_000_000}),
}
ODD_VALUES = ["%00", "%FF", "9" * 30, "-1", "nan", "(", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00%2B23:59"]


class Rolled(Client):
    """A client whose requests are undone, and show what failed as an answer."""

    def __init__(self) -> None:
        super().__init__(raise_request_exception=False)

    def request(self, **environ: Any) -> Any:
        with transaction.atomic():
            answer = super().request(**environ)
            transaction.set_rollback(True)
        return answer


@pytest.fixture
def root(db: None, monkeypatch: pytest.MonkeyPatch) -> Rolled:
    monkeypatch.setitem(UserRateThrottle.THROTTLE_RATES, "user", None)
    small_fleet()
    client = Rolled()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.mark.parametrize("name", ODD_BODIES)
def test_no_body_is_a_failure(root, name):
    """Fault 13, F8.7: whatever takes a body answers 4xx, and says why."""
    paths = [
        f"/api/{prefix}/" for prefix, viewset, _ in router.registry if hasattr(viewset, "create") and "(" not in prefix
    ]
    assert len(paths) > 10
    for path in paths:
        answer = root.post(path, ODD_BODIES[name], content_type="application/json")
        assert 400 <= answer.status_code < 500, (path, answer.status_code)
        assert answer.json(), path


def test_what_is_wrong_with_a_body_is_said(root):
    """Fault 13, F8.7: depth and size are named."""

    def detail(name: str) -> tuple[int, str]:
        answer = root.post("/api/tags/", ODD_BODIES[name], content_type="application/json")
        return answer.status_code, answer.json()["detail"]

    for name in ("nested lists", "nested objects", "nested and closed"):
        assert detail(name) == (400, "The JSON is nested too deeply: at most 32 levels.")
    assert detail("large") == (413, "The request is too large: at most 2.50 MiB without files.")
    answer = root.generic("POST", "/admin/tagging/tag/add/", "name=" + "x" * 3_000_000, FORM)
    assert (answer.status_code, answer.content) == (413, b"The request is too large: at most 2.50 MiB without files.\n")


def test_a_body_as_deep_as_allowed_is_read():
    """Fault 13: 32 levels are, 33 are not."""
    deep = functools.partial(reduce, lambda inner, _: [inner])
    assert ShallowJSONParser().parse(io.BytesIO(json.dumps(deep(range(31), [])).encode())) is not None
    with pytest.raises(ParseError):
        ShallowJSONParser().parse(io.BytesIO(json.dumps(deep(range(32), [])).encode()))


@pytest.mark.parametrize(
    "content_type", ["text/plain", "multipart/form-data", "application/json; charset=x", "x", FORM]
)
def test_no_content_type_is_a_failure(root, content_type):
    """Fault 13, F8.7."""
    for path in ("/api/tags/", "/api/instances/", "/api/sync-sessions/", "/admin/login/", "/i18n/setlang/"):
        assert root.generic("POST", path, b"name=%00&a=\x00\xff", content_type).status_code < 500, path


@pytest.mark.parametrize("part", [3, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_no_filter_of_the_api_is_a_failure(root, part):
    """Fault 13, F8.7: nor an id. Each gets a part of the values by turns, and all of them in `make exhaustive`."""
    turns = itertools.cycle(range(part))
    for prefix, viewset, _ in router.registry:
        url = f"/api/{re.sub(r'[(].*[)]', '1', prefix)}/"
        filters = getattr(viewset, "filterset_class", None)
        for name in [*(filters.base_filters if filters else ()), "search", "ordering", "page", "page_size", "as_of"]:
            for value in ODD_VALUES[next(turns) :: part]:
                assert root.get(f"{url}?{name}={value}").status_code < 500, (url, name, value)
        for value in ODD_VALUES[next(turns) :: part]:
            assert root.get(f"{url}{value}/").status_code < 500, (url, value)


def looks(pages: Any) -> set[str]:
    """What the address of a list may narrow it by."""
    named = {getattr(item, "parameter_name", None) or (item[0] if isinstance(item, tuple) else item)
             for item in pages.list_filter}  # fmt: skip
    fields = [field.name for field in pages.model._meta.get_fields()]
    return {name for name in named if isinstance(name, str)} | {
        f"{field}{look}" for field in fields for look in ("", "__gte")
    }


@pytest.mark.parametrize(
    "part", [pytest.param(2, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.exhaustive)]
)
@pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model._meta.label_lower)
def test_no_address_of_the_admin_is_a_failure(root, model, part):
    """Fault 13, F8.7: filters, searches, pages and ids that mean nothing. Half of them, by turns of the
    models, and all in `make exhaustive`."""
    turn = [*admin.site._registry].index(model) % part
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    names = [*sorted(looks(admin.site._registry[model])), "q", "o", "p", "e", "_to_field", "nonsense", "items"]
    # A list takes a tenth of a second: one value for each.
    for name, value in zip(names[turn::part], itertools.cycle(("9" * 30, "(")), strict=False):
        assert root.get(f"{url}?{name}={value}").status_code < 500, (name, value)
    for value in [*ODD_VALUES, "_00", "_FF", "abc"][turn::part]:
        for page in ("change", "delete", "history"):
            assert root.get(f"{url}{value}/{page}/").status_code < 500, (value, page)


def test_no_selected_row_is_a_failure(root):
    """Fault 13, F8.7: an action on rows whose ids are none."""
    for model, pages in admin.site._registry.items():
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for chosen in ("\0", "abc", "9" * 30, ""):
            for action in pages.actions or ["delete_selected"]:
                name = action if isinstance(action, str) else action.__name__
                answer = root.post(url, {"action": name, "_selected_action": chosen})
                assert answer.status_code < 500, (url, name, chosen)


def test_no_list_is_a_failure_for_a_value_that_its_column_cannot_hold(root):
    """Fault 13, F8.7: Django shows such a list without the filter, and a message."""
    for query in ("ip_address=x", "attempt_time__gte=x"):
        answer = root.get(f"/admin/axes/accessattempt/?{query}")
        assert (answer.status_code, answer["Location"]) == (302, "/admin/axes/accessattempt/?e=1")
    assert root.get("/admin/instances/instance/?sizes=1").status_code == 302


@pytest.mark.parametrize(
    "query",
    [
        "accounts/account/?gone=perhaps",
        "accounts/account/?unread=name",
        "accounts/account/?tag=nowhere",
        "accounts/accountchange/?event=read",
        "aggregation/instanceaggregate/?period=yearly",
        "alerts/alert/?state=shut",
        "instances/instance/?state=gone",
        "sync/visithealth/?paused=9",
    ],
)
def test_a_list_does_not_pass_off_all_rows_as_those_of_an_unknown_value(root, query):
    """Fault 13, F8.7: Django shows such a list without the filter, and a message."""
    answer = root.get(f"/admin/{query}")
    assert (answer.status_code, answer["Location"]) == (302, f"/admin/{query.partition('?')[0]}?e=1")


def test_a_filter_that_one_may_not_use_is_no_failure_of_the_export(db):
    """Fault 13, F8.7: filters that other apps add belong to their permissions."""
    client = staff("instances.view_instance")
    client.raise_request_exception = False
    for query in ("last_accounts=failed", "paused=1", "nonsense=1", "credential__id__exact=x", "sizes=1"):
        answer = client.get(f"{reverse('admin:instances_instance_export')}?{query}")
        assert answer.status_code == 400, query
        assert "A filter in this address is unknown, or you may not use it." in answer.content.decode()
    assert client.get(f"{reverse('admin:instances_instance_export')}?engine=mysql").status_code == 200


@pytest.mark.parametrize("moment", [value for value in ODD_VALUES if "T" in value] + ["2026-01-01T00:00:00%2B23:59"])
def test_no_moment_of_a_page_is_a_failure(root, moment):
    """Fault 13, F8.7: offsets that the store does not know, and the ends of time."""
    account = Account.objects.earliest("pk").pk
    for path in (
        "/admin/who-can/?privilege=SELECT",
        "/admin/where-is/?name=a",
        "/admin/rights-matrix/?account=a",
        "/api/matrix/?account=a",
        "/admin/compare/?account=a",
        "/api/compare/?account=a",
        f"/admin/accounts/account/{account}/change/?",
        "/api/access/?privilege=SELECT",
        f"/api/accounts/{account}/effective/?",
    ):
        assert root.get(f"{path}&as_of={moment}").status_code < 500, path


def test_an_address_with_nul_is_refused(root):
    """Fault 13, F8.7: on every page."""
    for path in (
        "/admin/who-can/?on=%00",
        "/admin/where-is/?name=%00",
        "/api/%00/",
        "/static/%00",
        "/%00",
    ):
        answer = root.get(path)
        assert (answer.status_code, "NUL" in answer.content.decode()) == (400, True), path
