"""The pages of classifications, rules and assignments, and what they add to the pages of instances."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.db.models import Prefetch, QuerySet, Value
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.widgets import UnfoldAdminColorInputWidget, UnfoldAdminTextareaWidget

from access.asking import chosen
from access.moments import parse_moment
from accounts.models import Account
from accounts.pages import NamesUnknownInstances
from console.buttons import Button, ButtonAdmin
from console.columns import Column, list_url
from console.csv import csv_file
from console.display import badge, moment, mono
from console.list_filters import LeavingFilter, OptionsFilter, ParameterFilter, RelatedFilter
from console.templatetags.names import visible
from console.visibility import shown_to
from instances.admin import NOTES, Addition
from instances.models import Instance
from sync.models import SyncSession
from sync.pages import session_page

from . import services
from .effect import HEADER, Accounts, Effect, effect_of, rows
from .filters import AssignmentFilters
from .models import UNCLASSIFIED, Assignment, Classification, ClassificationRule, by_rank, of_risk, with_risk
from .pages import classification_badge, classification_page, risks_part, rule_page, syntax_help
from .rules import RuleError, parse
from .unseen import unseen

RUN = "classification.run_classification"
#: Accounts of each outcome on a page of a dry run.
PREVIEW = 50


def run_now(
    request: HttpRequest, instances: QuerySet[Instance], rules: list[ClassificationRule] | None = None
) -> HttpResponse | None:
    if not shown_to(instances.active(), request.user).exists():
        messages.warning(request, gettext("There is no active instance."))
        return None
    trigger = SyncSession.Trigger.MANUAL
    return session_page(services.run(instances, trigger=trigger, user=request.user, rules=rules or ()))


def counted(path: str, heading: str, model: str) -> Column:
    """A number of rows of this app, linked to their list."""
    return Column(path, heading, link=lambda row: list_url(f"classification_{model}", classification__id__exact=row.pk))


CLASSIFICATION = Column("classification", show=classification_badge, ordering="classification__priority")


class ClassificationForm(forms.ModelForm):
    class Meta:
        widgets = {"colour": UnfoldAdminColorInputWidget}


@admin.register(Classification)
class ClassificationAdmin(ButtonAdmin):
    object_template = "classification/classification.html"
    form = ClassificationForm
    list_display = [
        "badge",
        "code",
        Column("risk", tone="risk-{}".format),
        "priority",
        counted("n_accounts", _("accounts"), "assignment"),
        counted("n_rules", _("active rules"), "classificationrule"),
        "is_system",
    ]
    list_filter = ["risk", "is_system"]
    search_fields = ["code", "name", "note"]
    formfield_overrides = NOTES
    fields = [("name", "code"), "risk", ("priority", "colour"), "note"]
    buttons = [
        Button(
            "classify",
            _("Classify all accounts now"),
            RUN,
            lambda request, row: run_now(request, Instance.objects.all()),
            icon="rule",
            on_list=True,
            main=True,
        ),
        Button(
            "classify",
            _("Apply its rules now"),
            RUN,
            lambda request, row: run_now(request, Instance.objects.all(), list(row.rules.in_force())),
            icon="rule",
            shown=lambda row: row.rules.in_force().exists(),
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Classification]:
        return super().get_queryset(request).with_counts(request.user)

    @display(description=_("classification"), ordering="name")
    def badge(self, classification: Classification) -> SafeString:
        return classification_badge(classification)

    def has_delete_permission(self, request: HttpRequest, obj: Classification | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and obj.is_system)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """No bulk deletion: shipped classifications stay."""
        return {name: run for name, run in super().get_actions(request).items() if name != "delete_selected"}

    def page_context(self, request: HttpRequest, row: Classification | None) -> dict[str, Any]:
        if row is None:
            return {}
        risk = Column("risk", tone="risk-{}".format, field=Classification._meta.get_field("risk"))
        names = ["code", "priority", "is_system", "note"]
        facts = [(capfirst(gettext("risk")), risk(row)), *self.facts(request, row, names)]
        return {"facts": facts, **classification_page(request, row)}


class RuleForm(forms.ModelForm):
    class Meta:
        widgets = {
            "expression": UnfoldAdminTextareaWidget(
                attrs={"rows": 4, "class": "tf-expression", "spellcheck": "false", "autocomplete": "off"}
            ),
        }


@admin.register(ClassificationRule)
class ClassificationRuleAdmin(ButtonAdmin):
    change_form_template = "classification/rule_form.html"
    form = RuleForm
    formfield_overrides = NOTES
    list_display = [
        "code",
        Column("title", _("name"), ordering="name"),
        CLASSIFICATION,
        "engine",
        Column("expression", show=mono, ordering=None),
        "active",
        "version",
    ]
    list_filter = [("classification", RelatedFilter), "engine", "active", "is_system"]
    list_fullwidth = True
    list_select_related = ["classification"]
    search_fields = ["code", "name", "expression", "mapping"]
    fields = ["classification", "engine", "active", ("code", "name"), "expression", "mapping", "note"]
    buttons = [
        Button(
            "apply",
            _("Apply now"),
            RUN,
            lambda request, rule: run_now(request, Instance.objects.all(), [rule]),
            icon="rule",
            shown=lambda rule: rule.active and not rule.retired_at,
        )
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ClassificationRule]:
        return super().get_queryset(request).present()

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.preview)
        return [path("preview/", view, name="classification_classificationrule_preview"), *super().get_urls()]

    def get_readonly_fields(self, request: HttpRequest, obj: ClassificationRule | None = None) -> list[str]:
        """The classification of a rule cannot be changed."""
        return ["classification"] if obj else []

    def preview(self, request: HttpRequest) -> HttpResponseBase:
        """Check the expression in the form, and on request show its effect; `csv=1` returns all of it as a file."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        pk = request.POST.get("id", request.GET.get("id", ""))
        rule = (ClassificationRule.objects.present().filter(pk=pk).first() if pk.isdecimal() else None) or (
            ClassificationRule()
        )
        rule.expression, rule.engine = request.POST.get("expression", rule.expression), request.POST.get("engine", "")
        context: dict[str, Any] = {"rule": rule, "may_ask": request.user.has_perm("accounts.view_account")}
        is_file = "csv" in request.GET
        if is_file and not context["may_ask"]:
            raise PermissionDenied
        # A file that was asked for must not be a page.
        status = 400 if is_file else 200
        try:
            parse(rule.expression)
            rule.asked_by = request.user
            rule.clean()
            if is_file:
                name = f"dry-run-{timezone.localtime():%Y%m%dT%H%M}"
                return csv_file(name, HEADER, rows(_effect(request, rule), request.user.get_username()))
            context["unseen"] = unseen(rule, request.user)
            if request.POST.get("ask") and context["may_ask"]:
                effect = _effect(request, rule)
                pages = [(outcome, _page(request, outcome, found)) for outcome, found in effect.accounts.items()]
                context |= {"effect": effect, "outcomes": pages, "unknown": effect.unknown.items()}
        except RuleError as error:
            context |= {"error": error, "marked": _marked(rule.expression, error)}
        except forms.ValidationError as error:
            context["wrong"] = error.messages
        except ValueError as error:
            context["wrong"] = [str(error)]
        return HttpResponse(render_to_string("classification/rule_preview.html", context, request), status=status)

    def page_context(self, request: HttpRequest, row: ClassificationRule | None) -> dict[str, Any]:
        preview = reverse("admin:classification_classificationrule_preview")
        return {"preview_url": preview, "help": syntax_help(), **(rule_page(request, row) if row else {})}

    def save_model(self, request: HttpRequest, obj: ClassificationRule, form: forms.ModelForm, change: bool) -> None:
        services.keep_rule(obj, request.user)
        for sentence in unseen(obj, request.user):
            messages.warning(request, visible(sentence))

    def delete_model(self, request: HttpRequest, obj: ClassificationRule) -> None:
        services.retire_rule(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ClassificationRule]) -> None:
        for rule in queryset:
            services.retire_rule(rule)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list[Any], dict[str, int], set, list]:
        """A rule is only retired, so nothing else is deleted with it."""
        names = [str(rule) for rule in objs]
        return names, {str(self.opts.verbose_name_plural): len(names)}, set(), []


def _effect(request: HttpRequest, rule: ClassificationRule) -> Effect:
    """The effect on the instances, and as of the moment, in the form. Raises ValueError for those that are wrong."""
    named = chosen([request.POST.get("instance", "")], "", "", request.user)
    instances = shown_to(Instance.objects.active(), request.user) if named is None else named
    return effect_of(rule, instances, at=parse_moment(request.POST.get("as_of", "")))


def _page(request: HttpRequest, outcome: str, found: Accounts) -> Page:
    """The page of an outcome that was asked for, else its first."""
    number = request.POST.get("page") if request.POST.get("outcome") == outcome else 1
    return Paginator(found, PREVIEW).get_page(number)


def _marked(expression: str, error: RuleError) -> dict[str, str] | None:
    """The line of an error, split at its column."""
    lines = expression.splitlines()
    if not 1 <= error.line <= len(lines):
        return None
    line = lines[error.line - 1]
    return {"before": line[: error.column - 1], "after": line[error.column - 1 :] or " "}


class CurrentFilter(LeavingFilter):
    title = _("time")
    parameter_name = "current"
    default = "yes"
    options = [("yes", _("Now")), ("no", _("Ended")), ("all", _("Now and ended"))]


class ManualFilter(ParameterFilter):
    title = _("assigned by")
    parameter_name = "manual"
    options = [("no", _("A rule")), ("yes", _("A person"))]


class AssignmentForm(forms.ModelForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "reason" in self.fields:
            self.fields["reason"].required = True

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        there = Assignment.objects.current().filter(
            account=cleaned.get("account"), classification=cleaned.get("classification"), rule=None
        )
        if cleaned.get("account") and there.exists():
            self.add_error("classification", gettext("A person has assigned it to this account already."))
        return cleaned

    def _get_validation_exclusions(self) -> set[str]:
        # The form has neither: `services.assign` keeps their constraints.
        return super()._get_validation_exclusions() | {"rule", "until"}


def withdraw(request: HttpRequest, assignment: Assignment) -> None:
    services.withdraw(assignment)
    messages.success(request, gettext("Withdrawn."))


def account_url(assignment: Assignment) -> str:
    """The classifications of its account; those of a rule are explained."""
    url = f"{reverse('admin:accounts_account_change', args=[assignment.account_id])}?tab=classifications"
    return f"{url}&why={assignment.pk}" if assignment.rule_id and not assignment.until else url


def all_of(assignment: Assignment) -> list[Assignment]:
    """The assignments that a row of the list stands for: those that the account has now, or this one."""
    return assignment.account.now if getattr(assignment, "is_of_account", False) else [assignment]


def source_of(assignment: Assignment) -> SafeString:
    if assignment.rule:
        url = reverse("admin:classification_classificationrule_change", args=[assignment.rule_id])
        return format_html('<a class="tf-link" href="{}">{}</a>', url, assignment.rule)
    url = reverse("admin:classification_assignment_change", args=[assignment.pk])
    who = assignment.assigned_by or gettext("a person")
    return format_html('<a class="tf-link" href="{}">{}: {}</a>', url, who, assignment.reason)


@admin.register(Assignment)
class AssignmentAdmin(NamesUnknownInstances, ButtonAdmin):
    list_before_template = "accounts/unknown.html"
    form = AssignmentForm
    formfield_overrides = NOTES
    list_display = [
        Column("account", link=account_url, ordering="account__name"),
        "instance",
        "classifications",
        "risk",
        "source",
        "since_when",
        "until",
        "confirmed",
    ]
    list_display_links = None
    list_on_phones = ("instance", "risk")
    filter_set = AssignmentFilters
    list_filter = [
        CurrentFilter,
        ("classification", RelatedFilter),
        "classification__risk",
        "rule",
        "instance",
        ManualFilter,
    ]
    list_fullwidth = True
    list_select_related = ["account", "instance", "classification", "rule", "assigned_by"]
    show_full_result_count = False
    search_fields = ["account__name", "instance__name"]
    search_help_text = _("Name of the account or instance")
    autocomplete_fields = ["account", "classification"]
    fields = ["account", "classification", "reason"]
    buttons = [
        Button(
            "withdraw",
            _("Withdraw"),
            "classification.delete_assignment",
            withdraw,
            icon="undo",
            shown=lambda assignment: assignment.is_manual and assignment.until is None,
            confirm=lambda assignment: [gettext("The account is then no longer classified so by a person's word.")],
        )
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Assignment]:
        now = Assignment.objects.current().select_related("classification", "rule", "assigned_by")
        now = now.order_by("classification__priority", "classification__name", "pk")
        return super().get_queryset(request).prefetch_related(Prefetch("account__assignments", now, to_attr="now"))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        class OneRowPerAccount(super().get_changelist(request, **kwargs)):  # type: ignore[misc]
            def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Assignment]:
                """One row for each account that has an assignment like that now; of the past, one for each of them."""
                rows = super().get_queryset(request, exclude_parameters)
                if request.GET.get(CurrentFilter.parameter_name) in ("no", "all"):
                    return rows
                first = rows.order_by("account_id", "classification__priority", "classification__name", "pk")
                found = rows.filter(pk__in=first.distinct("account_id").values("pk"))
                return found.annotate(is_of_account=Value(True))

        return OneRowPerAccount

    @display(description=_("classifications"), ordering="classification__priority")
    def classifications(self, assignment: Assignment) -> SafeString:
        badges = ((classification_badge(one),) for one in {one.classification: None for one in all_of(assignment)})
        return format_html('<span class="tf-badges">{}</span>', format_html_join("", "{}", badges))

    @display(description=_("classifications"))
    def names_of_classifications(self, assignment: Assignment) -> str:
        return ", ".join({str(one.classification): None for one in all_of(assignment)})

    classifications.in_files = ["names_of_classifications"]

    @display(description=_("risk"), ordering=by_rank("classification__risk"))
    def risk(self, assignment: Assignment) -> SafeString:
        ranks = list(Classification.Risk)
        highest = min((Classification.Risk(one.classification.risk) for one in all_of(assignment)), key=ranks.index)
        return badge(f"risk-{highest}", highest.label)

    @display(description=_("assigned by"))
    def source(self, assignment: Assignment) -> SafeString:
        return format_html_join("", "<div>{}</div>", ((source_of(one),) for one in all_of(assignment)))

    @display(description=_("since"), ordering="since")
    def since_when(self, assignment: Assignment) -> str:
        return moment(min(one.since for one in all_of(assignment)))

    since_when.in_files = [Column("since")]

    @display(description=_("confirmed"))
    def confirmed(self, assignment: Assignment) -> SafeString:
        since = [one.unconfirmed_since for one in all_of(assignment) if one.unconfirmed_since and not one.until]
        if not since:
            return SafeString("–")
        return format_html('<span class="tf-badge tf-unknown" title="{}">{}</span>', moment(min(since)), _("unknown"))

    def has_change_permission(self, request: HttpRequest, obj: Assignment | None = None) -> bool:
        """Assignments are withdrawn, not changed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Assignment | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Assignment, form: forms.ModelForm, change: bool) -> None:
        made = services.assign(obj.account, obj.classification, obj.reason, request.user)
        obj.pk, obj.since, obj.instance = made.pk, made.since, made.instance


def risk_of(account: Account) -> Classification.Risk | None:
    return None if account.risk_rank is None else list(Classification.Risk)[account.risk_rank]


@display(description=_("risk"), ordering="risk_rank")
def risk(account: Account) -> SafeString:
    found = risk_of(account)
    return badge(f"risk-{found}", found.label) if found else SafeString("–")


@display(description=_("risk"))
def risk_as_word(account: Account) -> str:
    return risk_of(account) or ""


risk.in_files = [risk_as_word]


class RiskFilter(OptionsFilter):
    """By the highest risk among the classifications of an account."""

    title = _("risk")
    parameter_name = "risk"
    options = [*Classification.Risk.choices, (UNCLASSIFIED, _("not classified"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Account]) -> QuerySet[Account]:
        return of_risk(queryset, self.value()) if self.value() in dict(self.options) else queryset


OF_ACCOUNTS = [
    Addition("classification.view_assignment", annotate=with_risk, columns=[risk], filters=[RiskFilter]),
]


OF_INSTANCES = [
    Addition("classification.view_assignment", part=risks_part),
    Addition(
        RUN,
        buttons=[
            Button(
                "classify",
                _("Classify accounts"),
                RUN,
                lambda request, instance: run_now(request, Instance.objects.filter(pk=instance.pk)),
                icon="rule",
                shown=lambda instance: not instance.is_retired,
            )
        ],
    ),
]
