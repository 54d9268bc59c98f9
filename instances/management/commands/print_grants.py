from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from engines import revocation as remedies
from engines.engine import Engine
from engines.facts import DEFAULT_LEVEL, LEVELS, AccountKey
from engines.registry import ENGINES
from engines.statements import is_printable
from instances.models import Instance
from instances.services import examine, named


def products() -> dict[str, tuple[Engine, str]]:
    """Argument of the command → engine and product."""
    return {name: (engine, product) for engine in ENGINES.values() for name, product in engine.products.items()}


class Command(BaseCommand):
    help = (
        "Print the SQL that creates the collection account with the minimal rights for visits. Replace … by a password "
        "and run it as an administrator of the instance."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("engine", metavar="ENGINE", choices=products(), help=", ".join(products()))
        parser.add_argument(
            "--level", choices=LEVELS, help=f"read depth (default: that of --for, else {DEFAULT_LEVEL})"
        )
        parser.add_argument("--hash-blind", action="store_true", help="deny the account password hashes")
        with_hosts = ", ".join(engine.label for engine in ENGINES.values() if engine.has_hosts)
        account = parser.add_mutually_exclusive_group()
        account.add_argument("--account", default="taifish", help=f"its name; for {with_hosts} also NAME@HOST")
        account.add_argument(
            "--for", dest="instance", metavar="INSTANCE", help="the account and version of this instance"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        engine, product = products()[options["engine"]]
        instance = self._instance(options["instance"], engine) if options["instance"] else None
        hash_blind, version = options["hash_blind"], ""
        level = options["level"] or DEFAULT_LEVEL
        account = _account(engine, options["account"])
        if instance:
            level = options["level"] or instance.level
            account = (instance.credential.username, account[1])
            product, version = instance.product or product, instance.version
        if not is_printable("".join(account)):
            raise CommandError("The account name contains control characters. Choose another one.", returncode=2)
        self.stdout.write(_comment(f"{product} {version or '(newest)'}, read depth {level}"))
        for statement in engine.script(level, account, product, version, hash_blind):
            self.stdout.write(f"{_comment(statement.purpose)}\n{statement.sql}")
        remarks = engine.account.remarks(level, product, hash_blind)
        if instance and engine.grants_per_database and level != "A":
            remarks += self._per_database(instance, level)
        for remark in remarks:
            self.stdout.write(_comment(remark))

    def _per_database(self, instance: Instance, level: str) -> list[str]:
        """Print the SQL that databases of this instance need. Returns sentences about it."""
        found = examine(instance, level)
        if not found.connection.ok:
            self.stderr.write(f"{found.connection.code}: {found.connection.message}")
            return [f"Cannot check which databases of {instance} need more: {found.connection.code}"]
        lacking = [capability for capability in found.capabilities if capability.database and not capability.works]
        offered = [capability for capability in lacking if capability.missing]
        for capability in offered:
            self.stdout.write(remedies.inside(instance.engine, capability.missing, capability.database))
        remarks = [f"Databases of {instance} that need more now: {len(lacking)}."]
        if len(offered) < len(lacking):
            remarks.append(f"No SQL is offered for {len(lacking) - len(offered)} of them: see check_instance.")
        return remarks

    def _instance(self, name: str, engine: Engine) -> Instance:
        try:
            instance = named([name]).select_related("credential").get()
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        if instance.engine != engine.name:
            raise CommandError(f"The engine of {instance} is {instance.engine}, not {engine.name}.", returncode=2)
        return instance


def _comment(text: str) -> str:
    return f"-- {' '.join(text.split())}"


def _account(engine: Engine, text: str) -> AccountKey:
    if not engine.has_hosts:
        return text, ""
    name, at, host = text.rpartition("@")
    return (name, host) if at else (text, "%")
