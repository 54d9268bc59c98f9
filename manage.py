#!/usr/bin/env python
"""Taifish's command line."""

import os
import sys

#: Commands that never touch the store, and so do not start the embedded one.
STORELESS = {
    "help",
    "--help",
    "-h",
    "version",
    "--version",
    "check",
    "diffsettings",
    "spectacular",
    "makemessages",
}


def touches_store(words: list[str]) -> bool:
    """True also for `check --database`, which connects to the store."""
    return bool(words) and (words[0] not in STORELESS or any(word.startswith("--database") for word in words))


def run(argv: list[str]) -> None:
    """Run a command as the origin of what it changes, and write an event if it is one of note."""
    import django

    django.setup()
    from taifish import trail
    from taifish.command_line import execute

    trail.start_command(argv[1:])
    try:
        execute(argv)
    except SystemExit as left:
        # 3: done, but not known everywhere.
        if left.code in (None, 0, 3):
            trail.end_command(argv[1:])
        raise
    else:
        trail.end_command(argv[1:])


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taifish.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.db import OperationalError

    from taifish.command_line import execute
    from taifish.embedded import EmbeddedError

    try:
        from django.conf import settings

        if settings.TAIFISH_EMBEDDED and touches_store(sys.argv[1:]):
            from taifish import embedded

            embedded.become_owner(settings.TAIFISH_DATA_DIR)
            embedded.hold(settings.TAIFISH_DATA_DIR)
        if touches_store(sys.argv[1:]):
            run(sys.argv)
        else:
            execute(sys.argv)
    except (EmbeddedError, ImproperlyConfigured) as error:
        sys.exit(f"taifish: {error}")
    except OperationalError as error:
        from django.db import connection

        from taifish import embedded
        from work.store import explained, is_full

        # Without a connection the store does not answer; with one the traceback says more.
        if connection.connection is not None and connection.is_usable() and not is_full(error):
            raise
        home = embedded.store(settings.TAIFISH_DATA_DIR).home if settings.TAIFISH_EMBEDDED else None
        sys.exit(f"taifish: {explained(error, home)}")


if __name__ == "__main__":
    main()
