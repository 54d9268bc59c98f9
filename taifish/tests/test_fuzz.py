"""Every operation that the API describes, asked with what its description allows, and with what it does not."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core import signals
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as how
from hypothesis import strategies as st
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

from taifish.api import router
from taifish.models import ApiToken
from taifish.tests.fleet import small_fleet
from taifish.wsgi import application

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
#: Requests to each operation: what its description allows, and what it forbids.
EXAMPLES = {GenerationMode.POSITIVE: 8, GenerationMode.NEGATIVE: 4}


@pytest.fixture
def program(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The headers of a superuser's program; nobody counts its requests."""
    monkeypatch.setitem(UserRateThrottle.THROTTLE_RATES, "user", None)
    small_fleet()
    token = ApiToken(user=User.objects.create_superuser("root"), name="everything")
    secret = token.draw()
    token.save()
    # As Django's own test client does: requests share the test's connection.
    for signal in (signals.request_started, signals.request_finished):
        signal.disconnect(close_old_connections)
    yield {"Authorization": f"Bearer {secret}"}
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


def complaints(operation: schemathesis.APIOperation, mode: GenerationMode, headers: dict[str, str]) -> list[str]:
    """What is wrong with the answers of one operation, as schemathesis tells it; what they wrote is undone."""
    there = rows_there_are(operation.path)
    told = []

    @given(case=operation.as_strategy(generation_mode=mode), real=st.booleans())
    @how(
        max_examples=EXAMPLES[mode],
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
def test_no_answer_is_a_failure_or_other_than_described(program):
    """Nothing answers where its instances are; to say so takes no time."""
    schema = schemathesis.openapi.from_wsgi("/api/schema/?format=json", application)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 60
    told = [line for operation in operations for mode in EXAMPLES for line in complaints(operation, mode, program)]
    assert not told, "\n\n".join(told)
