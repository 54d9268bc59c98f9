from typing import Any

from django.core.management.base import BaseCommand

from taifish import roles


class Command(BaseCommand):
    help = "Create the groups of roles that are missing. Groups that exist are left as people made them."

    def handle(self, *args: Any, **options: Any) -> None:
        created = roles.install()
        self.stdout.write(f"created: {', '.join(created)}" if created else "all roles are there already")
