"""The check of a collection account: tries each read of a visit separately, and finds rights beyond need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .errors import AdapterError
from .facts import Capability, Examination, Excess, failed
from .reads import VISIT_FAILS, Read, applicable, text_of
from .session import Rows, Session

ExcessRights = Callable[[Any, Mapping[str, Rows], bool], Iterable[Excess | Capability]]
"""Rights beyond need, and capabilities that it lacked to find them, from the session, the rows of reads with `sample`
None by name, and `hash_blind`. Raises AdapterError."""


def check(session: Session, reads: Sequence[Read], excess_rights: ExcessRights, hash_blind: bool) -> Examination:
    """Try each read of a visit to the depth of the target. Never raises AdapterError: a failed read becomes a
    capability that does not work."""
    server, rows = session.server, dict[str, Rows]()
    found = [Capability("connection", True, f"{server.product} {server.version}, as {session.account}")]
    selected = applicable(reads, session.target.level, session.features)
    for read in selected:
        if read.per_database:
            found += _each_database(session, read)
            continue
        capability, answer = _tried(session, read)
        found += read.judge(session, capability, answer)
        if answer is not None:
            rows[read.name] = answer
    own = {"name": "rights of the account", "cost": "Whether the account has more rights than it needs."}
    excess: list[Excess] = []
    if any(read.required and read.sample is None and read.name not in rows for read in selected):
        found.append(Capability(works=None, message="not checked, because a check above failed", **own))
        return Examination(server, found, excess)
    try:
        session.begin()
        beyond = list(excess_rights(session, rows, hash_blind))
        excess = [right for right in beyond if isinstance(right, Excess)]
        message = f"{len(excess)} beyond need" if excess else "nothing beyond need"
        found.append(Capability(works=True, message=message, **own))
        found += [lacking for lacking in beyond if isinstance(lacking, Capability)]
    except AdapterError as error:
        found.append(_failed(session, error, **own))
    return Examination(server, found, excess)


def _tried(session: Session, read: Read) -> tuple[Capability, Rows | None]:
    """Whether the read works, and its rows. Each read runs in a separate transaction, which a failure may abort."""
    place = text_of(read.place, session.features)
    name = f"{read.title} ({place})" if place else read.title
    cost = read.cost or (VISIT_FAILS if read.required else f"{read.title}: those of the last successful read remain.")
    sql = text_of(read.probe, session.features)
    if not sql:
        sql = read.statement(session.features)
        sql = sql if read.sample is None else session.limited(sql, read.sample)
    try:
        session.begin()
        rows = session.query(sql)
    except AdapterError as error:
        return _failed(session, error, name=name, cost=cost, level=read.levels[0]), None
    return Capability(name, True, "works", cost=cost, level=read.levels[0]), rows


def _failed(session: Session, error: AdapterError, **described: str) -> Capability:
    """The failed capability. A missing right on a catalogue is granted in the session's database, where the engine
    stores grants per database."""
    capability = failed(error=error, **described)
    return replace(capability, database=session.database) if capability.missing else capability


def _each_database(session: Session, read: Read) -> Iterator[Capability]:
    level = read.levels[0]
    try:
        session.begin()
        databases = session.candidates()
    except AdapterError as error:
        yield _failed(session, error, name="list of databases", cost=VISIT_FAILS, level=level)
        return
    left_out = [skipped[1] for _, _, skipped, _ in databases if skipped]
    unknown = [f"{reason}: grants on objects in it stay unknown" for reason in left_out]
    message = "; ".join([f"{len(databases) - len(left_out)} to visit", *unknown])
    yield Capability("list of databases", True, message, cost=VISIT_FAILS, level=level)
    for native_id, database, skipped, refused in databases:
        if skipped:
            continue
        name = f"{read.title} in database {database}"
        cost = f"Grants on {name}: those of the last successful read remain."
        described = {"name": name, "cost": cost, "level": level, "database": database}
        try:
            session.begin()
            if refused:
                raise refused
            with session.inside(database):
                session.query(session.limited(read.statement(session.features), 0))
            yield Capability(works=True, message="works", **described)
        except AdapterError as error:
            if error.code != "no_such_database" or session.exists(native_id):
                yield failed(error=error, **described)
