"""The home page, and the pages of Django's and celery-beat's models in the admin's own clothes."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Count, Exists, F, OuterRef, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django_celery_beat import admin as beat
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import BooleanRadioFilter
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts.models import AccountChange
from accounts.pages import events
from instances.buttons import ButtonAdmin
from instances.models import Instance
from sync.models import SyncSession, VisitHealth
from sync.pages import with_last_visit

for model in (User, Group, PeriodicTask, CrontabSchedule, IntervalSchedule, ClockedSchedule, SolarSchedule):
    admin.site.unregister(model)


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


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the home page shows, each part for those who may see its list. A fixed number of queries."""
    may = request.user.has_perm
    context |= {"figures": [], "running": None, "latest": None, "oldest": None}
    if may("instances.view_instance"):
        context["figures"] = _figures(may)
    if may("sync.view_syncsession"):
        running = SyncSession.objects.filter(status="running").with_counts().order_by("-pk")[:5]
        context["running"] = [
            {"session": session, "ended": session.n_total - session.n_pending - session.n_running}
            for session in running
        ]
    if may("accounts.view_accountchange"):
        changes = AccountChange.objects.filter(baseline=False).select_related("account__instance")[:8]
        context["latest"] = [{"change": change, "events": events(change)} for change in changes]
    if may("sync.view_visithealth"):
        rows = VisitHealth.objects.filter(instance__retired_at=None).select_related("instance")
        context["oldest"] = rows.order_by(F("succeeded_at").asc(nulls_first=True), "instance__name")[:8]
    return context


def _figures(may: Any) -> list[dict[str, Any]]:
    url = reverse("admin:instances_instance_changelist")
    paused = Exists(VisitHealth.objects.paused().filter(instance=OuterRef("pk")))
    instances = with_last_visit(Instance.objects.active(), "accounts").annotate(is_paused=paused)
    counts = instances.aggregate(
        active=Count("pk"),
        paused=Count("pk", filter=Q(is_paused=True)),
        never=Count("pk", filter=Q(accounts_status=None)),
        failed=Count("pk", filter=Q(accounts_status="failed")),
    )
    figures = [{"label": _("Active instances"), "count": counts["active"], "url": url}]
    if may("sync.view_syncrecord"):
        figures += [
            {
                "label": _("Last account visit failed"),
                "count": counts["failed"],
                "url": f"{url}?last_accounts=failed",
                "alarm": True,
            },
            {"label": _("Never visited"), "count": counts["never"], "url": f"{url}?last_accounts=never", "alarm": True},
        ]
    if may("sync.view_visithealth"):
        figures.append({"label": _("Paused"), "count": counts["paused"], "url": f"{url}?paused=1", "alarm": True})
    return figures
