from __future__ import annotations

from django_celery_beat.models import PeriodicTask
from rest_framework import serializers

from sync.lateness import is_late


class ScheduleSerializer(serializers.ModelSerializer):
    """One schedule of the scheduler."""

    when = serializers.CharField(source="scheduler", read_only=True)
    is_late = serializers.SerializerMethodField(help_text="Its last run is overdue by more than ten minutes.")

    class Meta:
        model = PeriodicTask
        fields = ["id", "name", "task", "description", "when", "enabled", "last_run_at", "total_run_count", "is_late"]

    def get_is_late(self, task: PeriodicTask) -> bool:
        return task.enabled and is_late(task)
