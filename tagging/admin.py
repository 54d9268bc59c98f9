"""The pages of tags, and what tags add to the pages of instances and to their CSV."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db.models import Count, Model, Prefetch, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from import_export.fields import Field
from import_export.widgets import ManyToManyWidget
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import BooleanRadioFilter, DropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminColorInputWidget

from instances.admin import ADDITIONS, Addition
from instances.buttons import ButtonAdmin
from instances.models import Instance
from instances.resources import InstanceResource

from .models import InstanceTag, Tag


def tag_badge(tag: Tag) -> SafeString:
    return format_html('<span class="tf-badge tf-tag" style="--tf-tag:{}">{}</span>', tag.colour, tag.label)


@display(description=_("tags"))
def tags(instance: Instance) -> SafeString:
    return format_html(
        '<span class="tf-badges">{}</span>',
        format_html_join("", "{}", ((tag_badge(tag),) for tag in instance.tags.all())),
    )


class TagFilter(DropdownFilter):
    title = _("tag")
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(Tag.objects.values_list("slug", "label"))

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if not self.value():
            return queryset
        path = "tags" if queryset.model is Instance else "instance__tags"
        return queryset.filter(**{f"{path}__slug": self.value()})


class InstanceTagInline(TabularInline):
    model = InstanceTag
    fields = ["tag", "added_at", "added_by"]
    readonly_fields = ["added_at", "added_by"]
    autocomplete_fields = ["tag"]
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[InstanceTag]:
        return super().get_queryset(request).select_related("tag", "added_by")

    def get_formset(
        self, request: HttpRequest, obj: Model | None = None, **kwargs: Any
    ) -> type[forms.BaseInlineFormSet]:
        formset = super().get_formset(request, obj, **kwargs)

        class ByWhom(formset):  # type: ignore[misc, valid-type]
            def save_new(self, form: forms.ModelForm, commit: bool = True) -> InstanceTag:
                form.instance.added_by = request.user
                return super().save_new(form, commit)

        return ByWhom


ADDITIONS.append(
    Addition(
        "tagging.view_tag",
        annotate=lambda rows: rows.prefetch_related(Prefetch("tags", Tag.objects.order_by("category", "label"))),
        columns=[tags],
        filters=[TagFilter],
        inlines=[InstanceTagInline],
    )
)


class TagsWidget(ManyToManyWidget):
    """Slugs or labels, separated by semicolons; slugs on the way out."""

    def clean(self, value: str | None, row: Any = None, **kwargs: Any) -> list[Tag]:
        wanted = {word.strip() for word in (value or "").split(";")} - {""}
        found = {}
        for tag in Tag.objects.all() if wanted else ():
            # A slug is one tag's; a label may be shared, and then names none.
            found.setdefault(tag.label, []).append(tag)
        by_slug = {tag.slug: tag for same in found.values() for tag in same}
        chosen, unknown = [], []
        for word in sorted(wanted):
            if word in by_slug:
                chosen.append(by_slug[word])
            elif len(found.get(word, ())) == 1:
                chosen.append(found[word][0])
            else:
                unknown.append(word)
        if unknown:
            raise ValidationError({"tags": gettext("There is no such tag: %s.") % ", ".join(unknown)})
        return list({tag.pk: tag for tag in chosen}.values())

    def render(self, value: Any, obj: Any = None, **kwargs: Any) -> str:
        return ";".join(sorted(tag.slug for tag in value.all())) if value is not None else ""


class TagsField(Field):
    def save(self, instance: Instance, row: Any, is_m2m: bool = False, user: Any = None, **kwargs: Any) -> None:
        if not is_m2m:
            return
        wanted = {tag.pk for tag in self.clean(row)}
        if wanted == set(instance.instance_tags.values_list("tag", flat=True)):
            return
        if user and not user.has_perms(["tagging.add_instancetag", "tagging.delete_instancetag"]):
            raise ValidationError({"tags": gettext("You may not change the tags of instances.")})
        instance.tags.set(wanted, through_defaults={"added_by": user})


InstanceResource.fields["tags"] = TagsField("tags", "tags", TagsWidget(Tag))


class TagForm(forms.ModelForm):
    colour = forms.CharField(
        label=_("Colour"),
        widget=UnfoldAdminColorInputWidget,
        initial=Tag._meta.get_field("colour").default,
        validators=[RegexValidator(r"^#[0-9a-fA-F]{6}$", _("A colour looks like #64748b."))],
    )

    class Meta:
        model = Tag
        fields = ["label", "slug", "category", "colour", "active"]


@admin.register(Tag)
class TagAdmin(ButtonAdmin):
    form = TagForm
    list_display = ["badge", "slug", "category", "instances_link", "active"]
    list_filter = ["category", ("active", BooleanRadioFilter)]
    list_filter_submit = True
    search_fields = ["slug", "label"]
    fields = ["label", "slug", "category", "colour", "active"]
    prepopulated_fields = {"slug": ["label"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tag]:
        return super().get_queryset(request).annotate(n_instances=Count("instance_tags"))

    def get_prepopulated_fields(self, request: HttpRequest, obj: Tag | None = None) -> dict[str, Any]:
        return {} if obj else self.prepopulated_fields

    @display(description=_("tag"), ordering="label")
    def badge(self, tag: Tag) -> SafeString:
        return tag_badge(tag)

    @display(description=_("instances"), ordering="n_instances")
    def instances_link(self, tag: Tag) -> SafeString:
        url = reverse("admin:instances_instance_changelist")
        return format_html('<a class="tf-link" href="{}?state=all&amp;tag={}">{}</a>', url, tag.slug, tag.n_instances)
