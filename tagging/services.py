"""Tagging many instances at once: set-based, idempotent, and with a receipt for every pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext

from work.halving import failing

from .models import Tag, TagOperation
from .visibility import givable

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Action, Outcome = TagOperation.Action, TagOperation.Outcome

#: Pairs a statement: few enough for a short savepoint, many enough for few statements.
BATCH = 10_000

#: One bulk operation at a time, so that none waits for another in a circle. They are short.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('tagging', 0))"

# Instances and tags are looked up in the statement itself: one deleted meanwhile is a pair less, and not an error.
_ASSIGN = """
WITH changed AS (
    INSERT INTO tagging_instancetag (instance_id, tag_id, added_at, added_by_id)
    SELECT i.id, t.id, now(), %(user)s FROM instances_instance i CROSS JOIN tagging_tag t
     WHERE i.id = ANY(%(instances)s) AND t.id = ANY(%(tags)s)
        ON CONFLICT (instance_id, tag_id) DO NOTHING
    RETURNING instance_id, tag_id)
SELECT tag_id, array_agg(instance_id) FROM changed GROUP BY tag_id
"""
_REMOVE = "DELETE FROM tagging_instancetag WHERE instance_id = ANY(%(instances)s) AND tag_id = ANY(%(tags)s)"
_REMOVE_AND_TELL = f"""
WITH changed AS ({_REMOVE} RETURNING instance_id, tag_id)
SELECT tag_id, array_agg(instance_id) FROM changed GROUP BY tag_id
"""  # noqa: S608 -- the statement above
_STATES = """
WITH known AS (SELECT id, retired_at FROM instances_instance WHERE id = ANY(%(instances)s) ORDER BY id)
SELECT ARRAY(SELECT id FROM known WHERE retired_at IS NULL), ARRAY(SELECT id FROM known WHERE retired_at IS NOT NULL),
       ARRAY(SELECT id FROM tagging_tag WHERE id = ANY(%(tags)s) AND active ORDER BY id),
       ARRAY(SELECT id FROM tagging_tag WHERE id = ANY(%(tags)s) AND NOT active ORDER BY id)
"""
_STILL_THERE = """
SELECT ARRAY(SELECT id FROM instances_instance WHERE id = ANY(%(instances)s)),
       ARRAY(SELECT id FROM tagging_tag WHERE id = ANY(%(tags)s))
"""


class NotUndoable(ValueError):
    """An operation that cannot be undone, and why."""


def assign(instance_ids: Iterable[int], tag_ids: Iterable[int], user: User | None = None) -> TagOperation:
    """Put every one of the tags on every one of the instances. Returns the receipt; never raises for a pair."""
    return _operate(TagOperation(action=Action.ASSIGN, requested_by=user), [_Block([*instance_ids], [*tag_ids])])


def remove(instance_ids: Iterable[int], tag_ids: Iterable[int], user: User | None = None) -> TagOperation:
    """Take every one of the tags off every one of the instances. Returns the receipt; never raises for a pair."""
    return _operate(TagOperation(action=Action.REMOVE, requested_by=user), [_Block([*instance_ids], [*tag_ids])])


def undo_needs(operation: TagOperation) -> str:
    """The permission to undo an operation: that of its inverse."""
    return f"tagging.{'delete' if operation.action == Action.ASSIGN else 'add'}_instancetag"


def may_undo(operation: TagOperation, user: User) -> bool:
    """Whether the person may give or take, as an undo would, all the tags that the operation took or gave."""
    blocks = operation.outcomes.get(TagOperation.CHANGED[Action(operation.action)], ())
    tags = Tag.objects.filter(pk__in={tag for block in blocks for tag in block["tags"]})
    return user.has_perm(undo_needs(operation)) and givable(tags, user).count() == tags.count()


@transaction.atomic
def undo(operation: TagOperation, user: User | None = None) -> TagOperation:
    """Take back what an operation changed, and only that. Returns the undo's own receipt. Raises NotUndoable."""
    locked = TagOperation.objects.select_for_update().get(pk=operation.pk)
    if TagOperation.objects.filter(undo_of=locked).exists():
        raise NotUndoable(gettext("It has been undone already."))
    changed = locked.outcomes.get(TagOperation.CHANGED[Action(locked.action)])
    if not changed:
        raise NotUndoable(gettext("It changed nothing: there is nothing to undo."))
    inverse = Action.REMOVE if locked.action == Action.ASSIGN else Action.ASSIGN
    undoing = TagOperation(action=inverse, requested_by=user, undo_of=locked)
    return _operate(undoing, [_Block(**block) for block in changed])


@dataclass(frozen=True)
class _Block:
    """Every one of `tags` with every one of `instances`."""

    instances: list[int]
    tags: list[int]

    def __len__(self) -> int:
        return len(self.instances) * len(self.tags)


@transaction.atomic
def _operate(operation: TagOperation, blocks: Iterable[_Block]) -> TagOperation:
    """Work on the blocks and make the operation their receipt."""
    receipt = _Receipt()
    with connection.cursor() as cursor:
        # An instance that goes while we work is then an error of our statement, not of the commit.
        cursor.execute(f"SET CONSTRAINTS ALL IMMEDIATE; {_LOCK}")
    for block in blocks:
        _work_through(operation, _possible(operation.action, block, receipt), receipt)
    operation.outcomes, operation.reasons = receipt.blocks(), receipt.reasons
    operation.finished_at = timezone.now()
    operation.save()
    with connection.cursor() as cursor:
        # What follows in the caller's transaction may delete rows before those that refer to them, as Django does.
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    return operation


def _possible(action: str, block: _Block, receipt: _Receipt) -> _Block:
    """What of a block can be worked on; the rest is noted."""
    with connection.cursor() as cursor:
        cursor.execute(_STATES, vars(block))
        instances, retired, active, inactive = cursor.fetchone()
    unknown = sorted({*block.instances} - {*instances, *retired})
    for tag in sorted({*block.tags} - {*active, *inactive}):
        receipt.note(Outcome.UNKNOWN, tag, sorted({*block.instances}))
    for tag in (*active, *inactive):
        receipt.note(Outcome.UNKNOWN, tag, unknown)
        receipt.note(Outcome.RETIRED, tag, retired)
    if action == Action.REMOVE:
        return _Block(instances, sorted([*active, *inactive]))
    for tag in inactive:
        receipt.note(Outcome.INACTIVE, tag, instances)
    return _Block(instances, active)


def _work_through(operation: TagOperation, block: _Block, receipt: _Receipt) -> None:
    """Work on a block, in batches. A pair that fails alone is noted with its error."""
    if not block.tags:
        return
    size = max(BATCH // len(block.tags), 1)

    def attempt(instances: Sequence[int], tags: Sequence[int]) -> None:
        _work(operation, _Block([*instances], [*tags]), receipt)

    for start in range(0, len(block.instances), size):
        instances = block.instances[start : start + size]
        for instance, _error in failing(instances, lambda some: attempt(some, block.tags), DatabaseError):
            for tag, error in failing(block.tags, partial(attempt, [instance]), DatabaseError):
                receipt.fail(tag, instance, error)


def _work(operation: TagOperation, block: _Block, receipt: _Receipt) -> None:
    """One batch, in a savepoint."""
    action = operation.action
    there: tuple[list[int], list[int]] = (block.instances, block.tags)
    if action == Action.REMOVE:
        changed = _removed(block)
    else:
        changed, there = _added(block, operation.requested_by_id)
    unchanged = Outcome.ALREADY_THERE if action == Action.ASSIGN else Outcome.NOT_THERE
    instances = set(there[0])
    for tag in block.tags:
        done = changed.get(tag, [])
        receipt.note(TagOperation.CHANGED[Action(action)], tag, sorted(done))
        if len(done) == len(block.instances):
            continue
        left = set(block.instances).difference(done)
        # Neither put there nor there: the instance or the tag was deleted in between.
        present = left & instances if tag in there[1] else set()
        receipt.note(unchanged, tag, sorted(present))
        receipt.note(Outcome.UNKNOWN, tag, sorted(left - present))


def _added(block: _Block, user_id: int | None) -> tuple[dict[int, list[int]], tuple[list[int], list[int]]]:
    """Add what is not there yet of a block: tag → instances; and which instances and tags of it there are still."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_ASSIGN, vars(block) | {"user": user_id})
        changed = dict(cursor.fetchall())
        if sum(map(len, changed.values())) == len(block):
            return changed, (block.instances, block.tags)
        cursor.execute(_STILL_THERE, vars(block))
        return changed, cursor.fetchone()


def _removed(block: _Block) -> dict[int, list[int]]:
    """Remove what is there of a block: tag → instances."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_REMOVE, vars(block))
        # Mostly all of them are there, or none, and counting is enough: telling which takes twice as long.
        if cursor.rowcount in (0, len(block)):
            return dict.fromkeys(block.tags, block.instances) if cursor.rowcount else {}
        transaction.set_rollback(True)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_REMOVE_AND_TELL, vars(block))
        return dict(cursor.fetchall())


class _Receipt:
    """Outcomes under way, as `TagOperation` keeps them."""

    def __init__(self) -> None:
        self._instances: dict[tuple[str, int], list[int]] = defaultdict(list)
        self.reasons: list[dict[str, int | str]] = []

    def note(self, outcome: str, tag: int, instances: list[int]) -> None:
        if instances:
            self._instances[outcome, tag] += instances

    def fail(self, tag: int, instance: int, error: Exception) -> None:
        self.note(Outcome.FAILED, tag, [instance])
        self.reasons.append({"instance": instance, "tag": tag, "reason": str(error).strip().splitlines()[0]})

    def blocks(self) -> dict[str, list[dict[str, list[int]]]]:
        """Tags with the same outcome on the same instances stand together."""
        alike: dict[tuple[str, tuple[int, ...]], list[int]] = defaultdict(list)
        for (outcome, tag), instances in self._instances.items():
            alike[outcome, tuple(instances)].append(tag)
        found: dict[str, list[dict[str, list[int]]]] = defaultdict(list)
        for (outcome, same), tags in alike.items():
            found[outcome].append({"tags": tags, "instances": [*same]})
        return found
