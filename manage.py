#!/usr/bin/env python
"""Taifish's command line."""

import os
import sys

#: Commands that never touch the store, and so do not wake the embedded one.
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


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taifish.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from taifish.embedded import EmbeddedError

    try:
        from django.conf import settings

        if settings.TAIFISH_EMBEDDED and len(sys.argv) > 1 and sys.argv[1] not in STORELESS:
            from taifish import embedded

            embedded.hold(settings.TAIFISH_DATA_DIR)
        execute_from_command_line(sys.argv)
    except (EmbeddedError, ImproperlyConfigured) as error:
        sys.exit(f"taifish: {error}")


if __name__ == "__main__":
    main()
