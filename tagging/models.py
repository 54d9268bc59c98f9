"""Labels on instances, to select and group them by."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from instances.models import Instance


class Tag(models.Model):
    slug = models.SlugField(_("slug"), max_length=50, unique=True, allow_unicode=True)
    label = models.CharField(_("label"), max_length=100)
    category = models.CharField(_("category"), max_length=50, blank=True)
    colour = models.CharField(_("colour"), max_length=7, default="#64748b")
    active = models.BooleanField(_("active"), default=True)
    instances = models.ManyToManyField(
        Instance, through="InstanceTag", related_name="tags", verbose_name=_("instances")
    )

    class Meta:
        ordering = ["category", "label"]
        verbose_name = _("tag")
        verbose_name_plural = _("tags")

    def __str__(self) -> str:
        return self.label


class InstanceTag(models.Model):
    """One tag on one instance: who put it there, and when."""

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="instance_tags")
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, related_name="instance_tags")
    added_at = models.DateTimeField(_("added"), auto_now_add=True)
    added_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["instance", "tag"], name="instance_tag_once")]
        verbose_name = _("tag of an instance")
        verbose_name_plural = _("tags of instances")

    def __str__(self) -> str:
        return f"{self.instance}: {self.tag}"
