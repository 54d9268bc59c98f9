"""Pages of forecasts."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from console.permissions import needs
from console.units import bytes_label
from instances.models import Instance

from . import reading
from .forecast import Forecast
from .models import SizeLimit
from .reading import Ceiling


@needs("planning.view_sizelimit")
def forecasts_page(request: HttpRequest) -> HttpResponse:
    """Show when everything with a limit will reach it, nearest first."""
    found = reading.forecasts(reading.ceilings(request.user))
    context = {
        **admin.site.each_context(request),
        "title": _("Forecasts"),
        "rows": [forecast_row(*pair) for pair in found],
        "may_add": request.user.has_perm("planning.add_sizelimit"),
        "may_change": request.user.has_perm("planning.change_sizelimit"),
    }
    return TemplateResponse(request, "planning/forecasts.html", context)


MODELS = {
    "last": _("stays as it is"),
    "mean": _("stays around its median"),
    "straight": _("line since the last change"),
    "line": _("line through the last %s days"),
    "damped": _("line that flattens"),
    "drift": _("average growth over %s days"),
    "exponential": _("growth by a percentage, over %s days"),
    "week": _("pattern of a week"),
    "weekday": _("line and pattern of a week"),
    "month": _("pattern of a month"),
}


def model_label(model: str) -> str:
    """Return the label of a model of `forecast.MODELS`."""
    name = model.rstrip("0123456789")
    label = str(MODELS[name])
    return label % model.removeprefix(name) if "%s" in label else label


def forecast_row(ceiling: Ceiling, forecast: Any) -> dict[str, Any]:
    """Return a forecast as template context."""
    row: dict[str, Any] = {"ceiling": ceiling, "limit_label": bytes_label(ceiling.limit), "forecast": forecast}
    if isinstance(forecast, Forecast):
        row |= {
            "size": bytes_label(forecast.size),
            "part": round(100 * forecast.size / ceiling.limit),
            "earliest": forecast.day(forecast.earliest),
            "latest": forecast.day(forecast.latest),
            "sizes": [
                {name: bytes_label(getattr(forecast.ahead[days], name)) for name in ("low", "expected", "high")}
                for days in (30, 90, 365)
            ],
            "model": model_label(forecast.model),
            "error": None if forecast.error is None else bytes_label(round(forecast.error)),
            "is_near": forecast.days is not None and forecast.days <= 30,
        }
    else:
        row["reason"] = forecast.reason
    return row


def forecast_section(request: HttpRequest, instance: Instance) -> SafeString:
    """Render the forecast section of an instance's page."""
    found = reading.forecasts(reading.ceilings(limits=SizeLimit.objects.filter(instance=instance)))
    aggregates = reverse("admin:aggregation_instanceaggregate_changelist")
    context = {
        "rows": [forecast_row(*pair) for pair in found],
        "add": f"{reverse('admin:planning_sizelimit_add')}?instance={instance.pk}"
        if request.user.has_perm("planning.add_sizelimit")
        else None,
        "may_change": request.user.has_perm("planning.change_sizelimit"),
        "aggregates": f"{aggregates}?which=all&instance__id__exact={instance.pk}",
    }
    return SafeString(render_to_string("planning/forecast_of_instance.html", context, request))
