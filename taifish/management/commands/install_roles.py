from typing import Any

from django.core.management.base import BaseCommand

from taifish import roles


class Command(BaseCommand):
    help = "Create missing groups of roles. Existing groups are not changed."

    def handle(self, *args: Any, **options: Any) -> None:
        created = roles.install()
        self.stdout.write(f"created: {', '.join(created)}" if created else "all roles exist")
