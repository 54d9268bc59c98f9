"""The bell: how many alerts a user has not read."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse

from console.permissions import needs

from .models import Alert


@needs("alerts.view_alert")
def unread_page(request: HttpRequest) -> JsonResponse:
    """Return the number of unread alerts, for the bell of every page."""
    return JsonResponse({"unread": Alert.objects.unread(request.user).count()})
