"""The pages of Django's and celery-beat's models in the admin's own clothes."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django_celery_beat import admin as beat
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import BooleanRadioFilter
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from instances.buttons import ButtonAdmin

for model in (User, Group, PeriodicTask, CrontabSchedule, IntervalSchedule, ClockedSchedule, SolarSchedule):
    admin.site.unregister(model)


admin.site.index_title = _("Overview")


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    pass


class TaskSelect(UnfoldAdminSelectWidget, beat.TaskSelectWidget):
    """The registered tasks, as celery-beat lists them."""


class PeriodicTaskForm(beat.PeriodicTaskForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "regtask" in self.fields:
            self.fields["regtask"].widget = TaskSelect()
            self.fields["task"].widget = UnfoldAdminTextInputWidget()


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(beat.PeriodicTaskAdmin, ButtonAdmin):
    form = PeriodicTaskForm
    # Not celery-beat's: its inline script does nothing that the read-only translation does not.
    change_form_template = ButtonAdmin.change_form_template
    list_display = ["name", "enabled", "task", "scheduler", "last_run_at", "total_run_count"]
    list_filter = [("enabled", BooleanRadioFilter), "task"]
    list_filter_submit = True
    date_hierarchy = None

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """celery-beat's own actions, which run and switch tasks, ask for no permission."""
        return super().get_actions(request) if self.has_change_permission(request) else {}

    @display(description=_("when"))
    def scheduler(self, task: PeriodicTask) -> str:
        return str(task.scheduler)


class TaskInline(beat.PeriodicTaskInline, TabularInline):
    fields = readonly_fields = ("name", "task")


class ScheduleAdmin(ModelAdmin):
    inlines = [TaskInline]


admin.site.register(IntervalSchedule, ScheduleAdmin)
admin.site.register(SolarSchedule, ScheduleAdmin)
admin.site.register(ClockedSchedule, ScheduleAdmin)


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(ScheduleAdmin):
    list_display = beat.CrontabScheduleAdmin.list_display
    fields = beat.CrontabScheduleAdmin.fields
    readonly_fields = beat.CrontabScheduleAdmin.readonly_fields
