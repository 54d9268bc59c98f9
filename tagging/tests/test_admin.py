"""The pages of tags, and tags on the pages of instances."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.apps import apps
from django.urls import reverse

from instances.models import Credential, Instance
from instances.tests.api import user_with
from instances.tests.pages import entered, staff, superstaff
from instances.tests.test_admin import form
from tagging.models import InstanceTag, Tag

LIST = reverse("admin:tagging_tag_changelist")
TAG = {"label": "Production", "slug": "prod", "category": "", "colour": "#dc2626", "active": "on"}


@pytest.fixture
def instance(db: None) -> Instance:
    credential = Credential.objects.create(name="c", username="u")
    return Instance.objects.create(name="prod", engine="postgresql", host="db", credential=credential)


def test_a_tag_is_made_and_its_colour_is_one(db):
    client = superstaff()
    add = reverse("admin:tagging_tag_add")
    assert client.post(add, TAG).status_code == 302
    assert client.post(add, TAG | {"slug": "x", "colour": "red"}).status_code == 200
    assert client.post(add, TAG | {"slug": "生产", "label": "生产"}).status_code == 302
    assert set(Tag.objects.filter(slug__in=["prod", "x", "生产"]).values_list("slug", flat=True)) == {"prod", "生产"}


def test_the_first_tags_are_there_once_and_then_the_peoples(db):
    """Installed once: what a person edits or deletes is not put back."""
    first = import_module("tagging.migrations.0004_first_tags")
    Tag.objects.all().delete()
    Tag.objects.create(slug="production", label="Ours", colour="#000000")
    first.install(apps, None)
    assert Tag.objects.get(slug="production").label == "Ours"
    assert set(Tag.objects.values_list("category", flat=True)) == {"", "environment", "location", "department"}
    assert Tag.objects.count() == len(first.TAGS)


def test_the_list_counts_instances_and_takes_a_fixed_number_of_queries(instance, django_assert_num_queries):
    Tag.objects.bulk_create(Tag(slug=f"t{n}", label=f"T {n}") for n in range(40))
    InstanceTag.objects.create(instance=instance, tag=Tag.objects.first())
    client = superstaff()
    # Session, user, categories for the filter, two counts, the rows, the saved views.
    with django_assert_num_queries(7):
        rows = client.get(LIST).context["cl"].result_list
    assert sum(row.n_instances for row in rows) == 1


def test_instances_are_found_by_tag(instance):
    tag = Tag.objects.create(slug="prod", label="Production")
    Instance.objects.create(name="lab", engine="mysql", host="db2", credential=instance.credential)
    InstanceTag.objects.create(instance=instance, tag=tag)
    answer = superstaff().get(reverse("admin:instances_instance_changelist"), {"tag": "prod"})
    assert [row.name for row in answer.context["cl"].result_list] == ["prod"]
    assert "Production" in answer.content.decode()


def test_a_tag_put_on_an_instance_says_by_whom(instance):
    tag = Tag.objects.create(slug="prod", label="Production")
    user = user_with(
        "instances.view_instance",
        "instances.change_instance",
        "tagging.view_tag",
        "tagging.view_instancetag",
        "tagging.add_instancetag",
    )
    url = reverse("admin:instances_instance_change", args=[instance.pk])
    fields = form(instance) | {"instance_tags-TOTAL_FORMS": 1, "instance_tags-0-tag": tag.pk}
    entered(user).post(url, fields)
    assert [(row.tag, row.added_by) for row in instance.instance_tags.all()] == [(tag, user)]
    # Without that permission the same form tags nothing.
    instance.instance_tags.all().delete()
    staff("instances.view_instance", "instances.change_instance", "tagging.view_tag").post(url, fields)
    assert not instance.instance_tags.exists()
