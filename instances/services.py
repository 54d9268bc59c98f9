"""Connection test, check, certificates, selection and purge of instances; rotation of credential keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Case, F, Model, Q, When
from django.utils import timezone
from django.utils.translation import gettext

from console.suggestions import did_you_mean, nearest, similar
from engines.adapter import Adapter
from engines.errors import AdapterError
from engines.facts import Capability, Excess, ServerInfo, failed
from engines.registry import adapter_for
from engines.target import Target

from .crypto import CredentialKeyError, rotate
from .models import Credential, Instance, InstanceQuerySet, NotListed
from .sources import SecretError

#: The fields that contain secrets encrypted with TAIFISH_CREDENTIAL_KEYS; "data.secret" is a key in a JSON field. Apps
#: above add theirs in `AppConfig.ready`.
ENCRYPTED: list[tuple[type[Model], str]] = [(Credential, "token")]


@dataclass(frozen=True)
class ConnectionCheck:
    """The result of a connection: the server, or the error and a hint. `seconds` is its duration, `certificate` the
    fingerprint of the server's certificate if no authority verified it."""

    ok: bool
    seconds: float
    product: str = ""
    version: str = ""
    driver: str = ""
    code: str = ""
    message: str = ""
    hint: str = ""
    certificate: str = ""

    def __str__(self) -> str:
        if self.ok:
            return f"{self.product} {self.version} in {self.seconds:.2f} s, with {self.driver}"
        return " ".join(f"{self.code}: {self.message} {self.hint}".split())


@dataclass(frozen=True)
class Diagnosis:
    """The result of a check. If the connection failed, "connection" is the only capability."""

    connection: ConnectionCheck
    capabilities: Sequence[Capability]
    excess: Sequence[Excess] = ()
    warnings: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """Whether everything works. Rights beyond need do not count, because visits succeed with them."""
        return all(capability.works for capability in self.capabilities)


def check_connection(instance: Instance) -> ConnectionCheck:
    """Connect, read the version, disconnect. Never raises AdapterError."""
    started = time.monotonic()
    try:
        with reached(instance) as adapter:
            info = adapter.server
    except AdapterError as error:
        return _failed(error, started)
    return _answered(instance, info, started)


@contextmanager
def reached(instance: Instance, **changes: Any) -> Iterator[Adapter]:
    """A connected adapter; `changes` override fields of the target. Raises AdapterError, and stores the fingerprint of
    a certificate that a person must compare."""
    try:
        with adapter_for(replace(target_of(instance), **changes)) as adapter:
            yield adapter
    except AdapterError as error:
        if error.certificate:
            Instance.objects.filter(pk=instance.pk).update(
                seen_certificate=error.certificate, seen_certificate_at=timezone.now()
            )
        raise


def examine(instance: Instance, level: str = "", hash_blind: bool = False) -> Diagnosis:
    """Try all reads of a visit to this depth (default: that of the instance), and find rights beyond need. With
    `hash_blind`, access to password hashes is beyond need too. Never raises AdapterError."""
    started = time.monotonic()
    try:
        with reached(instance, level=level or instance.level) as adapter:
            examination = adapter.examine(hash_blind)
    except AdapterError as error:
        connection = replace(failed("connection", error, cost="Everything: visits fail."), works=False)
        return Diagnosis(_failed(error, started), [connection], warnings=_warnings(instance))
    connected = _answered(instance, examination.server, started)
    return Diagnosis(connected, examination.capabilities, examination.excess, _warnings(instance))


def _warnings(instance: Instance) -> list[str]:
    """Recommended changes that are not required for visits."""
    if instance.proof == Instance.Proof.AS_BEFORE and not instance.proved_by:
        return [
            gettext(
                "As before: the password is sent to any server at this address, by any method that it requests. "
                "Tighten this instance (list of instances, or manage.py tighten_instances)."
            )
        ]
    if instance.certificate and not instance.certificate_compared and not instance.proved_by:
        return [gettext("The certificate was pinned at the first connection. Compare its fingerprint, and accept it.")]
    return []


def _answered(instance: Instance, info: ServerInfo, started: float) -> ConnectionCheck:
    remember_server(instance, info)
    return _succeeded(info, started)


def _succeeded(info: ServerInfo, started: float) -> ConnectionCheck:
    return ConnectionCheck(
        ok=True,
        seconds=time.monotonic() - started,
        product=info.product,
        version=info.version,
        driver=info.driver,
        certificate=info.certificate,
    )


def _failed(error: AdapterError, started: float) -> ConnectionCheck:
    return ConnectionCheck(
        ok=False,
        seconds=time.monotonic() - started,
        code=error.code,
        message=str(error),
        hint=error.hint,
        certificate=error.certificate,
    )


def named(names: Iterable[str]) -> InstanceQuerySet:
    """The active instances of these names. Raises ValueError with the names that are unknown or retired."""
    names = set(names)
    retired_at = dict(Instance.objects.filter(name__in=names).values_list("name", "retired_at"))
    unknown = sorted(names - retired_at.keys())
    active = list(Instance.objects.active().order_by().values_list("name", flat=True)) if unknown else []
    wrong = [f"{name!r} is unknown" for name in unknown]
    wrong += [f"{name!r} is retired" for name, when in sorted(retired_at.items()) if when]
    if wrong:
        meant = did_you_mean(similar(unknown[0], active)) if len(unknown) == 1 else ""
        raise ValueError(f"Invalid instances: {', '.join(wrong)}.{meant}")
    return Instance.objects.filter(name__in=names)


def chosen(names: Sequence[str], *, every: bool = False, tag: str | None = None) -> InstanceQuerySet:
    """The active instances selected by exactly one of the arguments of a command. Raises ValueError with a message for
    its user. `tag` is a slug; the model of tags belongs to an app above."""
    if [bool(names), every, tag is not None].count(True) != 1:
        raise ValueError("Select instances by name, with --tag, or with --all.")
    if names:
        return named(names)
    active = Instance.objects.active()
    found = active.filter(tags__slug=tag) if tag is not None else active
    if found.exists():
        return found
    if tag is None:
        raise ValueError("There is no active instance.")
    slugs = Instance._meta.get_field("tags").related_model._default_manager.order_by().values_list("slug", flat=True)
    meant = "" if tag in slugs else nearest(tag, slugs)
    raise ValueError(f"No active instance has the tag {tag!r}.{meant}")


def target_of(instance: Instance) -> Target:
    """`instance.target()`. Raises AdapterError if the secret cannot be obtained, or may not be sent there."""
    try:
        return instance.target()
    except (CredentialKeyError, NotListed) as error:
        raise AdapterError(str(error), code="bad_target") from error
    except SecretError as error:
        raise AdapterError(str(error), code="no_secret", hint=error.hint, transient=error.transient) from error


def remember_server(instance: Instance, info: ServerInfo) -> None:
    """Store product and version, and pin the certificate of the first successful connection. Writes only changes."""
    if info.certificate and not instance.certificate:
        pinned = Instance.objects.filter(pk=instance.pk, certificate="")
        pinned.update(certificate=info.certificate, certificate_compared=False)
    if instance.seen_certificate and instance.proof != Instance.Proof.AS_BEFORE:
        # The refused certificate is no longer that of the server.
        unseen = Instance.objects.filter(pk=instance.pk, seen_certificate=instance.seen_certificate)
        unseen.update(seen_certificate="", seen_certificate_at=None)
    # No statement if unchanged, which is usual. The row may have changed since it was loaded, hence exclude().
    if (instance.product, instance.version) == (info.product, info.version):
        return
    Instance.objects.filter(pk=instance.pk).exclude(product=info.product, version=info.version).update(
        product=info.product, version=info.version
    )


@transaction.atomic
def accept_certificates(compared: Mapping[int, str]) -> list[Instance]:
    """Pin compared fingerprints, given by id of instance. Returns the instances on which the fingerprint has not
    changed meanwhile; only these are pinned."""
    rows = Instance.objects.filter(pk__in=compared).select_for_update(of=("self",))
    accepted = [row for row in rows if row.certificate_to_compare == compared[row.pk] != ""]
    shown = Case(When(seen_certificate="", then=F("certificate")), default=F("seen_certificate"))
    Instance.objects.filter(pk__in=[row.pk for row in accepted]).update(
        certificate=shown, certificate_compared=True, seen_certificate="", seen_certificate_at=None
    )
    return accepted


#: The number of strict connections to try in parallel, and the connect timeout of each in seconds.
TRIED_AT_ONCE, TRIED_FOR = 32, 5

#: The maximum number of instances to tighten in one HTTP request.
TIGHTENED_AT_ONCE = 100


class Tightened(NamedTuple):
    """An instance that was "as before", and the result of a strict connection to it."""

    instance: Instance
    check: ConnectionCheck


def tighten(instances: InstanceQuerySet, on_end: Callable[[], None] = lambda: None) -> list[Tightened]:
    """Set each of these that is "as before" to strict if a strict connection succeeds. Returns results by name.
    `on_end` is called after each attempt, in this thread."""
    loose = list(instances.active().as_before().select_related("credential").order_by("name"))
    tried = []
    # Threads connect to servers only; this thread uses the store.
    with ThreadPoolExecutor(TRIED_AT_ONCE) as pool:
        for pair in zip(loose, pool.map(_try_strictly, loose), strict=True):
            tried.append(pair)
            on_end()
    for instance, (check, certificate) in tried:
        found = Instance.objects.filter(pk=instance.pk, proof=Instance.Proof.AS_BEFORE)
        if check.ok:
            pin = {} if instance.certificate or not certificate else {"certificate": certificate}
            found.update(proof=Instance.Proof.STRICT, **pin)
        elif certificate:
            found.update(seen_certificate=certificate, seen_certificate_at=timezone.now())
    return [Tightened(instance, check) for instance, (check, _) in tried]


def _try_strictly(instance: Instance) -> tuple[ConnectionCheck, str]:
    """The result of a strict connection, and the fingerprint of the server's certificate."""
    started = time.monotonic()
    try:
        target = target_of(instance)
        patience = min(target.connect_timeout, TRIED_FOR)
        with adapter_for(replace(target, proof="strict", connect_timeout=patience)) as adapter:
            info = adapter.server
    except AdapterError as error:
        return _failed(error, started), error.certificate
    return _succeeded(info, started), info.certificate


def purge_retired() -> int:
    """Delete instances retired more than TAIFISH_KEEP_RETIRED_DAYS ago, with their data. Returns their number."""
    doomed = Instance.objects.due_for_purge(timezone.now())
    return doomed.delete()[1].get(Instance._meta.label, 0)


@transaction.atomic
def rotate_credential_keys() -> int:
    """Encrypt all stored secrets again with the first key, and return their number. If one cannot be decrypted, raises
    CredentialKeyError and changes nothing."""
    count = 0
    for model, place in ENCRYPTED:
        field, _dot, key = place.partition(".")
        there = Q(**{f"{field}__has_key": key}) if key else ~Q(**{field: ""})
        rows = list(model._default_manager.filter(there).select_for_update())
        for row in rows:
            value = getattr(row, field)
            try:
                setattr(row, field, {**value, key: rotate(value[key])} if key else rotate(value))
            except CredentialKeyError as error:
                what = str(model._meta.verbose_name).capitalize()
                raise CredentialKeyError(f"{what} {str(row)!r}: {error}") from error
        model._default_manager.bulk_update(rows, [field], batch_size=1000)
        count += len(rows)
    return count
