from __future__ import annotations

from api.viewsets import ReadViewSet

from .filters import EventFilters
from .models import Event
from .serializers import EventSerializer


class EventViewSet(ReadViewSet):
    """The audit trail, newest first: changes of configuration with old and new values, logins, use of tokens, exports
    and decisions."""

    queryset = Event.objects.all()
    serializer_class = EventSerializer
    filterset_class = EventFilters
    search_fields = ["user_name", "object"]
    ordering_fields = ["id"]
