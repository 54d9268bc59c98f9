"""F9.8: a saved state is a document that can be exported, imported and compared by any diff."""

from __future__ import annotations

import json
from datetime import timedelta
from difflib import unified_diff
from io import StringIO

import pytest
import yaml
from django.core.management import call_command
from django.utils import timezone

from access.tests.test_questions import grant, instance
from accounts.models import Account, Coverage
from accounts.tests.stored import account, join
from audit.models import Event
from drift.compare import compare, state_of
from drift.models import Baseline
from drift.services import save_state
from drift.states import parsed, written
from instances.models import Instance
from tagging.models import InstanceTag, Tag


@pytest.fixture
def ref(db: None) -> Instance:
    made = instance("ref", "postgresql", beyond=["column"])
    Instance.objects.filter(pk=made.pk).update(product="PostgreSQL", version="17.10")
    made.refresh_from_db()
    app, readers = account(made, "app", connection_limit=5), account(made, "读\n者", kind="role")
    monitor = account(made, "pg_monitor", kind="role", is_system=True)
    join(app, readers, admin_option=True)
    join(app, monitor)
    grant(readers, "SELECT", "table", "shop.public.orders", database="shop", grantable=True)
    return made


def test_a_state_survives_the_file(ref):
    """Written and read again it is the same document, and the instance is like it."""
    state = state_of(ref)
    text = written(state)
    assert parsed(text) == state
    assert written(parsed(text)) == text
    assert [line for line in text.splitlines() if "orders" in line] == [
        '  ["读\\n者", "", "table", "shop", "shop.public.orders", "SELECT", "grantable", false]'
    ]
    (found,) = compare(Instance.objects.all(), None, state).compared
    assert (found.deviations, found.parts, found.unknown) == ([], [], "")


def test_a_name_that_spells_an_escape_is_no_nul(ref):
    account(ref, "a\\u0000b")
    state = state_of(ref)
    assert any(item[0] == "a\\u0000b" for item in state["items"])
    for form in ("json", "yaml"):
        assert parsed(written(state, form)) == state


def test_two_states_differ_in_the_lines_that_changed(ref):
    before = written(state_of(ref))
    Account.objects.filter(name="app").update(connection_limit=6)
    after = written(state_of(ref))
    lines = [
        line
        for line in unified_diff(before.splitlines(), after.splitlines(), n=0)
        if line[3:5] == ' ["' or line[1:3] == "  "
    ]
    assert len(lines) == 2
    assert all("connection_limit" in line for line in lines)


def test_compared_with_a_saved_state(ref):
    """What changes later is drift; the same rules hold as for a reference instance."""
    baseline = Baseline.objects.create(name="b", reference=ref)
    baseline.instances.add(ref)
    save_state(baseline)
    baseline.refresh_from_db()
    assert baseline.reference is None
    Account.objects.filter(name="app").update(connection_limit=6)
    grant(Account.objects.get(name="app"), "SELECT", "column", "shop.public.orders.id", database="shop")
    (found,) = compare(baseline.group(), None, baseline.state).compared
    assert [(row.sentence) for row in found.deviations] == ["different: connection limit (6 instead of 5)"]
    Coverage.objects.update(beyond=[])
    (found,) = compare(baseline.group(), None, baseline.state).compared
    assert found.parts == ["read depth B of the reference leaves out: column"]
    event = Event.objects.filter(model="drift.baseline").order_by("-pk")[0]
    assert (event.kind, event.object, sorted(event.after)) == ("update", "b", ["reference_id", "state_at"])


def test_an_unknown_instance_has_no_state(ref):
    Coverage.objects.update(read_at=timezone.now() - timedelta(days=30))
    with pytest.raises(ValueError, match="The reference ref is not known: last read"):
        state_of(ref)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda state: state.update(taifish_state=2), "taifish_state: 1"),
        (lambda state: state.update(engine="abc"), "engine"),
        (lambda state: state.update(more=1), "unknown: more"),
        (lambda state: state.pop("gaps"), "gaps"),
        (lambda state: state["items"].append(["a"]), r'Item 16 .*: \["a"\]. An item has: account, host'),
        (lambda state: state["items"][0].__setitem__(7, 1), "Item 1 "),
        (lambda state: state["items"].append(state["items"][0]), "twice: 1 and 16"),
        (lambda state: state["items"][0].__setitem__(0, "a\0"), "NUL"),
        (lambda state: state["items"][0].__setitem__(0, "a\ud800"), "SURROGATE"),
        (lambda state: state.update(beyond=[None]), "beyond"),
    ],
)
def test_refused_files(ref, change, why):
    """A file that was edited wrongly is refused with what is wrong; nothing is stored of it."""
    state = state_of(ref)
    change(state)
    with pytest.raises(ValueError, match=why):
        parsed(json.dumps(state))
    with pytest.raises(ValueError, match="escape code" if why == "SURROGATE" else why):
        parsed(written(state, "yaml"))
    for text in ("", "[]", "{", "1", "[" * 100_000):
        with pytest.raises(ValueError, match="not a saved state"):
            parsed(text)


def test_the_command_saves_and_compares(ref, tmp_path):
    file = tmp_path / "state.yaml"
    call_command("drift", reference="ref", save=str(file))
    assert file.read_text() == written(state_of(ref), "yaml")
    InstanceTag.objects.create(instance=ref, tag=Tag.objects.create(slug="prod", label="Production"))
    Account.objects.filter(name="app").update(connection_limit=6)
    out, err = StringIO(), StringIO()
    with pytest.raises(SystemExit) as exit_:
        call_command("drift", tag="prod", state=str(file), fail=True, stdout=out, stderr=err)
    assert exit_.value.code == 1
    assert out.getvalue() == "ref: app: different: connection limit (6 instead of 5)\n"
    assert err.getvalue() == "1 deviations, 0 accepted; 0 instances unknown of 1\n"


def test_a_state_survives_yaml(ref):
    """The same document in both formats, one item in a line; any YAML parser reads both."""
    account(ref, "hidden\x7f\x85\u2028\ufeff ✓ 😀: - #'\"\\ yes")
    state = state_of(ref)
    text = written(state, "yaml")
    assert parsed(text) == parsed(written(state)) == state
    assert yaml.safe_load(text) == yaml.safe_load(written(state)) == state
    assert [line for line in text.split("\n") if "orders" in line] == [
        '- ["读\\n者", "", "table", "shop", "shop.public.orders", "SELECT", "grantable", false]'
    ]
    # As people write it: without quotes, in another order.
    assert parsed(yaml.safe_dump(state, allow_unicode=True, sort_keys=False)) == state
    by_hand = text.replace('"17.10"', "17.10").replace('["app", "", "field", ', "[app, '', field, ")
    assert by_hand != text
    assert parsed(by_hand) == state


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &x [1]\nb: *x\n", "line 1: aliases and anchors are not read"),
        ("a: 1\nb: *x\n", "line 2: "),
        ("a: !!python/object/apply:os.system [ls]\n", "line 1: tags are not read"),
        ("a: 1\nb: 2\na: 3\n", "line 3: the key “a” is there twice"),
        ('{"a": 1, "a": 2}', "the key “a” is there twice"),
        ("a: " + "[" * 200 + "]" * 200, "line 1: it is nested too deeply"),
        ("a: " + "[" * 100_000, "line 1: "),
        ("a: [1\nb: }\n", "line 2: "),
        ("? [a]\n: 1\n", "line 1: this is no key"),
        ("taifish_state: 1\n---\na: 1\n", "more than one document"),
        ("# nothing\n", "it is empty"),
        ("a: \x01\n", "not a saved state"),
        ("taifish_state: 1\nengine: postgresql\n", "missing or not valid: product, version, "),
    ],
)
def test_refused_yaml(text, why):
    """With the line, and what to do; bombs of aliases stand for nothing here."""
    with pytest.raises(ValueError, match=why):
        parsed(text)
