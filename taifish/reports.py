"""Hides secrets in Django's error reports, such as debug pages, and shortens what the log says of refused requests."""

import logging
import re
from typing import Any

from django.views.debug import SafeExceptionReporterFilter


class SecretsFilter(SafeExceptionReporterFilter):
    """Django hides settings by name; this also hides the passwords inside the URLs of store and broker."""

    def cleanse_setting(self, key: str, value: Any) -> Any:
        cleansed = super().cleanse_setting(key, value)
        if isinstance(cleansed, str):
            # str(), because lazy settings are strings to isinstance() only.
            return re.sub(r"://\S*@", f"://{self.cleansed_substitute}@", str(cleansed))
        return cleansed


class RefusalsInOneLine(logging.Filter):
    """Django logs a traceback when a view refuses a request; the line with the address says as much."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == "django.request" and getattr(record, "status_code", 500) < 500:
            record.exc_info = record.exc_text = None
        return True
