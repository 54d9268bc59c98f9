"""The pages of baselines and of accepted deviations."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.models import Account
from console.buttons import Button, ButtonAdmin, answer_of, ask
from console.columns import Column
from console.files import FORMS, as_file, head, too_many
from console.templatetags.names import visible
from console.visibility import limit_of
from instances.admin import NOTES

from . import rows, services, states
from .align import aligning
from .compare import Drift, drift_of
from .models import AcceptedDeviation, Baseline
from .wording import WHAT

ROWS_PER_PAGE = 200
INPUT = {"class": "tf-input"}
STATES = {"open": _("not accepted"), "accepted": _("accepted")}


class FilterForm(forms.Form):
    instance = forms.ChoiceField(label=_("instance"), required=False, widget=forms.Select(INPUT))
    what = forms.ChoiceField(
        label=_("deviation"), required=False, choices=[("", _("all")), *WHAT.items()], widget=forms.Select(INPUT)
    )
    account = forms.CharField(label=_("account"), required=False, widget=forms.TextInput(INPUT))
    state = forms.ChoiceField(
        label=_("state"), required=False, choices=[("", _("all")), *STATES.items()], widget=forms.Select(INPUT)
    )

    def __init__(self, data: Any, found: Drift) -> None:
        super().__init__(data)
        names = [(str(one.instance.pk), one.instance.name) for one in found.compared]
        self.fields["instance"].choices = [("", _("all")), *names]

    def chosen(self, found: Drift) -> list[tuple[Any, Any, Any]]:
        """Instance, deviation, acceptance of the rows that fit."""
        # A value that is none of the choices chooses nothing.
        words = self.cleaned_data if self.is_valid() else None
        return [
            (one.instance, row, accepted)
            for one in found.compared
            for row, accepted in rows.of_instance(one)
            if words is not None
            and words["instance"] in ("", str(one.instance.pk))
            and words["what"] in ("", row.what)
            and words["account"].lower() in row.label.lower()
            and words["state"] in ("", "accepted" if accepted else "open")
        ]


class AcceptForm(forms.ModelForm):
    everywhere = forms.BooleanField(label=_("On all instances of the baseline"), required=False)

    class Meta:
        model = AcceptedDeviation
        fields = ["reason", "ticket", "ends_on"]
        widgets = {
            "reason": forms.TextInput(INPUT),
            "ticket": forms.TextInput(INPUT),
            "ends_on": forms.DateInput({**INPUT, "type": "date"}),
        }

    def __init__(self, *args: Any, user: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if limit_of(user) is not None:
            del self.fields["everywhere"]


def _keys(request: HttpRequest) -> set[tuple[int, str]]:
    pairs = [text.partition(":") for text in request.POST.getlist("chosen")]
    return {(int(instance), key) for instance, _colon, key in pairs if instance.isdecimal() and len(instance) < 19}


def save_now(request: HttpRequest, baseline: Baseline) -> None:
    try:
        services.save_state(baseline)
    except ValueError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, gettext("The state is saved. The instances are compared with it from now on."))


def download_state(form: str) -> Callable[[HttpRequest, Baseline], HttpResponse]:
    def download(request: HttpRequest, baseline: Baseline) -> HttpResponse:
        name = f"state-{baseline.pk}-{timezone.localtime(baseline.state_at):%Y%m%dT%H%M}.{form}"
        disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
        text = states.written(baseline.state, form)
        return HttpResponse(text, content_type=states.FORMATS[form], headers=disposition)

    return download


class BaselineForm(forms.ModelForm):
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors and not (cleaned.get("tag") or cleaned.get("instances")):
            raise forms.ValidationError(gettext("Choose a tag or instances."))
        return cleaned


@admin.register(Baseline)
class BaselineAdmin(ButtonAdmin):
    object_template = "drift/baseline.html"
    form = BaselineForm
    formfield_overrides = NOTES
    list_display = ["name", Column("tag", _("tag")), Column("state_at", _("state saved")), "active", "note"]
    list_filter = ["active"]
    search_fields = ["name", "tag__label", "note"]
    autocomplete_fields = ["tag", "instances", "reference"]
    fields = ["name", "tag", "instances", "reference", "ignored", "active", "note"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Baseline]:
        return super().get_queryset(request).select_related("tag", "reference").without_documents()

    def get_buttons(self, request: HttpRequest) -> list[Button]:
        accept = Button(
            "accept", _("Accept"), "drift.add_accepteddeviation", self.accept, icon="check", shown=lambda _row: True
        )
        if limit_of(request.user) is not None:
            return [accept]
        return [
            Button(
                "save",
                _("Save the state of the reference"),
                "drift.change_baseline",
                save_now,
                icon="save",
                shown=lambda row: row.reference_id is not None,
                confirm=lambda row: [
                    gettext(
                        "The instances are compared with the saved state from then on, and no longer with the reference"
                        " instance. A state that was saved before is replaced."
                    )
                ],
            ),
            *(
                Button(
                    name,
                    label,
                    "drift.view_baseline",
                    download_state(form),
                    icon="download",
                    shown=lambda row: row.state_at is not None,
                )
                for name, label, form in (
                    ("state", _("Download the state"), "json"),
                    ("yaml", _("Download the state as YAML"), "yaml"),
                )
            ),
            Button("import", _("Import a state"), "drift.change_baseline", self.import_state, icon="upload"),
            accept,
        ]

    def offered(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Accepting has its button below the rows that are chosen."""
        return [one for one in super().offered(request, row) if one["icon"] != "check"]

    def import_state(self, request: HttpRequest, baseline: Baseline) -> HttpResponse | None:
        error = ""
        if file := request.FILES.get("file"):
            try:
                services.save_state(baseline, states.parsed(file.read().decode()))
            except UnicodeDecodeError:
                error = gettext("The file is not UTF-8.")
            except ValueError as wrong:
                error = str(wrong)
            else:
                messages.success(
                    request, gettext("The state is imported. The instances are compared with it from now on.")
                )
                return None
        elif "chosen" in request.POST:
            error = gettext("Choose a file.")
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Import a state"),
            "subtitle": baseline,
            "opts": self.opts,
            "error": error,
            "next": self.back(request, baseline).url,
        }
        return TemplateResponse(request, "drift/import.html", context)

    def accept(self, request: HttpRequest, baseline: Baseline) -> HttpResponse | None:
        chosen = _keys(request)
        if not chosen:
            messages.warning(request, gettext("Choose deviations."))
            return None
        form = AcceptForm(answer_of(request), user=request.user)
        if form.is_valid():
            words = {name: form.cleaned_data.get(name) for name in ("reason", "ticket", "ends_on", "everywhere")}
            try:
                n = services.accept(baseline, chosen, request.user, **words)
            except ValidationError as error:
                form.add_error(None, error)
            else:
                text = ngettext("%d deviation is accepted.", "%d deviations are accepted.", n) % n
                messages.success(request, text)
                return None
        text = gettext("An accepted deviation is listed apart, and comes back after its last day.")
        return ask(self, request, form, len(chosen), gettext("Accept"), text, baseline)

    def object_page(self, request: HttpRequest, row: Baseline) -> HttpResponseBase:
        form = request.GET.get("file")
        if form not in FORMS:
            return super().object_page(request, row)
        found = drift_of(row, request.user)
        lines = list(rows.lines(found))
        if form == "xlsx" and (reason := too_many(len(lines))):
            messages.error(request, reason)
            return super().object_page(request, row)
        question = [["baseline", row.name], *rows.notes(found)]
        about = head(question, request.user.get_username(), len(lines))
        return as_file(form, f"drift-{row.pk}", rows.HEADER, lines, about)

    def page_context(self, request: HttpRequest, row: Baseline | None) -> dict[str, Any]:
        if row is None:
            return {}
        found = drift_of(row, request.user)
        form = FilterForm(request.GET, found)
        chosen = form.chosen(found)
        page = Paginator(chosen, ROWS_PER_PAGE).get_page(request.GET.get("page"))
        ids = self._account_ids(page)
        query = request.GET.copy()
        query.pop("page", None)
        facts = [
            (gettext("Reference"), found.reference or gettext("not shown")),
            (gettext("Tag"), row.tag or "–"),
            *self.facts(request, row, ["ignored", "active", "note"]),
        ]
        context = {
            "found": found,
            "facts": facts,
            "form": form,
            "page": page,
            "groups": [
                (instance, label, ids.get((instance.pk, name, host)), list(group))
                for (instance, label, name, host), group in groupby(
                    page, lambda one: (one[0], one[1].label, one[1].account, one[1].host)
                )
            ],
            "unknown": [
                (one.instance, "; ".join(filter(None, [one.unknown, *one.parts])))
                for one in found.compared
                if one.is_unknown
            ],
            "query": query.urlencode(),
            "may_accept": request.user.has_perm("drift.add_accepteddeviation"),
            "is_filtered": any(request.GET.get(name) for name in form.fields),
        }
        if (asked := request.GET.get("sql", "")).isdecimal():
            one = next((one for one in found.compared if str(one.instance.pk) == asked), None)
            context |= {"aligned": one, "remedy": aligning(one, row) if one else None}
        return context

    def _account_ids(self, page: Any) -> dict[tuple[int, str, str], int]:
        """Id of each account on the page that is there."""
        names = {(instance.pk, row.account, row.host) for instance, row, _accepted in page}
        present = Account.objects.present().filter(
            instance__in={pk for pk, _name, _host in names}, name__in={name for _pk, name, _host in names}
        )
        return {(pk, name, host): one for pk, name, host, one in present.values_list("instance", "name", "host", "pk")}


@admin.register(AcceptedDeviation)
class AcceptedDeviationAdmin(ButtonAdmin):
    list_display = [
        Column("account", _("account")),
        Column("deviation", _("deviation"), show=visible),
        Column("baseline", _("baseline")),
        Column("instance", _("instance"), empty=_("all")),
        "reason",
        "ticket",
        "ends_on",
        Column("accepted_by", _("accepted by")),
        "accepted_at",
    ]
    list_filter = ["ends_on"]
    list_select_related = ["baseline", "instance", "accepted_by"]
    search_fields = ["account", "deviation", "reason", "ticket", "instance__name", "baseline__name"]
    fields = ["baseline", "instance", "account", "deviation", "reason", "ticket", "ends_on"]
    readonly_fields = ["baseline", "instance", "account", "deviation"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """They are accepted on the page of the baseline."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and self._is_own(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and self._is_own(request, obj)

    def _is_own(self, request: HttpRequest, obj: AcceptedDeviation | None) -> bool:
        """What holds on all instances is not for users who see some only."""
        return obj is None or obj.instance_id is not None or limit_of(request.user) is None

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """For users who see some instances only, no bulk deletion."""
        actions = super().get_actions(request)
        return actions if limit_of(request.user) is None else {}

    def save_model(self, request: HttpRequest, obj: AcceptedDeviation, form: forms.ModelForm, change: bool) -> None:
        obj.accepted_by = request.user
        super().save_model(request, obj, form, change)
