from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import F, Q, TextField, Value
from django.db.models.functions import Concat
from django.utils import timezone

from access.asking import chosen
from access.exports import effective_as_rows
from access.moments import parse_moment
from access.questions import effective
from access.rights import Rights
from access.serializers import EffectiveGrantSerializer
from access.wording import by_database, usable_at_once
from accounts.models import Account
from accounts.viewsets import basis
from console.command import add_formats, write_columns, write_csv_lines
from console.suggestions import nearest
from engines.statements import printable

HEADER = ["through", "right", "usable", "since"]

#: Accounts of one name that an error lists, and names that are compared to suggest one.
LISTED, COMPARED = 10, 20_000


class Command(BaseCommand):
    help = (
        "List what an account may do, by its own grants, through its roles and through PUBLIC. Exits 0 if the answer "
        "is complete, 3 if it is not known, 2 for a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("account", metavar="ACCOUNT", help="its name, or name@host")
        parser.add_argument("--instance", metavar="NAME", help="needed if several instances have the account")
        parser.add_argument("--as-of", metavar="T", help="a moment, or a day (its end), in TAIFISH_TIME_ZONE")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            at = parse_moment(options["as_of"] or "")
            account = one_account(options["account"], options["instance"])
            found = effective(account, at)
        except ValueError as error:
            raise CommandError(printable(str(error)), returncode=2) from error
        rights = Rights(found, found.grants)
        reasons = [found.read.reason] if found.read.is_stale else []
        reasons += [by_database()] if found.by_database else []
        if options["csv"]:
            write_csv_lines(self.stdout, *effective_as_rows(account, found, rights.read_all(), "effective"))
        elif options["json"]:
            grants = list(found.grants)
            context = {"effective": found, "links": found.links(grants)}
            document = {
                "as_of": found.at,
                "instance": account.instance.name,
                "account": str(account),
                "rights": EffectiveGrantSerializer(grants, many=True, context=context).data,
                "without_grant": [
                    {
                        "path": [str(role) for role in nature.path],
                        "at_once": nature.at_once,
                        "powers": {kind: sorted(privileges) for kind, privileges in nature.powers.items()},
                    }
                    for nature in found.natures()
                ],
                "by_database": found.by_database,
                **basis([found.read]),
            }
            self.stdout.write(json.dumps(document, indent=2, default=str))
        else:
            self._print(account, rights)
        for reason in reasons:
            out = self.stderr if options["json"] or options["csv"] else self.stdout
            out.write(printable(f"{account.instance}: not known: {reason}"))
        sys.exit(3 if reasons else 0)

    def _print(self, account: Account, rights: Rights) -> None:
        rows: list[list[object]] = [
            [
                " → ".join(row["path"]),
                row["grant"],
                row["use"],
                f"{timezone.localtime(row['since']):%Y-%m-%d %H:%M}",
            ]
            for row in rights.read_all()
        ]
        rows += [
            [
                " → ".join(map(str, nature.path)),
                f"{', '.join(sorted(privileges))} on every {kind}",
                usable_at_once(nature.at_once),
                "",
            ]
            for nature in rights.effective.natures()
            for kind, privileges in nature.powers.items()
        ]
        if account.is_superuser:
            self.stdout.write(printable(f"{account} is a superuser: it may do everything."))
        if rows:
            write_columns(self.stdout, HEADER, rows)
        elif not account.is_superuser:
            self.stdout.write("No known right.")


def one_account(label: str, instance: str | None) -> Account:
    """Return the account, the present one if others had its name before. Raises ValueError, which says what to
    change."""
    accounts = Account.objects.select_related("instance").annotate(
        label=Concat("name", Value("@"), "host", output_field=TextField())
    )
    accounts = accounts.filter(instance__in=chosen([instance], "", "", None)) if instance else accounts
    found = list(accounts.filter(Q(name=label) | Q(label=label)).order_by(F("gone_at").desc(nulls_first=True), "-pk"))
    exact = [account for account in found if str(account) == label] or found
    present = [account for account in exact if account.gone_at is None] or exact[:1]
    if not present:
        names = accounts.order_by().values_list("name", flat=True).distinct()[:COMPARED]
        raise ValueError(f"No visit has seen an account “{label}”.{nearest(label, names)}")
    if len(present) > 1:
        where = sorted(f"{account} on {account.instance}" for account in present)
        more = f" and {len(where) - LISTED} more" if len(where) > LISTED else ""
        names = ", ".join(where[:LISTED])
        raise ValueError(f"Several accounts are called so: {names}{more}. Add --instance, or the host.")
    return present[0]
