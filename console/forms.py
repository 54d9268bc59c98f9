"""Fields of forms."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from .units import parsed_bytes


class SizeField(forms.CharField):
    """A number of bytes, entered as "500 GiB" or as a number."""

    widget = UnfoldAdminTextInputWidget

    def to_python(self, value: Any) -> int | None:
        text = super().to_python(value)
        if not text:
            return None
        try:
            return parsed_bytes(text) if text.strip("0") else 0
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error


class SecretField(forms.CharField):
    """A secret that is stored and never shown. Left empty, it keeps the stored one."""

    def __init__(self, **options: Any) -> None:
        widget = UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"})
        super().__init__(required=False, widget=widget, **{"strip": False, **options})

    def say_stored(self, stored: str) -> None:
        self.help_text = (
            gettext("One is stored. Leave this empty to keep it.") if stored else gettext("None is stored.")
        )
