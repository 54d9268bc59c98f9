"""The pages of tags, and what tags add to the pages of instances and to their CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.validators import RegexValidator
from django.db.models import Count, Model, Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from import_export.fields import Field
from import_export.widgets import ManyToManyWidget
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminColorInputWidget

from console.buttons import Button, ButtonAdmin, InspectOnlyAdmin, posted
from console.columns import Column, list_url
from console.csv import csv_file
from console.list_filters import ParameterFilter, RelatedFilter
from console.suggestions import nearest
from console.visibility import ShownRows, limit_of, shown_to, within
from instances.admin import Addition, Part
from instances.models import Instance
from instances.timeline import Event

from . import services
from .models import InstanceTag, Tag, TagOperation
from .visibility import givable

#: Pairs of an operation that its page lists; the CSV holds all.
PAIRS_SHOWN = 500


def tag_badge(tag: Tag) -> SafeString:
    return format_html('<span class="tf-badge tf-tag" style="--tf-tag:{}">{}</span>', tag.colour, tag.label)


@display(description=_("tags"))
def tags(instance: Instance) -> SafeString:
    if not instance.tags.all():
        return SafeString("–")
    return format_html(
        '<span class="tf-badges">{}</span>',
        format_html_join("", "{}", ((tag_badge(tag),) for tag in instance.tags.all())),
    )


class TagFilter(ParameterFilter):
    title = _("tag")
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(shown_to(Tag.objects.all(), request.user).values_list("slug", "label"))


class InstanceTagInline(ShownRows, TabularInline):
    """Users who are limited to tags add and remove them on the bulk pages, which check what they may give."""

    model = InstanceTag
    readonly_fields = ["added_at", Column("added_by", _("added by"))]
    fields = ["tag", *readonly_fields]
    autocomplete_fields = ["tag"]
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[InstanceTag]:
        return super().get_queryset(request).select_related("tag", "added_by")

    def has_add_permission(self, request: HttpRequest, obj: Model | None) -> bool:
        return limit_of(request.user) is None and super().has_add_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return limit_of(request.user) is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return limit_of(request.user) is None and super().has_delete_permission(request, obj)

    def get_formset(
        self, request: HttpRequest, obj: Model | None = None, **kwargs: Any
    ) -> type[forms.BaseInlineFormSet]:
        formset = super().get_formset(request, obj, **kwargs)
        if "tag" in formset.form.base_fields:
            formset.form.base_fields["tag"].label = _("tag")

        class ByWhom(formset):  # type: ignore[misc, valid-type]
            def save_new(self, form: forms.ModelForm, commit: bool = True) -> InstanceTag:
                form.instance.added_by = request.user
                return super().save_new(form, commit)

        return ByWhom


def receipt_page(receipt: TagOperation) -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse("admin:tagging_tagoperation_change", args=[receipt.pk]))


def bulk_page(model_admin: Any, request: HttpRequest, queryset: QuerySet[Instance], action: str) -> HttpResponse:
    """Choose tags, preview, confirm: each step posts the selection again."""
    adding = action == TagOperation.Action.ASSIGN
    instances = Instance.objects.filter(pk__in=queryset.order_by().values("pk"))
    tags = shown_to(givable(Tag.objects.all(), request.user), request.user)
    offered = tags.filter(active=True) if adding else tags.filter(instances__in=instances).distinct()
    chosen = list(offered.filter(pk__in=[pk for pk in request.POST.getlist("tags") if pk.isdecimal()]))
    if chosen and "confirmed" in request.POST:
        ids = list(instances.order_by().values_list("pk", flat=True))
        operate = services.assign if adding else services.remove
        return receipt_page(operate(ids, [tag.pk for tag in chosen], request.user))
    active = instances.active()
    there = InstanceTag.objects.filter(instance__in=active, tag__in=chosen).count()
    pairs = active.count() * len(chosen)
    context = {
        **admin.site.each_context(request),
        "title": gettext("Add tags") if adding else gettext("Remove tags"),
        "opts": model_admin.opts,
        "adding": adding,
        "n_instances": instances.count(),
        "n_retired": instances.retired().count(),
        "n_changed": pairs - there if adding else there,
        "n_as_is": there if adding else pairs - there,
        "offered": offered,
        "chosen": chosen,
        "next": model_admin.back(request, None).url,
        "posted": posted(request, "tags", "confirmed"),
    }
    return TemplateResponse(request, "tagging/bulk.html", context)


@admin.action(description=_("Add tags …"))
def add_tags(model_admin: Any, request: HttpRequest, queryset: QuerySet[Instance]) -> HttpResponse:
    return bulk_page(model_admin, request, queryset, TagOperation.Action.ASSIGN)


@admin.action(description=_("Remove tags …"))
def remove_tags(model_admin: Any, request: HttpRequest, queryset: QuerySet[Instance]) -> HttpResponse:
    return bulk_page(model_admin, request, queryset, TagOperation.Action.REMOVE)


OF_INSTANCES = [
    Addition(
        "tagging.view_tag",
        annotate=lambda rows: rows.prefetch_related(Prefetch("tags", Tag.objects.order_by("category", "label"))),
        columns=[tags],
        filters=[TagFilter],
        inlines=[InstanceTagInline],
        part=lambda request, instance: Part(state=tags(instance) if instance.tags.all() else ""),
    ),
    Addition("tagging.add_instancetag", actions=[add_tags]),
    Addition("tagging.delete_instancetag", actions=[remove_tags]),
]


class TagsWidget(ManyToManyWidget):
    """Reads slugs or labels separated by semicolons; writes slugs."""

    def clean(self, value: str | None, row: Any = None, **kwargs: Any) -> list[Tag]:
        words = {word.strip() for word in (value or "").split(";")} - {""}
        found = {}
        for tag in Tag.objects.all() if words else ():
            # A slug is unique. A label that several tags share names none of them.
            found.setdefault(tag.label, []).append(tag)
        by_slug = {tag.slug: tag for same in found.values() for tag in same}
        chosen, unknown = [], []
        for word in sorted(words):
            if word in by_slug:
                chosen.append(by_slug[word])
            elif len(found.get(word, ())) == 1:
                chosen.append(found[word][0])
            else:
                unknown.append(word)
        if unknown:
            meant = nearest(unknown[0], by_slug) if len(unknown) == 1 else ""
            raise ValidationError({"tags": gettext("There is no such tag: %s.") % ", ".join(unknown) + meant})
        return list({tag.pk: tag for tag in chosen}.values())

    def render(self, value: Any, obj: Any = None, **kwargs: Any) -> str:
        return ";".join(sorted(tag.slug for tag in value.all())) if value is not None else ""


class TagsField(Field):
    def save(self, instance: Instance, row: Any, is_m2m: bool = False, user: Any = None, **kwargs: Any) -> None:
        if not is_m2m:
            return
        tags = {tag.pk for tag in self.clean(row)}
        if tags == set(instance.instance_tags.values_list("tag", flat=True)):
            return
        if user and not user.has_perms(["tagging.add_instancetag", "tagging.delete_instancetag"]):
            raise ValidationError({"tags": gettext("You may not change the tags of instances.")})
        instance.tags.set(tags, through_defaults={"added_by": user})


EXPORTED_TAGS = TagsField("tags", "tags", TagsWidget(Tag))


class TagForm(forms.ModelForm):
    colour = forms.CharField(
        label=_("Colour"),
        widget=UnfoldAdminColorInputWidget,
        initial=Tag._meta.get_field("colour").default,
        validators=[RegexValidator(r"^#[0-9a-fA-F]{6}$", _("A colour looks like #64748b."))],
    )


@admin.register(Tag)
class TagAdmin(ButtonAdmin):
    form = TagForm
    list_display = [
        "badge",
        "slug",
        "category",
        Column(
            "n_instances",
            _("instances"),
            link=lambda tag: list_url("instances_instance", state="all", tag=tag.slug),
        ),
        "active",
    ]
    list_filter = ["category", "active"]
    search_fields = ["slug", "label"]
    fields = ["label", "slug", "category", "colour", "active"]
    prepopulated_fields = {"slug": ["label"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tag]:
        return (
            super()
            .get_queryset(request)
            .annotate(n_instances=Count("instance_tags", filter=within("instance_tags__instance", request.user)))
        )

    def get_prepopulated_fields(self, request: HttpRequest, obj: Tag | None = None) -> dict[str, Any]:
        return {} if obj else self.prepopulated_fields

    @display(description=_("tag"), ordering="label")
    def badge(self, tag: Tag) -> SafeString:
        return tag_badge(tag)


def undo(request: HttpRequest, operation: TagOperation) -> HttpResponse | None:
    if not services.may_undo(operation, request.user):
        raise PermissionDenied
    try:
        return receipt_page(services.undo(operation, request.user))
    except services.NotUndoable as error:
        messages.warning(request, str(error))
        return None


def undo_button(action: str) -> Button:
    """Undoing an operation needs another permission than undoing its inverse."""
    return Button(
        f"undo-{action}",
        _("Undo"),
        services.undo_needs(TagOperation(action=action)),
        undo,
        icon="undo",
        shown=lambda operation: (
            operation.action == action
            and TagOperation.CHANGED[operation.action] in operation.outcomes
            and not TagOperation.objects.filter(undo_of=operation).exists()
        ),
        confirm=lambda operation: [
            gettext("What this operation changed is taken back: %d pairs of instance and tag, and nothing else.")
            % operation.totals[TagOperation.CHANGED[operation.action]]
        ],
    )


def lines(operation: TagOperation, user: User) -> Iterator[tuple[str, str, str, str]]:
    """Instance, tag, outcome and reason of every pair. Rows that are deleted, or hidden from the user, show as their
    id."""
    names = dict(shown_to(Instance.objects.order_by(), user).values_list("pk", "name"))
    labels = dict(shown_to(Tag.objects.order_by(), user).values_list("pk", "label"))
    reasons = {(row["instance"], row["tag"]): row["reason"] for row in operation.reasons}
    for outcome in operation.outcomes:
        for pair in operation.pairs(outcome):
            yield names.get(pair[0], f"#{pair[0]}"), labels.get(pair[1], f"#{pair[1]}"), outcome, reasons.get(pair, "")


def as_csv(request: HttpRequest, operation: TagOperation) -> HttpResponse:
    return csv_file(f"tags-{operation.pk}", ["instance", "tag", "outcome", "reason"], lines(operation, request.user))


@admin.register(TagOperation)
class TagOperationAdmin(InspectOnlyAdmin):
    change_form_template = "tagging/receipt.html"
    list_display = [
        Column("pk", _("operation"), show="#{}".format, ordering="pk"),
        "action",
        "requested_by",
        "created_at",
        "totals",
    ]
    list_filter = ["action", ("requested_by", RelatedFilter), "created_at"]
    list_select_related = ["requested_by"]
    fields = ["action"]
    buttons = [
        undo_button(TagOperation.Action.ASSIGN),
        undo_button(TagOperation.Action.REMOVE),
        Button("csv", _("Download CSV"), "tagging.view_tagoperation", as_csv, icon="download"),
    ]

    @display(description=_("outcome"))
    def totals(self, operation: TagOperation) -> SafeString:
        return format_html(
            '<span class="tf-badges">{}</span>',
            format_html_join(
                "",
                '<span class="tf-badge tf-{}">{} {}</span>',
                ((outcome, count, TagOperation.Outcome(outcome).label) for outcome, count in operation.totals.items()),
            ),
        )

    def page_context(self, request: HttpRequest, row: TagOperation) -> dict[str, Any]:
        return {
            "operation": row,
            "title": str(row),
            "totals": self.totals(row),
            "lines": [
                (name, label, outcome, TagOperation.Outcome(outcome).label, reason)
                for name, label, outcome, reason in islice(lines(row, request.user), PAIRS_SHOWN)
            ],
            "n_more": max(sum(row.totals.values()) - PAIRS_SHOWN, 0),
        }


def tag_events(instance: Instance, since: datetime, limit: int) -> Iterable[Event]:
    """The tags that it has been given and still has, for the instance's timeline."""
    rows = instance.instance_tags.filter(added_at__gte=since).select_related("tag", "added_by")
    for row in rows.order_by("-added_at")[:limit]:
        text = f"{row.tag.label} ({row.added_by})" if row.added_by else row.tag.label
        yield Event(row.added_at, "added", gettext("tag added"), text)
