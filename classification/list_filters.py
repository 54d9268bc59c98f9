"""A filter that this app adds to the list of accounts."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from console.list_filters import OptionsFilter

from .models import Assignment, Classification


class RiskFilter(OptionsFilter):
    """By the highest risk of an account's classifications."""

    title = _("risk")
    parameter_name = "risk"
    options = Classification.Risk.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() not in Classification.Risk.values:
            return queryset
        return queryset.filter(pk__in=Assignment.objects.current().accounts_of_risk(self.value()))
