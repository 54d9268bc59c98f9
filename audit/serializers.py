from __future__ import annotations

from rest_framework import serializers

from .models import Event

#: The columns of the trail, in API, CSV, command and forwarded lines.
COLUMNS = [
    "id",
    "at",
    "kind",
    "door",
    "user_id",
    "user_name",
    "address",
    "request",
    "command",
    "model",
    "object_id",
    "object",
    "instance_id",
    "before",
    "after",
]


class EventSerializer(serializers.ModelSerializer):
    class Meta:
        model = Event
        fields = COLUMNS
