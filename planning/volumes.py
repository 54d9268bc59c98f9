"""Read volumes from Prometheus: one per host, shared by all active instances of the host."""

from __future__ import annotations

from collections import defaultdict
from ipaddress import ip_address

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from instances.models import Instance

from . import prometheus
from .models import Volume, VolumeRead
from .prometheus import FileSystem, ReadFailed


def read_volumes() -> VolumeRead | None:
    """Read them now, and return how that went; None if no Prometheus is set. A failed read changes no volume. The
    volumes of hosts that are missing, or that have not exactly one file system, keep their last figures."""
    if not settings.TAIFISH_PROMETHEUS_URL:
        return None
    try:
        found = prometheus.read(
            settings.TAIFISH_PROMETHEUS_URL, settings.TAIFISH_PROMETHEUS_LABEL, settings.TAIFISH_PROMETHEUS_MOUNTPOINT
        )
    except ReadFailed as error:
        return VolumeRead.objects.update_or_create(pk=1, defaults={"tried_at": timezone.now(), "error": str(error)})[0]
    return _write(found)


@transaction.atomic
def _write(found: dict[str, FileSystem | str]) -> VolumeRead:
    now = timezone.now()
    # Two at once take turns.
    attempt, _new = VolumeRead.objects.select_for_update().get_or_create(pk=1, defaults={"tried_at": now})
    by_host: dict[str, list[int]] = defaultdict(list)
    for pk, host in Instance.objects.active().order_by("name").values_list("pk", "host"):
        by_host[host.lower()].append(pk)
    hosts = [host for host in sorted(by_host) if not _is_this_machine(host)]
    measured = {
        f"{host}:{there.mountpoint}": (there, by_host[host])
        for host in hosts
        if isinstance(there := found.get(host), FileSystem)
    }
    stored = {volume.mount: volume for volume in Volume.objects.filter(mount__in=measured)}
    taken = set(Volume.objects.filter(name__in=measured.keys() - stored.keys()).values_list("name", flat=True))
    for mount, (there, _ids) in measured.items():
        name = f"{mount} (Prometheus)" if mount in taken else mount
        volume = stored.setdefault(mount, Volume(mount=mount, name=name))
        volume.size, volume.available, volume.read_at = there.size, there.available, now
    Volume.objects.bulk_create(volume for volume in stored.values() if volume.pk is None)
    Volume.objects.bulk_update(stored.values(), ["size", "available", "read_at"], batch_size=1000)
    _set_members({stored[mount].pk: ids for mount, (_there, ids) in measured.items()})
    attempt.tried_at = attempt.read_at = now
    attempt.error = ""
    attempt.skipped = [f"{host}: {why}." for host in hosts if isinstance(why := found.get(host), str)]
    if missing := [host for host in hosts if host not in found]:
        attempt.skipped.append(_("Prometheus does not have: %s.") % ", ".join(missing))
    attempt.save()
    return attempt


def _set_members(wanted: dict[int, list[int]]) -> None:
    through = Volume.instances.through.objects
    pairs = {(volume, instance) for volume, ids in wanted.items() for instance in ids}
    rows = through.filter(volume__in=wanted).values_list("pk", "volume", "instance")
    there = {(volume, instance): pk for pk, volume, instance in rows}
    through.filter(pk__in=[there[pair] for pair in there.keys() - pairs]).delete()
    through.bulk_create(
        Volume.instances.through(volume_id=volume, instance_id=instance) for volume, instance in pairs - there.keys()
    )


def _is_this_machine(host: str) -> bool:
    """Whether the name may mean another machine to Prometheus: a loopback address, or a socket's folder."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost") or host.startswith("/")
