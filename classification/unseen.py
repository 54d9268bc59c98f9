"""What a rule names and no visit has seen: it would silently match nothing."""

from __future__ import annotations

from collections.abc import Iterator

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from access.seen import did_you_mean, named, privileges
from accounts.models import Account, Coverage, Grant
from capacity.models import Database
from console.suggestions import nearest
from console.visibility import shown_to
from console.wildcards import has_wildcards, regex
from engines.paths import name_of, segments
from engines.registry import ENGINES
from instances.models import Instance

from .models import ClassificationRule
from .rules import Term, parse, terms

#: Words that name a privilege.
OF_PRIVILEGES = frozenset({"attribute", "has", "gained", "held_days"})


def unseen(rule: ClassificationRule, user: User | None = None) -> list[str]:
    """Return sentences about the privileges, roles and paths of a valid rule that no visit has seen, among what `user`
    may see, and about paths that an engine cannot have. Empty while no visit has read anything."""
    instances = shown_to(Instance.objects.all(), user)
    if rule.engine:
        instances = instances.filter(engine=rule.engine)
    if not Coverage.objects.filter(instance__in=instances).exists():
        return []
    found: list[str] = []
    for term in terms(parse(rule.expression)):
        if term.word == "member_of":
            found += _roles(term, instances)
        if term.word in OF_PRIVILEGES:
            found += _privilege(term, instances)
            found += _path(term, instances)
    return list(dict.fromkeys(found))


def _roles(term: Term, instances: QuerySet[Instance]) -> Iterator[str]:
    accounts = Account.objects.filter(instance__in=instances)
    for text in term.texts:
        if not accounts.filter(_like("name", text)).exists():
            roles = accounts.filter(kind=Account.Kind.ROLE).order_by().values_list("name", flat=True)
            yield _("No visit has seen a role “%s”.") % text + nearest(text, {*roles.distinct()})


def _privilege(term: Term, instances: QuerySet[Instance]) -> Iterator[str]:
    grants = Grant.objects.filter(account__instance__in=instances)
    for text in term.texts:
        if not grants.filter(_like("privilege", text)).exists():
            known = privileges(list(instances.values_list("pk", flat=True)))
            yield _("No visit has seen a privilege “%s”.") % text + nearest(text, known)


def _path(term: Term, instances: QuerySet[Instance]) -> Iterator[str]:
    path, kind = str(term.options.get("on") or ""), str(term.options.get("kind", ""))
    if not path:
        return
    parts = segments(path)
    path = ".".join(parts)
    possible = [name for name, engine in ENGINES.items() if engine.semantics.scopes(parts, kind)]
    # A path with wildcards may have any number of parts.
    if not has_wildcards(path):
        others = instances.exclude(engine__in=possible).order_by().values_list("engine", flat=True).distinct()
        for name in sorted(others):
            of = {"engine": ENGINES[name].label, "path": path, "kind": kind or _("object")}
            yield (
                _("%(engine)s cannot have the path “%(path)s” for the kind: %(kind)s. The rule matches nothing there.")
                % of
            )
    # Where grants on databases are patterns, those on its tables may be in none.
    by_database = [name for name, engine in ENGINES.items() if engine.semantics.patterns]
    databases = Database.objects.filter(instance__in=instances, instance__engine__in=by_database)
    if databases.filter(name=name_of(parts[0])).exists():
        return
    ids = list(instances.values_list("pk", flat=True))
    if not has_wildcards(path):
        if not named(path, ids):
            yield _("No visit has seen a grant on “%s”.") % path + did_you_mean(parts, ids)
    elif not Grant.objects.filter(_like("scope", path), account__instance__in=ids).exists():
        yield _("No visit has seen a grant on “%s”.") % path


def _like(field: str, pattern: str) -> Q:
    return Q(**{f"{field}__regex": f"^{regex(pattern)}$"}) if has_wildcards(pattern) else Q(**{field: pattern})
