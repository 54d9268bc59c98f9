"""Admin pages of alert rules, channels, alerts and deliveries."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, Manager, Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.widgets import UnfoldBooleanSwitchWidget

from console.buttons import Button, ButtonAdmin, InspectOnlyAdmin
from console.columns import Column, list_url
from console.display import badge
from console.forms import SecretField, SizeField
from console.list_filters import LeavingFilter, ParameterFilter
from console.units import bytes_label
from console.visibility import shown_to
from instances.admin import NOTES, Addition, Figure, Part
from instances.models import Instance

from . import services
from .filters import AlertFilters
from .kinds import KINDS
from .models import Alert, AlertRule, Channel, Delivery
from .shapes import text_of

#: Status of a delivery → status of a visit with the same colour.
TONES = {"sent": "completed", "pending": "running", "failed": "failed"}
STATUS = Column("status", tone=TONES.get)
#: Open alerts that the page of an instance names.
ALERTS = 3


def on_or_off(active: bool) -> SafeString:
    """A red cross would look like a failure."""
    return badge("completed", gettext("on")) if active else badge("off", gettext("off"))


# Rules


class RuleForm(forms.ModelForm):
    min_bytes = SizeField(
        label=_("Bytes at least"),
        required=False,
        help_text=_("For abnormal growth only, for example 10 GiB: small databases often double within a day."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "kind" in self.fields:
            self.fields["kind"].help_text = format_html_join(
                "",
                "<div><b>{}</b>: {}{}</div>",
                (
                    (kind.label, kind.help, gettext(" Threshold: %s.") % kind.threshold if kind.threshold else "")
                    for kind in KINDS.values()
                ),
            )


def evaluate_now(request: HttpRequest, row: None) -> None:
    found = services.evaluate()
    opened = ngettext("%d new alert", "%d new alerts", len(found.opened)) % len(found.opened)
    rest = gettext("%(resolved)d are over, %(lasting)d continue, %(messages)d messages will be sent.") % {
        "resolved": len(found.resolved),
        "lasting": found.n_lasting,
        "messages": len(found.deliveries),
    }
    messages.success(request, f"{opened}; {rest}")


def names_of(related: Manager) -> str:
    return ", ".join(map(str, related.all())) or "–"


@admin.register(AlertRule)
class AlertRuleAdmin(ButtonAdmin):
    form = RuleForm
    list_display = [
        "name",
        "what",
        "tag",
        Column("channels", show=names_of, ordering=None),
        "state",
        Column("n_open", _("open"), link=lambda rule: list_url("alerts_alert", rule__id__exact=rule.pk)),
        "evaluated_at",
    ]
    list_filter = ["kind", "active"]
    list_select_related = ["tag"]
    search_fields = ["name", "note"]
    autocomplete_fields = ["tag", "channels"]
    formfield_overrides = NOTES
    actions = ["switch_on", "switch_off"]
    fieldsets = [
        (None, {"fields": ["name", "active"]}),
        (_("What to report"), {"fields": ["kind", ("threshold", "min_bytes"), "tag"]}),
        (_("Where to report it"), {"fields": ["channels", "tell_resolved", "note"]}),
    ]
    buttons = [
        Button(
            "look", _("Evaluate now"), "alerts.change_alertrule", evaluate_now, icon="search", on_list=True, main=True
        )
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertRule]:
        n_open = Count("alerts", filter=Q(alerts__in=shown_to(Alert.objects.open(), request.user)))
        return super().get_queryset(request).annotate(n_open=n_open).prefetch_related("channels")

    @display(description=_("what"), ordering="kind")
    def what(self, rule: AlertRule) -> str:
        words = [str(rule.get_kind_display())]
        if rule.threshold is not None:
            words.append(f"{rule.threshold} {KINDS[rule.kind].threshold}")
        if rule.min_bytes is not None:
            words.append(bytes_label(rule.min_bytes))
        return ", ".join(words)

    @display(description=_("active"), ordering="active")
    def state(self, rule: AlertRule) -> SafeString:
        return on_or_off(rule.active)

    @admin.action(description=_("Switch on"), permissions=["change"])
    def switch_on(self, request: HttpRequest, queryset: QuerySet[AlertRule]) -> None:
        self._switch(request, queryset, True)

    @admin.action(description=_("Switch off"), permissions=["change"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[AlertRule]) -> None:
        self._switch(request, queryset, False)

    def _switch(self, request: HttpRequest, rules: QuerySet[AlertRule], active: bool) -> None:
        for rule in rules.exclude(active=active):
            rule.active = active
            rule.save()
            self.log_change(request, rule, "Switched on." if active else "Switched off.")
        names = ", ".join(rule.name for rule in rules)
        messages.success(request, (gettext("Switched on: %s.") if active else gettext("Switched off: %s.")) % names)


# Channels


class ChannelForm(forms.ModelForm):
    """The URL and the secret are write-only."""

    url = SecretField(
        label=_("URL"),
        strip=True,
        help_text=_(
            "For webhooks: the https://… that the service shows. It is not displayed: everyone who has it can post."
        ),
    )
    secret = SecretField(
        label=_("Secret"),
        help_text=_(
            "For Feishu and DingTalk: the secret of the bot's signature check, if enabled. For JSON: the key of "
            "X-Taifish-Signature. For a bot that requires a keyword, enter the keyword Taifish at the bot instead."
        ),
    )
    clear_secret = forms.BooleanField(
        label=_("No secret"),
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        help_text=_("Delete the stored secret. Messages are no longer signed."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, stored in (("url", self.instance.url_token), ("secret", self.instance.secret_token)):
            if name in self.fields and self.instance.pk:
                self.fields[name].say_stored(stored)

    def clean(self) -> dict[str, Any]:
        """Set the URL and the secret on the channel, so that its `clean()` checks them."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("secret") and cleaned.get("clear_secret"):
            self.add_error("clear_secret", gettext("Enter a secret or select “No secret”, not both."))
        if cleaned.get("url"):
            self.instance.url = cleaned["url"]
        if cleaned.get("secret"):
            self.instance.secret = cleaned["secret"]
        elif cleaned.get("clear_secret"):
            self.instance.secret = ""
        return cleaned


def send_a_test(request: HttpRequest, channel: Channel) -> None:
    delivery = services.send_test(channel)
    if delivery.status == Delivery.Status.SENT:
        messages.success(request, gettext("The service accepted the test message. Check that it arrived."))
    else:
        messages.error(request, gettext("The test message was not delivered. %s") % delivery.error)


@admin.register(Channel)
class ChannelAdmin(ButtonAdmin):
    form = ChannelForm
    list_display = ["name", "kind", "has_address", "state", "daily", Column("n_rules", _("rules")), "updated_at"]
    list_filter = ["kind", "active"]
    search_fields = ["name", "note"]
    formfield_overrides = NOTES
    buttons = [
        Button("test", _("Send a test"), "alerts.change_channel", send_a_test, icon="send", main=True),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Channel]:
        return super().get_queryset(request).annotate(n_rules=Count("rules"))

    def get_fieldsets(self, request: HttpRequest, obj: Channel | None = None) -> list[Any]:
        if obj is None:
            where = ["kind", "addresses", "daily", "url", "secret"]
        elif not self.has_change_permission(request, obj):
            where = ["kind", "addresses", "daily", "has_address", "has_secret"]
        elif obj.kind == Channel.Kind.EMAIL:
            where = ["kind", "addresses", "daily"]
        else:
            signed = ["secret", "clear_secret"] if obj.secret_token else ["secret"]
            where = ["kind", "url", *(signed if obj.kind in Channel.SIGNED else [])]
        return [(None, {"fields": ["name", *where, "active", "note"]})]

    def get_readonly_fields(self, request: HttpRequest, obj: Channel | None = None) -> list[str]:
        """The kind of a stored channel: the address belongs to it."""
        return ["kind"] if obj else []

    @display(description=_("active"), ordering="active")
    def state(self, channel: Channel) -> SafeString:
        return on_or_off(channel.active)

    @display(description=_("address stored"), boolean=True)
    def has_address(self, channel: Channel) -> bool:
        return bool(channel.url_token or channel.addresses)

    @display(description=_("secret stored"), boolean=True)
    def has_secret(self, channel: Channel) -> bool:
        return bool(channel.secret_token)


# Alerts and deliveries


class OpenFilter(LeavingFilter):
    title = _("state")
    parameter_name = "state"
    default = "open"
    options = [("open", _("Open")), ("over", _("Over")), ("all", _("Open and over"))]
    parameter = "open"
    values = {"open": "true", "over": "false", "all": None}


class UnreadFilter(ParameterFilter):
    title = _("inbox")
    parameter_name = "unread"
    options = [("yes", _("Unread")), ("no", _("Read, or over"))]


def mark_all_read(request: HttpRequest, row: None) -> None:
    messages.success(request, _marked(services.mark_read(request.user)))


def _marked(count: int) -> str:
    return ngettext("%d alert is marked as read.", "%d alerts are marked as read.", count) % count


@admin.register(Alert)
class AlertAdmin(InspectOnlyAdmin):
    actions = ["mark_read"]
    buttons = [
        Button("read", _("Mark all as read"), "alerts.view_alert", mark_all_read, "done_all", on_list=True, main=True),
    ]
    list_display = ["text", "instance", "rule", "state", "first_seen_at", "last_seen_at"]
    filter_set = AlertFilters
    list_filter = [UnreadFilter, OpenFilter, "rule__kind", "rule", "instance", "first_seen_at"]
    list_select_related = ["rule", "instance"]
    list_fullwidth = True
    show_full_result_count = False
    search_fields = ["text", "instance__name"]
    fields = ["text", "instance", "rule", "state", ("first_seen_at", "last_seen_at", "resolved_at")]

    @display(description=_("state"), ordering="resolved_at")
    def state(self, alert: Alert) -> SafeString:
        return badge("completed", gettext("over")) if alert.resolved_at else badge("failed", gettext("open"))

    @admin.action(description=_("Mark as read"), permissions=["view"])
    def mark_read(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        messages.success(request, _marked(services.mark_read(request.user, queryset)))


def alerts_part(request: HttpRequest, instance: Instance) -> Part:
    """The open alerts of an instance, the newest by name."""
    rows = Alert.objects.open().filter(instance=instance)
    n = rows.count()
    url = list_url("alerts_alert", instance__id__exact=instance.pk)
    context = {"rows": rows[:ALERTS] if n else [], "n_more": n - ALERTS, "all": url}
    state = SafeString(render_to_string("alerts/alerts_of_instance.html", context, request)) if n else ""
    return Part(state=state, figures=[Figure(_("Open alerts"), n, url, is_alarm=n > 0)])


OF_INSTANCES = [Addition("alerts.view_alert", part=alerts_part)]


def send_again(request: HttpRequest, delivery: Delivery) -> None:
    if services.send_again(delivery):
        messages.success(request, gettext("It will be sent within a minute."))


@admin.register(Delivery)
class DeliveryAdmin(InspectOnlyAdmin):
    list_display = ["subject", "channel", STATUS, "attempts", "error", "created_at", "sent_at"]
    list_filter = ["status", "channel", "is_test", "created_at"]
    list_select_related = ["channel"]
    show_full_result_count = False
    fields = ["channel", STATUS, ("attempts", "not_before"), "error", ("created_at", "sent_at"), "message"]
    buttons = [
        Button(
            "again",
            _("Send again"),
            "alerts.change_delivery",
            send_again,
            icon="replay",
            shown=lambda delivery: delivery.status == Delivery.Status.FAILED and not delivery.is_test,
            main=True,
        )
    ]

    @display(description=_("message"), ordering="pk")
    def subject(self, delivery: Delivery) -> str:
        return delivery.digest["subject"]

    @display(description=_("message"))
    def message(self, delivery: Delivery) -> SafeString:
        return format_html('<pre class="tf-name">{}</pre>', text_of(delivery.digest))
