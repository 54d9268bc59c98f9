"""The admin pages of instances and credentials.

Apps above extend the pages of instances through ADDITIONS, in their `AppConfig.add_pages`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.options import InlineModelAdmin
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Count, QuerySet, TextField
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldBooleanSwitchWidget

from console.buttons import Button, ButtonAdmin
from console.columns import Column, list_url
from console.forms import SecretField
from console.list_filters import LeavingFilter, ParameterFilter
from console.recent_login import RecentLoginAdmin
from console.visibility import shown_to, within
from engines.certificates import spelled
from engines.registry import ENGINES, how_tested

from . import bulk_pages, services
from .destinations import REACH, check_password, moved
from .exchange import ImportExportPages
from .filters import InstanceFilters
from .models import Credential, Instance
from .sources import KINDS
from .timeline import latest, timeline_page


@dataclass(frozen=True)
class Figure:
    """A number at the top of an instance's page. `detail` qualifies it; `url` lists what it counts."""

    label: Any
    value: Any
    url: str = ""
    detail: Any = ""
    is_alarm: bool = False


@dataclass(frozen=True)
class Part:
    """What an app shows on the page of an instance: `state` and `figures` at the top, and a `section` below."""

    section: SafeString | str = ""
    state: SafeString | str = ""
    figures: Sequence[Figure] = ()


@dataclass(frozen=True)
class Addition:
    """An app's extension of the pages of instances, for users with `permission`.

    `annotate` is applied to the list's queryset for `columns` (functions of an instance) and `filters`; `actions` are
    admin actions; `part(request, instance)` is what the instance's page shows. Buttons check their own permission.
    The pages of accounts take these too: annotation, columns, filters, actions and the section of a part.
    """

    permission: str
    annotate: Callable[[QuerySet], QuerySet] = lambda rows: rows
    columns: Sequence[Callable[[Any], Any]] = ()
    filters: Sequence[Any] = ()
    actions: Sequence[Callable[..., Any]] = ()
    buttons: Sequence[Button] = ()
    inlines: Sequence[type[InlineModelAdmin]] = ()
    part: Callable[[HttpRequest, Any], Part] | None = None


ADDITIONS: list[Addition] = []

#: Instances on a page of a credential.
ROWS_PER_PAGE = 200

NOTES = {TextField: {"widget": UnfoldAdminTextareaWidget(attrs={"rows": 2})}}


class StateFilter(LeavingFilter):
    title = _("state")
    parameter_name = "state"
    default = "active"
    options = [("active", _("Active")), ("retired", _("Retired")), ("all", _("Active and retired"))]
    parameter = "retired"
    values = {"active": "false", "retired": "true", "all": None}


class CertificateFilter(ParameterFilter):
    title = _("certificate")
    parameter_name = "certificate"
    options = [("to_compare", _("to be compared"))]
    parameter = "to_compare"
    values = {"to_compare": "true"}


def test_connection(request: HttpRequest, instance: Instance) -> None:
    check = services.check_connection(instance)
    if check.ok:
        answer = gettext("Connected to %(product)s %(version)s in %(seconds).2f s with %(driver)s.") % vars(check)
        messages.success(request, answer)
        if check.certificate and not instance.certificate:
            pinned = gettext("Certificate pinned: SHA-256 %s. Compare it with the server's, and accept it.")
            messages.info(request, pinned % spelled(check.certificate))
    else:
        messages.error(request, str(check))


def examine(request: HttpRequest, instance: Instance) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": gettext("Check of %s") % instance,
        "instance": instance,
        "found": services.examine(instance),
    }
    return TemplateResponse(request, "instances/diagnosis.html", context)


def about_accepting(instances: Sequence[Instance]) -> list[str]:
    """The sentences on the confirmation page for accepting certificates."""
    return [
        gettext(
            "Compare each fingerprint with the one on the server: openssl x509 -noout -fingerprint -sha256 -in <file>. "
            "The owner of the key of an accepted certificate can obtain the stored password."
        ),
        *(f"{instance}: {spelled(instance.certificate_to_compare)}" for instance in instances),
    ]


def about_retiring(instances: Sequence[Instance]) -> list[str]:
    """The sentences on the confirmation page for retiring instances."""
    names = ", ".join(instance.name for instance in instances)
    days = settings.TAIFISH_KEEP_RETIRED_DAYS
    return [
        gettext("Instances to retire: %s.") % names,
        ngettext(
            "Retired instances are not visited. After %d day they are deleted with all their data; until then they "
            "can be restored.",
            "Retired instances are not visited. After %d days they are deleted with all their data; until then they "
            "can be restored.",
            days,
        )
        % days,
    ]


class InstanceForm(forms.ModelForm):
    credential_password = SecretField(
        label=_("Password of the credential"),
        help_text=_("Only to add an instance or change where it connects, if the credential lists no hosts."),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if "credential_password" in self.fields and cleaned.get("credential"):
            before = Instance.objects.filter(pk=self.instance.pk).first()
            after = Instance(**{name: cleaned.get(name, getattr(self.instance, name, None)) for name in REACH})
            # As it is stored: without blanks around the host and colons in the fingerprint.
            with suppress(ValidationError):
                after.clean()
            if moved(before, after):
                try:
                    check_password(after.credential, cleaned.get("credential_password", ""))
                except ValidationError as error:
                    self.add_error("credential_password", error)
        return cleaned


@admin.register(Instance)
class InstanceAdmin(ImportExportPages, ButtonAdmin):
    form = InstanceForm
    object_template = "instances/instance.html"
    change_list_template = "taifish/change_list.html"
    import_export_change_list_template = "taifish/instance_list.html"
    list_on_phones = ("last_accounts", "last_capacity")
    filter_set = InstanceFilters
    search_fields = ["name", "host", "note"]
    list_display = ["name_and_state", "server", "address"]
    list_filter = [StateFilter, "engine", "credential", "proof", CertificateFilter]
    list_select_related = ["credential"]
    list_fullwidth = True
    actions = ["edit_many", "tighten", "accept_certificates", "retire", "restore"]
    formfield_overrides = NOTES
    fieldsets = [
        (None, {"fields": ["name", "note"]}),
        (
            _("Connection"),
            {
                "fields": [
                    "engine",
                    ("host", "port"),
                    "database",
                    ("credential", "credential_password"),
                    "server",
                    "tested",
                ]
            },
        ),
        (
            _("Server identity"),
            {
                "fields": [
                    ("tls_mode", "tls_ca"),
                    "proof",
                    ("certificate", "certificate_compared"),
                    "proved_by",
                    "shown",
                ]
            },
        ),
        (_("Read depth and limits"), {"fields": ["level", ("connect_timeout", "statement_timeout"), "budget"]}),
    ]
    readonly_fields = ["server", "tested", "proved_by", "shown"]
    shown_facts = [
        *("server", "tested", "address", "database", "credential", "level", "tls_mode", "tls_ca", "proof"),
        *("proved_by", "certificate", "certificate_compared", "shown", "connect_timeout", "statement_timeout"),
        *("budget", "created_at", "updated_at", "note"),
    ]

    # Columns

    @display(description=_("name"), ordering="name")
    def name_and_state(self, instance: Instance) -> str:
        if not instance.is_retired:
            return instance.name
        return format_html('{} <span class="tf-badge">{}</span>', instance.name, _("retired"))

    name_and_state.in_files = ["name", "retired_at"]

    @display(description=_("server"), ordering="engine")
    def server(self, instance: Instance) -> str:
        if not instance.product:
            return format_html('{}<div class="tf-quiet">{}</div>', instance.get_engine_display(), _("not reached yet"))
        return f"{instance.product} {instance.version}"

    server.in_files = ["engine", "product", "version"]

    @display(description=_("Taifish is tested on"))
    def tested(self, instance: Instance) -> str:
        if instance.engine in ENGINES and not ENGINES[instance.engine].tested:
            return gettext("emulated catalogues only, not on a real server")
        if not instance.product:
            return "–"
        match how_tested(instance.product, instance.version):
            case "real":
                return gettext("real servers of this version")
            case "emulated":
                return gettext("emulated catalogues of this version, not on a real server")
        return gettext("other versions, not on this one")

    @display(description=_("address"), ordering="host")
    def address(self, instance: Instance) -> str:
        host = f"[{instance.host}]" if ":" in instance.host else instance.host
        port = instance.port or (ENGINES[instance.engine].port if instance.engine in ENGINES else "")
        # Long names wrap at dots only.
        parts = format_html_join(SafeString(".<wbr>"), "{}", ((part,) for part in host.split(".")))
        where = format_html('<span class="tf-mono tf-address">{}:{}</span>', parts, port)
        marks = []
        if instance.proof == Instance.Proof.AS_BEFORE and not instance.proved_by:
            marks.append(("partial", _("as before")))
        if instance.seen_certificate:
            marks.append(("failed", _("certificate refused")))
        elif instance.certificate_to_compare:
            marks.append(("", _("not compared")))
        badges = format_html_join("", '<span class="tf-badge tf-{}">{}</span>', marks)
        return format_html('{}<div class="tf-badges">{}</div>', where, badges) if marks else where

    address.in_files = ["host", "port", "proof", Column("proved_by", _("proved by"))]

    @display(description=_("proved by"))
    def proved_by(self, instance: Instance) -> str:
        return instance.proved_by or gettext("nothing yet")

    @display(description=_("certificate to be compared"))
    def shown(self, instance: Instance) -> str:
        fingerprint = instance.certificate_to_compare
        if not fingerprint:
            return "–"
        what = (
            gettext("refused at %s") % localtime(instance.seen_certificate_at).strftime("%Y-%m-%d %H:%M")
            if instance.seen_certificate
            else gettext("pinned at the first connection")
        )
        return format_html(
            '<span class="tf-mono tf-wrap">{}</span><div class="tf-quiet">{}</div>', spelled(fingerprint), what
        )

    # Additions of apps above

    def additions(self, request: HttpRequest) -> list[Addition]:
        return [addition for addition in ADDITIONS if request.user.has_perm(addition.permission)]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Instance]:
        rows = super().get_queryset(request)
        for addition in self.additions(request):
            rows = addition.annotate(rows)
        return rows

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        own = super().get_list_display(request)
        return own + [column for addition in self.additions(request) for column in addition.columns]

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        own = super().get_list_filter(request)
        return own + [item for addition in self.additions(request) for item in addition.filters]

    def get_actions(self, request: HttpRequest) -> dict[str, tuple[Any, str, str]]:
        added = [action for addition in self.additions(request) for action in addition.actions]
        return {name: (run, name, label) for run, name, label in map(self.get_action, added)} | super().get_actions(
            request
        )

    def get_buttons(self, request: HttpRequest) -> list[Button]:
        return [
            *(button for addition in ADDITIONS for button in addition.buttons),
            Button(
                "test",
                _("Test connection"),
                "instances.connect_instance",
                test_connection,
                icon="electrical_services",
            ),
            Button("check", _("Check"), "instances.connect_instance", examine, icon="stethoscope"),
            Button(
                "accept",
                _("Accept certificate"),
                "instances.use_credential",
                lambda request, instance: self.accept(request, [instance], instance),
                icon="verified_user",
                shown=lambda instance: bool(instance.certificate_to_compare),
            ),
            Button(
                "retire",
                _("Retire"),
                "instances.delete_instance",
                lambda request, instance: self.retire_all(request, [instance]),
                icon="archive",
                shown=lambda instance: not instance.is_retired,
                confirm=lambda instance: about_retiring([instance]),
            ),
            Button(
                "restore",
                _("Restore"),
                "instances.change_instance",
                lambda request, instance: self.restore_all(request, [instance]),
                icon="unarchive",
                shown=lambda instance: instance.is_retired,
            ),
        ]

    def response_post_save_add(self, request: HttpRequest, obj: Instance) -> HttpResponse:
        """Redirect to the instance's page, which has the next steps."""
        if not self.has_view_permission(request, obj):
            return super().response_post_save_add(request, obj)
        text = gettext("Not visited yet. Test the connection, then sync accounts and collect capacity.")
        messages.info(request, text)
        return HttpResponseRedirect(reverse("admin:instances_instance_change", args=[obj.pk]))

    def get_inlines(self, request: HttpRequest, obj: Instance | None) -> list[type[InlineModelAdmin]]:
        return [inline for addition in self.additions(request) for inline in addition.inlines]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(timeline_page)
        return [path("<int:object_id>/timeline/", view, name="instances_instance_timeline"), *super().get_urls()]

    def page_context(self, request: HttpRequest, row: Instance | None) -> dict[str, Any]:
        if row is None:
            return {}
        url = reverse("admin:instances_instance_timeline", args=[row.pk])
        parts = [addition.part(request, row) for addition in self.additions(request) if addition.part]
        return {
            "links": [{"url": url, "icon": "timeline", "label": gettext("Timeline")}],
            "facts": self.facts(request, row, self.shown_facts),
            "parts": parts,
            "figures": [figure for part in parts for figure in part.figures],
            "latest": latest(row, request.user),
            "timeline": url,
        }

    # Permissions

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and request.user.has_perm("instances.use_credential")

    def has_delete_permission(self, request: HttpRequest, obj: Instance | None = None) -> bool:
        """Instances are retired; only the purge deletes."""
        return False

    def has_retire_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("instances.delete_instance")

    def get_fieldsets(self, request: HttpRequest, obj: Instance | None = None) -> list[Any]:
        if self.has_use_permission(request) and (obj is None or self.has_change_permission(request, obj)):
            return self.fieldsets
        both = ("credential", "credential_password")
        return [
            (title, options | {"fields": ["credential" if field == both else field for field in options["fields"]]})
            for title, options in self.fieldsets
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Instance | None = None) -> list[str]:
        if obj is None or request.user.has_perm("instances.use_credential"):
            return self.readonly_fields
        return [*self.readonly_fields, *REACH]

    # Server identity

    def has_use_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("instances.use_credential")

    def accept(
        self, request: HttpRequest, instances: Sequence[Instance], row: Instance | None = None
    ) -> HttpResponse | None:
        """Ask for confirmation, then accept the fingerprints of that page: the server's may have changed meanwhile."""
        if "confirmed" not in request.POST:
            request.POST = request.POST.copy()
            for instance in instances:
                request.POST[f"fingerprint-{instance.pk}"] = instance.certificate_to_compare
            return self.ask(request, gettext("Accept certificate"), about_accepting(instances), row)
        fingerprints = {instance.pk: request.POST.get(f"fingerprint-{instance.pk}", "") for instance in instances}
        accepted = services.accept_certificates(fingerprints)
        for instance in accepted:
            self.log_change(request, instance, f"Certificate accepted: {fingerprints[instance.pk]}.")
        if accepted:
            messages.success(request, gettext("Accepted: %s.") % ", ".join(map(str, accepted)))
        if missed := sorted(str(instance) for instance in instances if instance not in accepted):
            messages.warning(request, gettext("The certificate has changed meanwhile: %s.") % ", ".join(missed))
        return None

    @admin.action(description=_("Accept certificates …"), permissions=["use"])
    def accept_certificates(self, request: HttpRequest, queryset: QuerySet[Instance]) -> HttpResponse | None:
        instances = list(queryset.to_compare())
        if not instances:
            messages.warning(request, gettext("None of the selected instances has a certificate to compare."))
            return None
        return self.accept(request, instances)

    @admin.action(description=_("Tighten: switch to strict if a strict connection works"), permissions=["use"])
    def tighten(self, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
        loose = queryset.active().as_before()
        if loose.count() > services.TIGHTENED_AT_ONCE:
            limit = gettext("At most %d instances at a time. For more, run manage.py tighten_instances --all.")
            messages.error(request, limit % services.TIGHTENED_AT_ONCE)
            return
        tried = services.tighten(loose)
        strict = [instance for instance, check in tried if check.ok]
        for instance in strict:
            self.log_change(request, instance, "Tightened.")
        if strict:
            messages.success(request, gettext("Strict now: %s.") % ", ".join(map(str, strict)))
        for instance, check in tried:
            if not check.ok:
                messages.warning(request, f"{instance}: {check}")
        if not tried:
            messages.warning(request, gettext("None of the selected instances is “as before”."))

    @admin.action(description=_("Edit …"), permissions=["change"])
    def edit_many(self, request: HttpRequest, queryset: QuerySet[Instance]) -> HttpResponse | None:
        return bulk_pages.edit_many(self, request, queryset)

    # Retiring

    def retire_all(self, request: HttpRequest, instances: Sequence[Instance]) -> None:
        for instance in instances:
            instance.retire()
            self.log_change(request, instance, "Retired.")
        names = ", ".join(instance.name for instance in instances)
        messages.success(request, gettext("Retired: %s.") % names)

    def restore_all(self, request: HttpRequest, instances: Sequence[Instance]) -> None:
        for instance in instances:
            instance.restore()
            self.log_change(request, instance, "Restored.")
        names = ", ".join(instance.name for instance in instances)
        messages.success(request, gettext("Restored: %s.") % names)

    @admin.action(description=_("Retire …"), permissions=["retire"])
    def retire(self, request: HttpRequest, queryset: QuerySet[Instance]) -> HttpResponse | None:
        instances = list(queryset.active())
        if not instances:
            messages.warning(request, gettext("None of the selected instances is active."))
            return None
        if "confirmed" in request.POST:
            return self.retire_all(request, instances)
        return self.ask(request, _("Retire"), about_retiring(instances))

    @admin.action(description=_("Restore"), permissions=["change"])
    def restore(self, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
        self.restore_all(request, list(queryset.retired()))


class CredentialForm(forms.ModelForm):
    """A form in which the password can be set but is never shown."""

    password = SecretField(label=_("Password"))
    clear_password = forms.BooleanField(
        label=_("No password"),
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        help_text=_("Delete the stored password: the server trusts this user or requires none."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "username" in self.fields:
            self.fields["username"].help_text = gettext(
                "The collection account on the servers. manage.py print_grants ENGINE prints the SQL that creates it."
            )
        if "password" in self.fields and self.instance.pk:
            self.fields["password"].say_stored(self.instance.token)

    @property
    def is_stored(self) -> bool:
        """Whether the chosen kind stores a password; also for users who may not choose."""
        kind = KINDS.get(self.cleaned_data.get("kind", self.instance.kind))
        return kind is None or kind.is_stored

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.is_stored:
            if cleaned.get("password"):
                self.add_error("password", gettext("A credential of this kind stores no password. Leave this empty."))
            return cleaned
        if cleaned.get("password") and cleaned.get("clear_password"):
            self.add_error("clear_password", gettext("Either enter a password or choose none."))
        keeps = not (cleaned.get("password") or cleaned.get("clear_password"))
        if keeps and self.instance.token and "hosts" in self.changed_data:
            self.add_error("password", gettext("Enter the password again: the allowed hosts changed."))
        new = not self.instance.pk or "kind" in self.changed_data
        if new and not (cleaned.get("password") or cleaned.get("clear_password")):
            self.add_error("password", gettext("Enter the password, or choose “No password”."))
        return cleaned

    def save(self, commit: bool = True) -> Credential:
        if self.cleaned_data.get("password"):
            self.instance.password = self.cleaned_data["password"]
        elif self.cleaned_data.get("clear_password") or not self.is_stored:
            self.instance.password = ""
        return super().save(commit)


@admin.register(Credential)
class CredentialAdmin(RecentLoginAdmin, ButtonAdmin):
    form = CredentialForm
    object_template = "instances/credential.html"
    search_fields = ["name", "username", "note"]
    list_display = [
        "name",
        "username",
        "kind",
        "has_password",
        Column(
            "n_instances",
            _("instances"),
            link=lambda credential: list_url("instances_instance", state="all", credential__id__exact=credential.pk),
        ),
        "updated_at",
    ]
    formfield_overrides = NOTES
    fieldsets = [
        (None, {"fields": ["name", "username", "kind", "password", "clear_password", "reference", "hosts", "note"]})
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Credential]:
        return (
            super()
            .get_queryset(request)
            .annotate(n_instances=Count("instances", filter=within("instances", request.user)))
        )

    def get_fieldsets(self, request: HttpRequest, obj: Credential | None = None) -> list[Any]:
        if obj and not self.has_change_permission(request, obj):
            return [(None, {"fields": ["name", "username", "kind", "has_password", "reference", "hosts", "note"]})]
        return self.fieldsets

    def page_context(self, request: HttpRequest, row: Credential | None) -> dict[str, Any]:
        if row is None:
            return {}
        names = ["name", "username", "kind", "stored", "reference", "hosts", "created_at", "updated_at", "note"]
        context: dict[str, Any] = {"facts": self.facts(request, row, names)}
        if request.user.has_perm("instances.view_instance"):
            instances = shown_to(row.instances.all(), request.user)
            context["page"] = Paginator(instances, ROWS_PER_PAGE).get_page(request.GET.get("page"))
        return context

    @display(description=_("password stored"))
    def stored(self, credential: Credential) -> str:
        return gettext("yes") if credential.token else gettext("no")

    @display(description=_("password stored"), boolean=True)
    def has_password(self, credential: Credential) -> bool:
        return bool(credential.token)
