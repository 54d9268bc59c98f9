"""What Django tells of itself in reports of failures: the mails of TAIFISH_ALERT_EMAILS, and debug pages."""

import re
from typing import Any

from django.views.debug import SafeExceptionReporterFilter


class SecretsFilter(SafeExceptionReporterFilter):
    """Django hides settings whose names speak of secrets; the addresses of store and broker hold theirs inside."""

    def cleanse_setting(self, key: str, value: Any) -> Any:
        cleansed = super().cleanse_setting(key, value)
        if isinstance(cleansed, str):
            # Lazy settings pass for strings, and are none.
            return re.sub(r"://\S*@", f"://{self.cleansed_substitute}@", str(cleansed))
        return cleansed
