import json
import sys
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet, Sum
from django.utils import timezone

from access.moments import parse_moment
from classification import services
from classification.effect import HEADER, OUTCOMES, Effect, Found, effect_of, rows
from classification.models import ClassificationRule, RuleResult
from classification.rules import RuleError
from console.command import Progress
from console.csv import csv_lines
from engines.statements import printable
from instances.models import Instance
from instances.services import named
from sync.models import SyncSession
from sync.services import finish_open, run_here

#: Accounts listed per outcome of a dry run in text. JSON and CSV list all.
MOST_IN_TEXT = 20


class Command(BaseCommand):
    help = (
        "Apply the classification rules now, in this process, or show their effect with --dry-run. Exits 0 if every "
        "rule was applied, 3 if some were not or not everywhere (instances that were not read recently count), 1 if "
        "none was, 2 for a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--instance", nargs="+", metavar="NAME", help="only these; default: all active instances")
        parser.add_argument("--rule", nargs="+", metavar="CODE", help="only these; default: all active rules")
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="change nothing; show who would gain or lose what",
        )
        parser.add_argument(
            "--as-of",
            metavar="T",
            help="as of a moment or the end of a day, in TAIFISH_TIME_ZONE; changes nothing",
        )
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--json", action="store_true", help="print one JSON document")
        how.add_argument(
            "--csv",
            action="store_true",
            help="print all accounts of a dry run as CSV, each unknown one with the reason",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            instances = named(options["instance"]) if options["instance"] else Instance.objects.active()
            rules = _rules(options["rule"])
            at = parse_moment(options["as_of"] or "")
            if at and at > timezone.now():
                raise ValueError(f"{options['as_of']} is in the future.")
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        if options["dry_run"] or at:
            sys.exit(self._preview(rules, instances, at, options))
        if options["csv"]:
            raise CommandError("Only dry runs are printed as CSV: add --dry-run or --as-of.", returncode=2)
        if idle := [rule.code for rule in rules if not rule.active]:
            raise CommandError(f"Not active, so that only --dry-run applies: {', '.join(idle)}.", returncode=2)
        chosen = rules if options["rule"] else ()
        finish_open("classification")
        session = services.run(instances, trigger=SyncSession.Trigger.COMMAND, rules=chosen, enqueue=False)
        with Progress(self.stderr, session.records.count(), "instances") as progress:
            session = run_here(session, on_end=lambda _record_id: progress.step())
        sys.exit(self._report(session, rules, as_json=options["json"]))

    def _preview(
        self, rules: list[ClassificationRule], instances: QuerySet[Instance], at: datetime | None, how: dict[str, Any]
    ) -> int:
        """Print the effect of the rules. Returns the exit code."""
        effects: list[Effect] = []
        errors: dict[str, str] = {}
        for rule in rules:
            try:
                effects.append(effect_of(rule, instances, at=at))
            except RuleError as error:
                errors[rule.code] = str(error)
        unvisited = effects[0].unvisited if effects else []
        unknown = effects[0].unknown if effects else {}
        if how["json"]:
            document = {
                "as_of": at,
                "rules": [_document(effect) for effect in effects],
                "errors": errors,
                "unvisited": unvisited,
                "unknown": {instance.name: reason for instance, reason in unknown.items()},
            }
            self.stdout.write(json.dumps(document, indent=2, default=str))
        else:
            if how["csv"]:
                every = (row for effect in effects for row in rows(effect, by="classify"))
                for text in csv_lines(HEADER, every):
                    self.stdout.write(text, ending="")
            else:
                for effect in effects:
                    self._show(effect)
            for code, error in errors.items():
                self.stderr.write(f"{code}: {error}")
            for instance, reason in unknown.items():
                note = ": nothing was known of its accounts" if instance.name in unvisited else ""
                self.stderr.write(f"{instance}: {'' if note else 'not known: '}{reason}{note}")
        if not errors and not unknown:
            return 0
        return 3 if effects and len(unvisited) < instances.active().count() else 1

    def _show(self, effect: Effect) -> None:
        counts = ", ".join(f"{effect.counts[outcome]} {outcome}" for outcome in OUTCOMES)
        self.stdout.write(f"{effect.rule}: {effect.examined} examined, {effect.matched} matched; {counts}")
        for outcome, accounts in effect.accounts.items():
            for account, reason in accounts[:MOST_IN_TEXT]:
                words = [outcome, str(account.instance), str(account), reason]
                self.stdout.write(printable(f"  {': '.join(filter(None, words))}"))
            if (more := len(accounts) - MOST_IN_TEXT) > 0:
                self.stdout.write(f"  {outcome}: and {more} more; --csv lists all")

    def _report(self, session: SyncSession, rules: list[ClassificationRule], *, as_json: bool) -> int:
        """Print the result of a run. Returns the exit code."""
        records = list(session.records.select_related("instance").order_by("instance__name"))
        ids = [record.instance_id for record in records]
        results = RuleResult.objects.filter(instance__in=ids, rule__in=rules).order_by()
        counts = results.values("rule__code").annotate(**{name: Sum(name) for name in RuleResult.COUNTS})
        problems = [
            (record.instance.name, text)
            for record in records
            for text in ([f"{record.error_code}: {record.error}"] if record.error else [])
            + [gap["message"] for gap in record.not_read]
        ]
        if as_json:
            applied = [{"rule": row.pop("rule__code"), **row} for row in counts.order_by("rule__code")]
            document = {
                "session": session.pk,
                "status": session.status,
                "rules": applied,
                "problems": [{"instance": name, "problem": text} for name, text in problems],
            }
            self.stdout.write(json.dumps(document, indent=2))
        else:
            for row in counts.order_by("rule__code"):
                words = ", ".join(f"{row[name]} {name}" for name in RuleResult.COUNTS)
                self.stdout.write(f"{row['rule__code']}: {words}")
            for name, text in problems:
                self.stderr.write(f"{name}: {text}")
            self.stdout.write(f"{session}: {session.status}")
        if session.status == SyncSession.Status.COMPLETED:
            return 3 if problems else 0
        return 3 if session.status == SyncSession.Status.PARTIAL else 1


def _rules(codes: list[str] | None) -> list[ClassificationRule]:
    """Return the rules with these codes, by default those that runs apply. Raises ValueError for unknown codes."""
    if not codes:
        return list(ClassificationRule.objects.in_force())
    found = {rule.code: rule for rule in ClassificationRule.objects.present().filter(code__in=codes)}
    if missing := sorted(set(codes) - found.keys()):
        raise ValueError(f"Unknown rule: {', '.join(missing)}.")
    return [found[code] for code in codes]


def _document(effect: Effect) -> dict[str, Any]:
    return {
        "rule": effect.rule.code,
        "examined": effect.examined,
        "matched": effect.matched,
        **{f"n_{outcome}": effect.counts[outcome] for outcome in OUTCOMES},
        **{outcome: [_found(one) for one in accounts] for outcome, accounts in effect.accounts.items()},
    }


def _found(one: Found) -> dict[str, str]:
    words = {"instance": one.account.instance.name, "account": str(one.account)}
    return words | {"reason": one.reason} if one.reason else words
