import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from engines.statements import printable
from reviews import keys, pack, services
from reviews.models import Campaign
from reviews.stamps import StampError


class Command(BaseCommand):
    help = (
        "Start a review campaign, show how far it is, export the evidence pack of a sealed one, or print the public "
        "key of packs. `status` exits 3 while items are undecided or some instances are unknown. Other failures exit "
        "1, a wrong call 2."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_subparsers(dest="what", required=True)
        for name, words in (("start", "freeze the population of a draft"), ("status", "decisions by reviewer")):
            one = what.add_parser(name, help=words)
            one.add_argument("campaign", help="name or id")
            one.add_argument("--json", action="store_true", help="print one JSON document")
        export = what.add_parser("export", help="write the evidence pack of a sealed campaign")
        export.add_argument("campaign", help="name or id")
        export.add_argument("--output", type=Path, metavar="FILE", help="default: a name from id and day, here")
        what.add_parser("key", help="print the public key that checks packs")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["what"] == "key":
            self.stdout.write(keys.stored().public)
            return
        campaign = _named(options["campaign"])
        try:
            getattr(self, f"_{options['what']}")(campaign, options)
        except ValueError as error:
            raise CommandError(str(error)) from error

    def _start(self, campaign: Campaign, options: dict[str, Any]) -> None:
        self._show(services.freeze(campaign), as_json=options["json"])

    def _status(self, campaign: Campaign, options: dict[str, Any]) -> None:
        sys.exit(self._show(campaign, as_json=options["json"]))

    def _show(self, campaign: Campaign, *, as_json: bool) -> int:
        """Print the campaign. Returns the exit code of `status`."""
        rows = services.progress(campaign)
        unknown = {one.name: one.reason for one in services.unknown(campaign)}
        n_open = campaign.items.open().count()
        undecided = sum(row["undecided"] for row in rows)
        if as_json:
            reviewers = [
                {"reviewer": str(row["user"] or ""), **{k: v for k, v in row.items() if k not in ("user", "percent")}}
                for row in rows
            ]
            document = {
                "campaign": campaign.name,
                "id": campaign.pk,
                "state": campaign.state,
                "due": campaign.due_on.isoformat(),
                "frozen_at": campaign.frozen_at and campaign.frozen_at.isoformat(),
                "undecided": undecided,
                "revokes_not_seen_gone": n_open,
                "reviewers": reviewers,
                "unknown": unknown,
            }
            self.stdout.write(json.dumps(document, indent=2))
        else:
            self.stdout.write(printable(f"{campaign.name}: {campaign.state}, due {campaign.due_on}"))
            for row in rows:
                words = ", ".join(f"{row[name]} {name}" for name in ("keep", "revoke", "change", "undecided"))
                self.stdout.write(f"{row['user'] or 'without a reviewer'}: {row['n']} items; {words}")
            self.stdout.write(f"revokes not seen gone: {n_open}")
            for name, reason in unknown.items():
                self.stderr.write(printable(f"{name}: not known: {reason}"))
        return 3 if undecided or unknown else 0

    def _export(self, campaign: Campaign, options: dict[str, Any]) -> None:
        try:
            pieces = pack.pack(campaign)
        except StampError as error:
            raise CommandError(str(error)) from error
        path = options["output"] or Path(pack.name_of(campaign))
        draft = path.with_name(f"{path.name}.part")
        try:
            with draft.open("wb") as file:
                file.writelines(pieces)
            draft.replace(path)
        except OSError as error:
            raise CommandError(str(error)) from error
        services.exported(campaign)
        self.stdout.write(str(path))


def _named(text: str) -> Campaign:
    found = Campaign.objects.filter(name=text).first()
    if not found and text.isdecimal() and len(text) < 19:
        found = Campaign.objects.filter(pk=text).first()
    if not found:
        raise CommandError(f"There is no campaign “{text}”.", returncode=2)
    return found
