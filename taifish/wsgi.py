"""The WSGI application (gunicorn taifish.wsgi)."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taifish.settings")

from django.conf import settings
from django.core.wsgi import get_wsgi_application

if settings.TAIFISH_EMBEDDED:
    from taifish import embedded

    embedded.hold(settings.TAIFISH_DATA_DIR)

application = get_wsgi_application()
