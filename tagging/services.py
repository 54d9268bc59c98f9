"""Tagging many instances at once: set-based, idempotent, and with a receipt for every pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import product
from typing import TYPE_CHECKING

from django.db import DatabaseError, connection, transaction

from instances.models import Instance

from .models import Tag, TagOperation

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Action, Outcome = TagOperation.Action, TagOperation.Outcome
Pair = tuple[int, int]
"""(instance id, tag id)"""

#: Pairs a statement: few enough for a short lock, many enough for few statements.
BATCH = 5000

# Both parents are looked up in the statement itself, so that one deleted meanwhile is a pair less and not an error; and
# all who insert or delete at once do it in the same order, so that none waits for another in a circle.
_ASSIGN = """
INSERT INTO tagging_instancetag (instance_id, tag_id, added_at, added_by_id)
SELECT i.id, t.id, now(), %(user)s
  FROM unnest(%(instances)s::bigint[], %(tags)s::bigint[]) AS p(instance_id, tag_id)
  JOIN instances_instance i ON i.id = p.instance_id JOIN tagging_tag t ON t.id = p.tag_id
 ORDER BY i.id, t.id
    ON CONFLICT (instance_id, tag_id) DO NOTHING
RETURNING instance_id, tag_id
"""
_REMOVE = """
DELETE FROM tagging_instancetag WHERE id IN (
    SELECT l.id
      FROM tagging_instancetag l
      JOIN unnest(%(instances)s::bigint[], %(tags)s::bigint[]) AS p(instance_id, tag_id) USING (instance_id, tag_id)
     ORDER BY l.instance_id, l.tag_id FOR UPDATE OF l)
RETURNING instance_id, tag_id
"""
_PRESENT = """
SELECT instance_id, tag_id
  FROM tagging_instancetag
  JOIN unnest(%(instances)s::bigint[], %(tags)s::bigint[]) AS p(instance_id, tag_id) USING (instance_id, tag_id)
"""


class NotUndoable(ValueError):
    """An operation that cannot be undone, and why."""


def assign(instance_ids: Iterable[int], tag_ids: Iterable[int], user: User | None = None) -> TagOperation:
    """Put every one of the tags on every one of the instances. Returns the receipt; never raises for a pair."""
    return _operate(Action.ASSIGN, product(sorted({*instance_ids}), sorted({*tag_ids})), user)


def remove(instance_ids: Iterable[int], tag_ids: Iterable[int], user: User | None = None) -> TagOperation:
    """Take every one of the tags off every one of the instances. Returns the receipt; never raises for a pair."""
    return _operate(Action.REMOVE, product(sorted({*instance_ids}), sorted({*tag_ids})), user)


def undo_needs(operation: TagOperation) -> str:
    """The permission to undo an operation: that of its inverse."""
    return f"tagging.{'delete' if operation.action == Action.ASSIGN else 'add'}_instancetag"


@transaction.atomic
def undo(operation: TagOperation, user: User | None = None) -> TagOperation:
    """Take back what an operation changed, and only that. Returns the undo's own receipt. Raises NotUndoable."""
    locked = TagOperation.objects.select_for_update().get(pk=operation.pk)
    if TagOperation.objects.filter(undo_of=locked).exists():
        raise NotUndoable("It has been undone already.")
    pairs = sorted(locked.pairs(TagOperation.CHANGED[Action(locked.action)]))
    if not pairs:
        raise NotUndoable("It changed nothing: there is nothing to undo.")
    inverse = Action.REMOVE if locked.action == Action.ASSIGN else Action.ASSIGN
    return _operate(inverse, pairs, user, undo_of=locked)


@transaction.atomic
def _operate(
    action: str, wanted: Iterable[Pair], user: User | None, undo_of: TagOperation | None = None
) -> TagOperation:
    pairs = list(wanted)
    instances = dict(
        Instance.objects.filter(pk__in={pair[0] for pair in pairs}).order_by().values_list("pk", "retired_at")
    )
    tags = dict(Tag.objects.filter(pk__in={pair[1] for pair in pairs}).order_by().values_list("pk", "active"))
    receipt = _Receipt()
    possible = []
    for instance, tag in pairs:
        if instance not in instances or tag not in tags:
            receipt.note(Outcome.UNKNOWN, (instance, tag))
        elif instances[instance]:
            receipt.note(Outcome.RETIRED, (instance, tag))
        elif action == Action.ASSIGN and not tags[tag]:
            receipt.note(Outcome.INACTIVE, (instance, tag))
        else:
            possible.append((instance, tag))
    with connection.cursor() as cursor:
        # A parent that goes while we work is then an error of our statement, not of the commit.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for start in range(0, len(possible), BATCH):
        _work(action, possible[start : start + BATCH], user, receipt)
    return TagOperation.objects.create(
        action=action, requested_by=user, undo_of=undo_of, outcomes=receipt.outcomes, reasons=receipt.reasons
    )


def _work(action: str, pairs: list[Pair], user: User | None, receipt: _Receipt) -> None:
    """One batch, in a savepoint; or each half of it where that fails. A pair that fails alone is noted with why."""
    values = {"instances": [pair[0] for pair in pairs], "tags": [pair[1] for pair in pairs], "user": user and user.pk}
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_ASSIGN if action == Action.ASSIGN else _REMOVE, values)
            changed = set(cursor.fetchall())
            present: set[Pair] = set()
            if action == Action.ASSIGN and len(changed) < len(pairs):
                cursor.execute(_PRESENT, values)
                present = set(cursor.fetchall())
    except DatabaseError as error:
        if len(pairs) == 1:
            receipt.fail(pairs[0], error)
            return
        middle = len(pairs) // 2
        _work(action, pairs[:middle], user, receipt)
        _work(action, pairs[middle:], user, receipt)
        return
    for pair in pairs:
        if pair in changed:
            receipt.note(TagOperation.CHANGED[Action(action)], pair)
        elif action == Action.REMOVE:
            receipt.note(Outcome.NOT_THERE, pair)
        else:
            # Neither put there nor there: the instance or the tag was deleted in between.
            receipt.note(Outcome.ALREADY_THERE if pair in present else Outcome.UNKNOWN, pair)


class _Receipt:
    """Outcomes under way, as `TagOperation` keeps them."""

    def __init__(self) -> None:
        self.outcomes: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        self.reasons: list[dict[str, int | str]] = []

    def note(self, outcome: str, pair: Pair) -> None:
        self.outcomes[outcome][str(pair[1])].append(pair[0])

    def fail(self, pair: Pair, error: DatabaseError) -> None:
        self.note(Outcome.FAILED, pair)
        self.reasons.append({"instance": pair[0], "tag": pair[1], "reason": str(error).strip().splitlines()[0]})
