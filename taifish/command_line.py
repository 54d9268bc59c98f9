"""The help of `manage.py`: Taifish's commands with a sentence each, then those of Django and of other packages."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.management import ManagementUtility, get_commands, load_command_class

#: Sections of the help, in this order: app → title.
SECTIONS = {
    "taifish": "The installation",
    "instances": "Instances",
    "tagging": "Tags",
    "sync": "Visits",
    "accounts": "Accounts",
    "access": "Who may do what",
    "capacity": "Sizes",
    "aggregation": "Periods of sizes",
    "planning": "Limits and forecasts",
    "classification": "Classification",
    "owners": "Owners and end dates",
    "drift": "Drift",
    "duties": "Segregation of duties",
    "reviews": "Reviews",
    "alerts": "Alerts",
    "audit": "Audit trail",
}


class CommandLine(ManagementUtility):
    def main_help_text(self, commands_only: bool = False) -> str:
        if commands_only:
            return super().main_help_text(commands_only)
        found, others = ours()
        width = max(len(name) for commands in found.values() for name in commands)
        lines = ["", f"Type '{self.prog_name} help <command>' for the options of a command.", ""]
        for app, commands in found.items():
            lines.append(SECTIONS.get(app, app))
            lines += [f"  {name:<{width}}  {summary}" for name, summary in commands.items()]
            lines.append("")
        return "\n".join([*lines, "Of Django and other packages", f"  {', '.join(others)}"])


def ours() -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return app → command → summary of Taifish's commands, and the names of all others."""
    root = Path(settings.BASE_DIR)
    labels = [config.label for config in apps.get_app_configs() if Path(config.path).parent == root]
    found: dict[str, dict[str, str]] = defaultdict(dict)
    others = []
    for name, app in sorted(get_commands().items()):
        if app in labels:
            found[app][name] = first_clause(load_command_class(app, name).help)
        else:
            others.append(name)
    order = [*SECTIONS, *labels]
    return {app: found[app] for app in sorted(found, key=order.index)}, others


def first_clause(text: str) -> str:
    return re.split(r"[.:;](?:\s|$)", text.strip(), maxsplit=1)[0]


def execute(argv: list[str]) -> None:
    CommandLine(argv).execute()
