from __future__ import annotations

from rest_framework import serializers

from .models import COLUMNS, Event


class EventSerializer(serializers.ModelSerializer):
    class Meta:
        model = Event
        fields = COLUMNS
