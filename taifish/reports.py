"""Hides secrets in Django's error reports, such as debug pages."""

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
