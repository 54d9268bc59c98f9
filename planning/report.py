"""The planning report: what tags, the instances without one and the fleet will take, and what to buy by when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from django.utils.translation import gettext

from instances.models import Instance
from tagging.models import InstanceTag, Tag

from .answers import Forecast, NoForecast
from .models import FLEET, Projection, SizeLimit
from .reading import answers


@dataclass(frozen=True)
class Line:
    """`limit_of` is "own", "instances" for the sum of those of all its instances, or "" without a limit. `buy` is what
    the upper bound in a year exceeds the limit by, in bytes, and `buy_by` the day on which the upper bound reaches it.
    An instance with two tags counts in both."""

    kind: str
    name: str
    n_instances: int
    forecast: Forecast | NoForecast
    limit: int | None
    limit_of: str

    @property
    def buy(self) -> int | None:
        if self.limit is None or isinstance(self.forecast, NoForecast):
            return None
        return max(self.forecast.ahead[365].high - self.limit, 0)

    @property
    def buy_by(self) -> date | None:
        return self.forecast.earliest_on if self.buy and isinstance(self.forecast, Forecast) else None

    @property
    def n_sized(self) -> int:
        """Number of the instances that have a size."""
        return self.forecast.n_sized

    @property
    def is_unknown(self) -> bool:
        return isinstance(self.forecast, NoForecast) or self.forecast.is_stale


def report() -> list[Line]:
    """Return a line for each tag of an active instance, the instances without one, and the fleet. Takes six queries."""
    active = set(Instance.objects.active().values_list("pk", flat=True))
    members: dict[tuple[str, int], set[int]] = defaultdict(set)
    for tag, instance in InstanceTag.objects.filter(instance__in=active).values_list("tag", "instance"):
        members["tag", tag].add(instance)
    tagged = set().union(*members.values())
    names = {("tag", tag.pk): tag.label for tag in Tag.objects.all() if members.get(("tag", tag.pk))}
    if tagged and (untagged := active - tagged):
        members["untagged", 0] = untagged
        names["untagged", 0] = gettext("without a tag")
    members["fleet", 0] = active
    names["fleet", 0] = gettext("whole fleet")
    limits = _limits(names, members)
    stored = answers(
        Projection.objects.filter(kind__in=["tag", "untagged", "fleet"]),
        {key: size for key, (size, _) in limits.items()},
    )
    return [
        Line(key[0], name, len(members[key]), stored.get(key, NoForecast("new")), *limits.get(key, (None, "")))
        for key, name in names.items()
    ]


def _limits(
    keys: Iterable[tuple[str, int]], members: Mapping[tuple[str, int], set[int]]
) -> dict[tuple[str, int], tuple[int, str]]:
    """Return the limit of each and what it is of: its own, or the sum where every instance has one."""
    own: dict[tuple[str, int], int] = {}
    of_instances: dict[int, int] = {}
    for limit in SizeLimit.objects.all():
        if limit.kind == "instance":
            of_instances[limit.instance_id] = limit.size
        elif limit.kind in ("tag", FLEET):
            own[limit.kind, limit.tag_id or 0] = limit.size
    return {
        key: (own[key], "own") if key in own else (sum(of_instances[pk] for pk in members[key]), "instances")
        for key in keys
        if key in own or (members[key] and members[key] <= of_instances.keys())
    }
