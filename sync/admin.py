"""The pages of sessions, visits and their health."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.paginator import Page, Paginator
from django.db.models import Case, Exists, OuterRef, Q, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from console.buttons import Button, InspectOnlyAdmin
from console.columns import Column, text_of
from console.display import ago, badge, duration
from console.list_filters import ParameterFilter, RelatedFilter
from console.visibility import shown_to

from . import services
from .filters import SyncRecordFilters, SyncSessionFilters, VisitHealthFilters, kinds
from .models import SyncRecord, SyncSession, VisitHealth, failing_first
from .pages import RUN, PausedFilter, record_context, resume, session_page, summary

RECORDS_PER_PAGE = 200

KIND = Column("kind", show=gettext)
SESSION = Column("session_id", show="#{}".format)
STATUS = Column("status", tone=str, ordering=failing_first("status"))
TOOK = Column("took", _("duration"), ordering=None)
ERROR = Column("error", _("error"), ordering=None)
LAST_ERROR = Column("error", _("last error"), ordering=None)


def page_of(request: HttpRequest, rows: QuerySet, size: int) -> Page:
    return Paginator(rows, size).get_page(request.GET.get("page"))


def kind_label(kind: str) -> str:
    return dict(kinds()).get(kind, kind)


class KindFilter(ParameterFilter):
    title = _("kind")
    parameter_name = "kind"


def newer_visits() -> QuerySet[SyncRecord]:
    """A subquery for queries over records: newer visits of the same kind, which supersede a held one."""
    return SyncRecord.objects.filter(
        Q(held_count__isnull=False) | Q(status__in=SyncRecord.DONE) | Q(confirmed_count__isnull=False),
        instance=OuterRef("instance"),
        kind=OuterRef("kind"),
        pk__gt=OuterRef("pk"),
    )


def is_held(record: SyncRecord) -> bool:
    return SyncRecord.objects.filter(~Exists(newer_visits()), pk=record.pk, held_count__isnull=False).exists()


def confirm_shrink(request: HttpRequest, record: SyncRecord) -> HttpResponse:
    return session_page(services.confirm_shrink(record, request.user))


def retry_failed(request: HttpRequest, session: SyncSession) -> HttpResponse | None:
    again = services.retry_failed(session, request.user)
    if again is None:
        messages.warning(request, gettext("No visit of an active instance failed in this session."))
        return None
    return session_page(again)


def cancel(request: HttpRequest, session: SyncSession) -> None:
    if services.visits_hidden(session, request.user):
        messages.error(request, services.HIDDEN_VISITS)
        return
    count = services.cancel(session)
    messages.success(
        request,
        ngettext(
            "Cancelled: %d pending visit ended. Running visits end after their phase.",
            "Cancelled: %d pending visits ended. Running visits end after their phase.",
            count,
        )
        % count,
    )


@admin.register(SyncSession)
class SyncSessionAdmin(InspectOnlyAdmin):
    change_form_template = "sync/session.html"
    list_display = [
        Column("pk", _("session"), show="#{}".format, ordering="pk"),
        Column("kind", show=kind_label),
        "trigger",
        "requested_by",
        "state",
        "visits",
        "created_at",
        TOOK,
    ]
    list_on_phones = ("kind", "state")
    filter_set = SyncSessionFilters
    list_filter = [KindFilter, "status", "trigger", ("requested_by", RelatedFilter), "created_at"]
    list_select_related = ["requested_by"]
    ordering = ["-pk"]
    buttons = [
        Button(
            "retry",
            _("Retry failed"),
            RUN,
            retry_failed,
            icon="replay",
            shown=lambda session: session.records.filter(status="failed", instance__retired_at=None).exists(),
            main=True,
        ),
        Button(
            "cancel",
            _("Cancel"),
            RUN,
            cancel,
            icon="cancel",
            shown=lambda session: session.is_open and not session.cancel_requested_at,
        ),
    ]

    def get_urls(self) -> list[URLPattern]:
        live = path("<int:object_id>/live/", self.admin_site.admin_view(self.live), name="sync_syncsession_live")
        return [live, *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[SyncSession]:
        return super().get_queryset(request).with_counts(request.user)

    @display(description=_("status"), ordering=failing_first("status"))
    def state(self, session: SyncSession) -> str:
        if session.is_open and session.cancel_requested_at:
            return badge("cancelled", gettext("being cancelled"))
        return badge(session.status, text_of(session.status, SyncSession._meta.get_field("status")))

    @display(description=_("visits"))
    def visits(self, session: SyncSession) -> str:
        counts = [(status, getattr(session, f"n_{status}"), label) for status, label in SyncRecord.Status.choices]
        return format_html(
            '<span class="tf-badges">{}</span>',
            format_html_join(
                "",
                '<span class="tf-badge tf-{}">{} {}</span>',
                [(status, count, label) for status, count, label in counts if count],
            )
            or _("none"),
        )

    def progress(self, request: HttpRequest, pk: int) -> dict[str, Any]:
        """Return the context of the live part of the page of a session."""
        session = get_object_or_404(self.get_queryset(request).select_related("requested_by", "retry_of"), pk=pk)
        context: dict[str, Any] = {
            "session": session,
            "state": self.state(session),
            "kind": kind_label(session.kind),
            "took": duration(session.took),
            "ended": session.n_total - session.n_pending - session.n_running,
            "counts": [
                (status, getattr(session, f"n_{status}"), label)
                for status, label in SyncRecord.Status.choices
                if getattr(session, f"n_{status}")
            ],
            "chosen": request.GET.get("status", ""),
            "session_buttons": self.offered(request, session),
            "retries": list(shown_to(session.retries.order_by("pk"), request.user)),
        }
        if request.user.has_perm("sync.view_syncrecord"):
            rows = shown_to(session.records.select_related("instance"), request.user)
            rows = rows.annotate(is_superseded=Exists(newer_visits()))
            if context["chosen"] in SyncRecord.Status.values:
                rows = rows.filter(status=context["chosen"])
            context["page"] = page_of(request, rows.order_by("instance__name"), RECORDS_PER_PAGE)
            context["records"] = [record_context(row) for row in context["page"]]
            context["may_confirm"] = request.user.has_perm("sync.confirm_shrink")
        return context

    def live(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """The live part alone. The page polls it until the session has ended."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        return HttpResponse(render_to_string("sync/progress.html", self.progress(request, object_id), request))

    def page_context(self, request: HttpRequest, row: SyncSession) -> dict[str, Any]:
        url = reverse("admin:sync_syncsession_live", args=[row.pk])
        live = {"live_url": f"{url}?{request.GET.urlencode()}".rstrip("?"), "buttons": []}
        return self.progress(request, row.pk) | live


@admin.register(SyncRecord)
class SyncRecordAdmin(InspectOnlyAdmin):
    list_display = ["instance", SESSION, KIND, STATUS, "error_code", "what", "started_at", TOOK]
    list_on_phones = ("status", "started_at")
    filter_set = SyncRecordFilters
    list_filter = [KindFilter, "status", "instance", "started_at"]
    list_select_related = ["instance", "session"]
    show_full_result_count = False
    search_fields = ["instance__name", "error_code", "message"]
    ordering = ["-pk"]
    fields = [
        "instance",
        SESSION,
        KIND,
        STATUS,
        ("phase", "attempt", "max_attempts"),
        ("started_at", "finished_at", TOOK),
        "worker",
        "error_code",
        ERROR,
        Column("hint", _("what to do"), ordering=None),
        "what",
        "not_read",
        ("held_count", "confirmed_count"),
    ]
    buttons = [
        Button(
            "confirm",
            _("Confirm that they are really gone"),
            "sync.confirm_shrink",
            confirm_shrink,
            icon="task_alt",
            shown=is_held,
            confirm=lambda record: [
                f"{record.instance}: {record.error}",
                record.hint,
                ngettext(
                    "If you confirm, the instance is visited again, and at most %d disappearance is accepted.",
                    "If you confirm, the instance is visited again, and at most %d disappearances are accepted.",
                    record.held_count,
                )
                % record.held_count,
            ],
            main=True,
        )
    ]

    @display(description=_("what it found"))
    def what(self, record: SyncRecord) -> str:
        return summary(record) or record.error

    @display(description=_("not read"))
    def not_read(self, record: SyncRecord) -> str:
        return format_html_join(
            "",
            "<div>{} {}: {} {}</div>",
            ((gap["scope"], gap["database"], gap["message"], gap["hint"]) for gap in record.not_read),
        )


#: Paused, then failing, then well.
WORST_FIRST = Case(
    When(paused_at__isnull=False, then=Value(0)),
    When(Q(failures__gt=0) | ~Q(error_code=""), then=Value(1)),
    default=Value(2),
)


@admin.register(VisitHealth)
class VisitHealthAdmin(InspectOnlyAdmin):
    list_display = fields = [
        *("instance", KIND, "state", "failures"),
        *("succeeded_at", "failed_at", "error_code", LAST_ERROR),
    ]
    filter_set = VisitHealthFilters
    list_filter = [KindFilter, PausedFilter, "instance"]
    list_select_related = ["instance"]
    search_fields = ["instance__name", "error_code", "message"]
    actions = ["resume"]
    buttons = [
        Button(
            "resume",
            _("Resume"),
            RUN,
            lambda request, health: resume(request, VisitHealth.objects.filter(pk=health.pk)),
            icon="resume",
            shown=lambda health: bool(health.paused_at),
            main=True,
        )
    ]

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(RUN)

    @display(description=_("state"), ordering=WORST_FIRST)
    def state(self, health: VisitHealth) -> str:
        if health.paused_at:
            return format_html("{} {}", badge("paused", gettext("paused")), ago(health.paused_at))
        return badge("failed", gettext("failing")) if health.is_failing else badge("completed", gettext("well"))

    @admin.action(description=_("Resume"), permissions=["run"])
    def resume(self, request: HttpRequest, queryset: QuerySet[VisitHealth]) -> None:
        resume(request, queryset)
