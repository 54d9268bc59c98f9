"""The admin pages of models of Django, celery-beat and axes, and of API tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from axes.models import AccessAttempt
from celery import current_app
from django import forms
from django.apps import apps
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db import models
from django.db.models import OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Concat
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django_celery_beat import admin as beat
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import (
    UnfoldAdminSelect2MultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from console.buttons import Button, ButtonAdmin, CheckedListAdmin, InspectOnlyAdmin
from console.columns import Column
from console.display import badge, moment, nowrap
from console.recent_login import RecentLoginAdmin, recent_login_needed
from sync.lateness import is_late
from sync.models import SyncSession
from tagging.models import TagLimit

from . import schedules
from .login import TOKENS, release
from .models import ApiToken, Identity, SecondFactorGroup

for model in (User, Group, PeriodicTask, CrontabSchedule, IntervalSchedule, ClockedSchedule, SolarSchedule):
    admin.site.unregister(model)
# Their pages show secrets, or what Taifish does not use.
for model in (Authenticator, EmailAddress, UserSession):
    admin.site.unregister(model)


admin.site.index_title = _("Overview")

#: Our names for models of others, in titles and links. Migrations do not see them.
NAMES = [
    (AccessAttempt, _("locked login"), _("locked logins")),
    (PeriodicTask, _("schedule"), _("schedules")),
    (CrontabSchedule, _("time of day"), _("times of day")),
    (IntervalSchedule, _("interval"), _("intervals")),
    (ClockedSchedule, _("single time"), _("single times")),
    (SolarSchedule, _("time by the sun"), _("times by the sun")),
]
for model, name, names in NAMES:
    model._meta.verbose_name, model._meta.verbose_name_plural = name, names
for label, title in {"axes": _("Logins"), "django_celery_beat": _("Schedules"), "auth": _("Users and groups")}.items():
    apps.get_app_config(label).verbose_name = title


class IdentityInline(TabularInline):
    """The user's identity at the OpenID provider. A superuser may add one by hand."""

    model = Identity


class SecondFactorInline(TabularInline):
    """The user's second factors, without their secrets. A superuser may remove those of a user who has lost them."""

    model = Authenticator
    verbose_name = _("second factor")
    verbose_name_plural = _("second factors")
    fields = readonly_fields = ["type", "created_at", "last_used_at"]
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any) -> bool:
        return False


class TagLimitInline(TabularInline):
    """For superusers only: no permissions on limits exist."""

    model = TagLimit
    fields = autocomplete_fields = ["tag"]
    extra = 0


class LimitedAdmin(CheckedListAdmin):
    """Pages of users and groups: their limits are on the page of a saved row."""

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """A select box with search. Django's pair of boxes is not accessible, and a plain list needs modifier keys."""
        field = super().formfield_for_manytomany(db_field, request, **options)
        field.widget = UnfoldAdminSelect2MultipleWidget(choices=field.choices)
        field.help_text = db_field.help_text
        return field

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[type[TabularInline]]:
        return [TagLimitInline] if obj else []


@admin.register(User)
class UserAdmin(RecentLoginAdmin, DjangoUserAdmin, LimitedAdmin):
    filter_horizontal = ()
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm

    def get_inlines(self, request: HttpRequest, obj: User | None) -> list[type[TabularInline]]:
        identity = [IdentityInline] if obj and settings.TAIFISH_OIDC else []
        factors = [SecondFactorInline] if obj and obj.authenticator_set.exists() else []
        return identity + factors + super().get_inlines(request, obj)

    @method_decorator(recent_login_needed)
    def user_change_password(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().user_change_password(request, *args, **kwargs)


class GroupForm(forms.ModelForm):
    needs_second_factor = forms.BooleanField(
        label=_("Members need a second factor"),
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        help_text=_(
            "Members who log in with a password and have no second factor can open nothing but the page that sets one "
            "up. Those of the OpenID provider are not asked: their second factor is there."
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            needs = SecondFactorGroup.objects.filter(pk=self.instance.pk).exists()
            self.fields["needs_second_factor"].initial = needs


@admin.register(Group)
class GroupAdmin(RecentLoginAdmin, DjangoGroupAdmin, LimitedAdmin):
    filter_horizontal = ()
    form = GroupForm
    fields = ["name", "needs_second_factor", "permissions"]

    def save_model(self, request: HttpRequest, obj: Group, form: GroupForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if form.cleaned_data["needs_second_factor"]:
            SecondFactorGroup.objects.get_or_create(group=obj)
        else:
            SecondFactorGroup.objects.filter(group=obj).delete()


@admin.register(AccessAttempt)
class AccessAttemptAdmin(InspectOnlyAdmin):
    """Failed logins by name and address, and by address. Deleting a row ends the lockout of both."""

    list_display = fields = ["login", "ip_address", "failures_since_start", "is_locked", "attempt_time"]
    search_fields = ["username", "ip_address"]
    ordering = ["-attempt_time"]

    def has_delete_permission(self, request: HttpRequest, obj: AccessAttempt | None = None) -> bool:
        return request.user.has_perm("axes.delete_accessattempt")

    def delete_model(self, request: HttpRequest, obj: AccessAttempt) -> None:
        super().delete_model(request, obj)
        release({obj.ip_address})

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[AccessAttempt]) -> None:
        addresses = set(queryset.values_list("ip_address", flat=True))
        super().delete_queryset(request, queryset)
        release(addresses)

    @display(description=_("user name"), ordering="username")
    def login(self, attempt: AccessAttempt) -> str:
        if attempt.username:
            return attempt.username
        return gettext("any, by token") if attempt.user_agent == TOKENS else gettext("any, by password")

    @display(description=_("locked"), boolean=True)
    def is_locked(self, attempt: AccessAttempt) -> bool:
        over = attempt.attempt_time + settings.AXES_COOLOFF_TIME
        most = settings.AXES_FAILURE_LIMIT if attempt.username else settings.TAIFISH_LOGIN_ADDRESS_TRIES
        return attempt.failures_since_start >= most and over > timezone.now()


@admin.register(ApiToken)
class ApiTokenAdmin(RecentLoginAdmin, ButtonAdmin):
    """The user's tokens; for superusers all tokens. A new token belongs to the user and is shown once."""

    list_display = ["name", "user", "read_only", "created_at", "expires_at", "last_used_at", "last_used_from"]
    list_filter = ["read_only", ("expires_at", admin.EmptyFieldListFilter)]
    list_select_related = ["user"]
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextInputWidget}}
    search_fields = ["name", "user__username"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        return super().get_queryset(request).of(request.user)

    def get_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> list[str]:
        return [*self.list_display, "addresses"] if obj else ["name", "read_only", "addresses", "expires_at"]

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ApiToken, form: forms.ModelForm, change: bool) -> None:
        obj.user = request.user
        obj.secret = obj.draw()
        super().save_model(request, obj, form, change)

    def response_add(self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None) -> HttpResponse:
        """Show the token at once: a redirect would have to store it."""
        context = {
            **self.admin_site.each_context(request),
            "title": _("API token"),
            "token": obj,
            "secret": obj.secret,
            "api": request.build_absolute_uri(reverse("api-root")),
        }
        return TemplateResponse(request, "taifish/token.html", context)


class PeriodicTaskForm(forms.ModelForm):
    task = forms.ChoiceField(
        label=_("task"), choices=[(task, task) for task in sorted(schedules.TASKS)], widget=UnfoldAdminSelectWidget
    )

    def clean(self) -> dict[str, Any]:
        """Set the columns that the form does not show: a schedule with others does not run."""
        for name, value in schedules.PLAIN.items():
            setattr(self.instance, name, value)
        return super().clean() or self.cleaned_data


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(beat.PeriodicTaskAdmin, ButtonAdmin):
    form = PeriodicTaskForm
    fieldsets = [
        (None, {"fields": ["name", "task", "enabled", "description"]}),
        (_("Schedule"), {"fields": ["interval", "crontab", "solar", "clocked", "start_time", "one_off"]}),
        (None, {"fields": ["expire_seconds", "last_run_at"]}),
    ]
    readonly_fields = ["last_run_at"]
    # celery-beat's template adds only an inline script, which is not needed.
    change_form_template = ButtonAdmin.change_form_template
    list_display = [
        # Shipped names are stored in English.
        Column("name", _("name"), show=gettext),
        "enabled",
        "scheduler",
        Column("last_run_at", _("last run")),
        "last_result",
        "next_run",
        Column("total_run_count", _("runs")),
        Column("task", _("task")),
    ]
    list_filter = ["enabled", "task"]
    list_select_related = ["crontab", "interval", "solar", "clocked"]
    ordering = ["name"]
    date_hierarchy = None

    def get_buttons(self, request: HttpRequest) -> list[Button]:
        def run(request: HttpRequest, task: PeriodicTask) -> None:
            self.run_tasks(request, PeriodicTask.objects.filter(pk=task.pk))

        return [Button("run", _("Run now"), "django_celery_beat.change_periodictask", run, main=True)]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [*super().get_list_display(request), *([run_button] if self.has_change_permission(request) else [])]

    def get_queryset(self, request: HttpRequest) -> QuerySet[PeriodicTask]:
        """With the last session that each started; those of other schedules leave none."""
        sessions = SyncSession.objects.filter(slot__startswith=Concat(OuterRef("name"), Value(" after ")))
        last = sessions.order_by("-pk")
        return (
            super()
            .get_queryset(request)
            .annotate(last_session=Subquery(last.values("pk")[:1]), last_status=Subquery(last.values("status")[:1]))
        )

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """celery-beat's actions, which run, enable and disable tasks, check no permission."""
        return super().get_actions(request) if self.has_change_permission(request) else {}

    @admin.action(description=_("Run now"))
    def run_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        if others := ", ".join(queryset.exclude(schedules.runnable()).values_list("name", flat=True)):
            text = gettext("Not run, because they have another task or arguments: %s. Save each again.") % others
            self.message_user(request, text, messages.ERROR)
        current_app.loader.import_default_modules()
        for task in queryset.filter(schedules.runnable()):
            current_app.tasks[task.task].apply_async()
            self.message_user(request, gettext("“%s” was sent to the workers.") % gettext(task.name), messages.SUCCESS)

    @display(description=_("last result"))
    def last_result(self, task: PeriodicTask) -> SafeString | str:
        if task.last_session is None:
            return "–"
        url = reverse("admin:sync_syncsession_change", args=[task.last_session])
        status = badge(task.last_status, SyncSession.Status(task.last_status).label)
        return format_html('<a href="{}">{}</a>', url, status)

    @display(description=_("next run"))
    def next_run(self, task: PeriodicTask) -> SafeString | str:
        at = schedules.next_run(task)
        late = badge("failed", gettext("late")) if at and is_late(task) else ""
        return format_html("{} {}", nowrap(moment(at)), late)

    @display(description=_("when"))
    def scheduler(self, task: PeriodicTask) -> str:
        """A daily or hourly time in words; any other schedule as celery-beat writes it."""
        when = task.scheduler
        daily = isinstance(when, CrontabSchedule) and {when.day_of_week, when.day_of_month, when.month_of_year} == {"*"}
        if not daily or not when.minute.isdecimal():
            return str(when)
        at = {"minute": when.minute.zfill(2), "hour": when.hour.zfill(2), "zone": when.timezone}
        if when.hour.isdecimal():
            return gettext("every day at %(hour)s:%(minute)s, %(zone)s") % at
        return gettext("every hour at minute %(minute)s") % at if when.hour == "*" else str(when)


@display(description="")
def run_button(task: PeriodicTask) -> SafeString:
    label = gettext("Run now")
    return format_html(
        '<button type="submit" form="taifish-post" class="tf-icon-button" formaction="{}" title="{}" '
        'aria-label="{}: {}"><span class="material-symbols-outlined" aria-hidden="true">play_arrow</span></button>',
        reverse("admin:django_celery_beat_periodictask_do", args=[task.pk, "run"]),
        label,
        label,
        gettext(task.name),
    )


class TaskInline(beat.PeriodicTaskInline, TabularInline):
    fields = readonly_fields = ("name", "task")


class ScheduleAdmin(CheckedListAdmin):
    inlines = [TaskInline]


class IntervalForm(forms.ModelForm):
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        every, period = cleaned.get("every"), cleaned.get("period")
        if every and period and timedelta(**{period: every}) < timedelta(seconds=schedules.SHORTEST):
            self.add_error("every", gettext("At least %d seconds must lie between two runs.") % schedules.SHORTEST)
        return cleaned


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(ScheduleAdmin):
    form = IntervalForm


admin.site.register(SolarSchedule, ScheduleAdmin)
admin.site.register(ClockedSchedule, ScheduleAdmin)


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(ScheduleAdmin):
    list_display = beat.CrontabScheduleAdmin.list_display
    fields = beat.CrontabScheduleAdmin.fields
    readonly_fields = beat.CrontabScheduleAdmin.readonly_fields
