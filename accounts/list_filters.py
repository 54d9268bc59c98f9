"""Filters of the lists of accounts and changes, besides those of the API in `filters`."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import TextFilter

from console.list_filters import LeavingFilter, OptionsFilter, ParameterFilter
from console.visibility import shown_to
from instances.models import Instance

from .filters import AccountFilters
from .freshness import unknown_instances
from .models import Account, AccountChange


class ChangedFilter(OptionsFilter):
    title = _("changed")
    parameter_name = "changed"
    options = [("1", _("In the last day")), ("7", _("In the last 7 days")), ("30", _("In the last 30 days"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() not in ("1", "7", "30"):
            return queryset
        since = timezone.now() - timedelta(days=int(self.value()))
        return queryset.filter(
            Exists(AccountChange.objects.filter(account=OuterRef("pk"), at__gte=since, baseline=False))
        )


class UnreadFilter(ParameterFilter):
    title = _("unknown")
    parameter_name = "unread"
    options = Account.unreadable()


class GrantorFilter(TextFilter):
    title = _("granted by")
    parameter_name = "grantor"

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return AccountFilters({"grantor": self.value()}, queryset, request=request).qs


class EventFilter(ParameterFilter):
    title = _("event")
    parameter_name = "event"


class NewSuperusersFilter(OptionsFilter):
    """The accounts that the home page counts and names, by the same query."""

    title = _("new superusers")
    parameter_name = "new_superusers"
    options = [("1", _("In the last day")), ("7", _("In the last 7 days")), ("30", _("In the last 30 days"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() not in ("1", "7", "30"):
            return queryset
        return queryset.of_the_last(int(self.value())).of_new_superusers()


class BaselineFilter(LeavingFilter):
    title = _("first visits")
    parameter_name = "baseline"
    options = [("no", _("Left out")), ("yes", _("Only those")), ("all", _("Included"))]


class StaleFilter(OptionsFilter):
    """For the list of instances."""

    title = _("accounts known")
    parameter_name = "stale"
    options = [("1", _("Not as they are now")), ("0", _("As last read"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() not in ("0", "1"):
            return queryset
        unknown = [instance.pk for instance in unknown_instances(shown_to(Instance.objects.all(), request.user))]
        return queryset.filter(pk__in=unknown) if self.value() == "1" else queryset.exclude(pk__in=unknown)
