"""SQL that makes an instance like its reference, for people to read and run. Taifish never runs it."""

from __future__ import annotations

from django.utils.translation import gettext

from engines.registry import ENGINES
from engines.statements import Held, Remedy, Subject, is_printable
from instances.models import Instance

from .compare import ACCOUNT, ATTRIBUTE, MEMBERSHIP, Compared, Deviation


def aligning(one: Compared) -> Remedy:
    """The statements that remove the deviations which are not accepted, and sentences about those that have none: names
    with hidden characters, owners, attributes of accounts."""
    instance = Instance.objects.only("engine", "product").get(pk=one.instance.pk)
    by_database: dict[str, list[str]] = {}
    by_hand = []
    # Accounts first: what follows is granted to them.
    for row in sorted(one.deviations, key=lambda row: (row.kind != ACCOUNT, row.kind != MEMBERSHIP)):
        sql = _statement(row, instance)
        if sql and is_printable(sql):
            by_database.setdefault(_place(row), []).append(sql)
        else:
            by_hand.append(f"{row.label}: {row.sentence}")
    statements = []
    for database, lines in sorted(by_database.items()):
        if not is_printable(database):
            by_hand.append(gettext("No SQL is offered, because a name has hidden characters: database %r") % database)
        else:
            text = "\n".join(dict.fromkeys(lines))
            statements.append(ENGINES[instance.engine].inside(text, database) if database else text)
    return Remedy(statements, by_hand)


def _place(row: Deviation) -> str:
    return "" if row.kind == "database" else row.database


def _statement(row: Deviation, instance: Instance) -> str:
    """ "" if there is none."""
    account = ENGINES[instance.engine].account
    kind = "public" if instance.engine == "postgresql" and (row.account, row.host) == ("public", "") else "user"
    subject = Subject(instance.engine, row.account, row.host, kind, product=instance.product)
    give, options = row.expected is not None, row.expected or row.found or ""
    if row.kind == ATTRIBUTE:
        return ""
    if row.kind == ACCOUNT:
        return account.exists(subject, give)
    if row.kind == MEMBERSHIP:
        words = list(filter(None, options.split(","))) if give else []
        sql = account.member(subject, (row.scope, row.item), words, give)
        # Options are not taken away by granting the membership again.
        if row.what == "different":
            take = account.member(subject, (row.scope, row.item), [], False)
            sql = sql and take and f"{take}\n{sql}"
        return sql
    privilege = row.item.removeprefix("no ")
    held = Held(
        row.kind, privilege, row.scope, row.database, denied=privilege != row.item, grantable=options == "grantable"
    )
    if row.what == "different" and row.expected == "":
        return account.change(subject, held, False, only_option=True)
    return account.change(subject, held, give)
