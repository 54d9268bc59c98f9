import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.command import add_formats, write_csv
from console.suggestions import nearest
from instances.services import chosen
from tagging import services
from tagging.models import Tag, TagOperation

#: Outcomes in which a pair is now as it was asked for.
AS_ASKED = {"added", "already_there", "removed", "not_there"}


class Command(BaseCommand):
    help = (
        "Put tags on instances, or take them off. Exits 0 when every pair is as asked, 3 when some are not, 2 for a "
        "wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["add", "remove"])
        parser.add_argument("tags", nargs="+", metavar="TAG", help="slug of a tag")
        parser.add_argument("--instances", nargs="+", metavar="NAME", help="names of instances")
        parser.add_argument("--all", action="store_true", help="every active instance")
        parser.add_argument("--tag", metavar="SLUG", help="every active instance with this tag")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            tags = _tags(options["tags"])
            instances = chosen(options["instances"] or [], every=options["all"], tag=options["tag"])
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        operate = services.assign if options["action"] == "add" else services.remove
        receipt = operate(list(instances.order_by().values_list("pk", flat=True)), tags)
        self._report(receipt, options)
        sys.exit(0 if receipt.totals.keys() <= AS_ASKED else 3)

    def _report(self, receipt: TagOperation, how: dict[str, Any]) -> None:
        if how["csv"]:
            write_csv(self.stdout, receipt.reasons, ("instance", "tag", "reason"))
            return
        if how["json"]:
            document = {
                "operation": receipt.pk,
                "totals": receipt.totals,
                "outcomes": receipt.outcomes,
                "failed": receipt.reasons,
            }
            self.stdout.write(json.dumps(document, indent=2))
            return
        totals = ", ".join(f"{count} {TagOperation.Outcome(name).label}" for name, count in receipt.totals.items())
        self.stdout.write(f"{receipt}: {totals}")
        for failure in receipt.reasons:
            self.stdout.write(f"instance {failure['instance']}, tag {failure['tag']}: {failure['reason']}")


def _tags(slugs: list[str]) -> list[int]:
    """Ids of the tags. Raises ValueError naming those that are not there."""
    found = dict(Tag.objects.filter(slug__in=slugs).values_list("slug", "pk"))
    if missing := sorted(set(slugs) - found.keys()):
        meant = nearest(missing[0], Tag.objects.order_by().values_list("slug", flat=True)) if len(missing) == 1 else ""
        raise ValueError(f"There is no such tag: {', '.join(missing)}.{meant}")
    return list(found.values())
