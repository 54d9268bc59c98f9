"""List filters for rows of instances."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from console.list_filters import ParameterFilter


class EngineFilter(ParameterFilter):
    title = _("engine")
    parameter_name = "engine"
