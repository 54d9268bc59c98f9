"""Reaching an instance, and ending one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from django.db import transaction
from django.db.models import Model, QuerySet
from django.utils import timezone

from .adapters import adapter_for
from .adapters.base import AdapterError, Capability, Excess, ServerInfo, Target, failed
from .crypto import CredentialKeyError, rotate
from .models import Credential, Instance

#: The fields that hold secrets under TAIFISH_CREDENTIAL_KEYS. Apps above add theirs.
ENCRYPTED: list[tuple[type[Model], str]] = [(Credential, "token")]


@dataclass(frozen=True)
class ConnectionCheck:
    """How a check went: who answered, or why nobody did and what to do about it. `seconds` is the time it took."""

    ok: bool
    seconds: float
    product: str = ""
    version: str = ""
    driver: str = ""
    code: str = ""
    message: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found. Without a connection, whose check says why, there is nothing but that capability."""

    connection: ConnectionCheck
    capabilities: Sequence[Capability]
    excess: Sequence[Excess] = ()

    @property
    def ok(self) -> bool:
        """Whether everything works. Rights beyond need do not count: they take nothing from a visit."""
        return all(capability.works for capability in self.capabilities)


def check_connection(instance: Instance) -> ConnectionCheck:
    """Connect, ask for the version, hang up. Never raises for what the target does."""
    started = time.monotonic()
    try:
        with adapter_for(target_of(instance)) as adapter:
            info = adapter.server
    except AdapterError as error:
        return _failed(error, started)
    return _answered(instance, info, started)


def examine(instance: Instance, level: str = "", hash_blind: bool = False) -> Diagnosis:
    """Try out all that visits do, to this depth or the instance's own, and look for rights beyond need; with
    `hash_blind` the right to see password hashes is one of them. Never raises for what the target does."""
    started = time.monotonic()
    try:
        target = target_of(instance)
        with adapter_for(replace(target, level=level or target.level)) as adapter:
            examination = adapter.examine(hash_blind)
    except AdapterError as error:
        connection = replace(failed("connection", error, cost="Everything: no visit can be made."), works=False)
        return Diagnosis(_failed(error, started), [connection])
    connected = _answered(instance, examination.server, started)
    return Diagnosis(connected, examination.capabilities, examination.excess)


def _answered(instance: Instance, info: ServerInfo, started: float) -> ConnectionCheck:
    remember_server(instance, info)
    return ConnectionCheck(
        ok=True,
        seconds=time.monotonic() - started,
        product=info.product,
        version=info.version,
        driver=info.driver,
    )


def _failed(error: AdapterError, started: float) -> ConnectionCheck:
    return ConnectionCheck(
        ok=False,
        seconds=time.monotonic() - started,
        code=error.code,
        message=str(error),
        hint=error.hint,
    )


def named(names: Iterable[str]) -> QuerySet[Instance]:
    """The active instances of these names. Raises ValueError, saying which are unknown and which retired."""
    wanted = set(names)
    retired_at = dict(Instance.objects.filter(name__in=wanted).values_list("name", "retired_at"))
    wrong = [f"{name!r} is unknown" for name in sorted(wanted - retired_at.keys())]
    wrong += [f"{name!r} is retired" for name, when in sorted(retired_at.items()) if when]
    if wrong:
        raise ValueError(f"Of the instances asked for, {', '.join(wrong)}.")
    return Instance.objects.filter(name__in=wanted)


def chosen(names: Sequence[str], *, every: bool = False, tag: str | None = None) -> QuerySet[Instance]:
    """The active instances that a command is called for, in one of three ways. Raises ValueError, saying what is wrong.

    `tag` is the slug of one; what a tag is, is told above.
    """
    if [bool(names), every, tag is not None].count(True) != 1:
        raise ValueError("Say which instances: by name, with --tag, or --all.")
    if names:
        return named(names)
    active = Instance.objects.active()
    found = active.filter(tags__slug=tag) if tag is not None else active
    if not found.exists():
        raise ValueError(
            f"No active instance has the tag {tag!r}." if tag is not None else "There is no active instance."
        )
    return found


def target_of(instance: Instance) -> Target:
    """`instance.target()`, with a password that cannot be opened told as an AdapterError."""
    try:
        return instance.target()
    except CredentialKeyError as error:
        raise AdapterError(str(error), code="bad_target") from error


def remember_server(instance: Instance, info: ServerInfo) -> None:
    """Keep product and version; writes only when they changed."""
    # As a rule they did not, which needs no statement; what was loaded a while ago may be wrong about it.
    if (instance.product, instance.version) == (info.product, info.version):
        return
    Instance.objects.filter(pk=instance.pk).exclude(product=info.product, version=info.version).update(
        product=info.product, version=info.version
    )


def purge_retired() -> int:
    """Delete, history included, what was retired longer ago than TAIFISH_KEEP_RETIRED_DAYS. Returns how many."""
    doomed = Instance.objects.due_for_purge(timezone.now())
    return doomed.delete()[1].get(Instance._meta.label, 0)


@transaction.atomic
def rotate_credential_keys() -> int:
    """Encrypt every stored secret anew under the first key, all or none. Returns how many.

    Raises CredentialKeyError, with nothing changed, when one of them cannot be opened.
    """
    count = 0
    for model, field in ENCRYPTED:
        rows = list(model._default_manager.exclude(**{field: ""}).select_for_update())
        for row in rows:
            try:
                setattr(row, field, rotate(getattr(row, field)))
            except CredentialKeyError as error:
                raise CredentialKeyError(f"{model._meta.verbose_name.capitalize()} {str(row)!r}: {error}") from error
        model._default_manager.bulk_update(rows, [field], batch_size=1000)
        count += len(rows)
    return count
