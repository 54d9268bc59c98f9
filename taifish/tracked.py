"""The configuration that the audit trail follows: tables, and which of their columns are configuration.

A test fails for a column that is named nowhere here. Names of SQL stand for what `audit.tracking.Tracked` says.
"""

from audit.tracking import Tracked


def _of(table: str, column: str, key: str) -> str:
    """The column of the row that the key refers to."""
    return f"(SELECT t.{column} FROM {table} t WHERE t.id = r.{key}_id)"  # noqa: S608 -- names from below


_USER = _of("auth_user", "username", "user")
_GROUP = _of("auth_group", "name", "group")
_TAG = _of("tagging_tag", "label", "tag")
_CAMPAIGN = _of("reviews_campaign", "name", "campaign")
_INSTANCE = _of("instances_instance", "name", "instance")
_PERMISSION = _of("auth_permission", "codename", "permission")
_FILTER = ("action", "engine", "instance_id", "pattern", "system_only", "active", "note")


def _pair(first: str, second: str) -> str:
    return f"coalesce({first}, '?') || ': ' || coalesce({second}, '?')"


TRACKED = (
    Tracked(
        "instances.Instance",
        columns=(
            "name",
            "engine",
            "host",
            "port",
            "database",
            "credential_id",
            "tls_mode",
            "tls_ca",
            "proof",
            "certificate",
            "certificate_compared",
            "connect_timeout",
            "statement_timeout",
            "budget",
            "level",
            "note",
            "retired_at",
        ),
        # What visits write, and times that the event has itself.
        left_out=("id", "seen_certificate", "seen_certificate_at", "product", "version", "created_at", "updated_at"),
        instance="r.id",
    ),
    Tracked(
        "instances.Credential",
        columns=("name", "username", "kind", "reference", "hosts", "note"),
        left_out=("id", "created_at", "updated_at"),
        secrets={"token": "password"},
    ),
    Tracked("tagging.Tag", columns=("slug", "label", "category", "colour", "active"), left_out=("id",), name="r.label"),
    Tracked(
        "tagging.InstanceTag",
        columns=("instance_id", "tag_id"),
        left_out=("id", "added_at", "added_by_id"),
        name=_pair(_INSTANCE, _TAG),
        instance="r.instance_id",
    ),
    Tracked(
        "tagging.TagLimit",
        columns=("group_id", "user_id", "tag_id"),
        left_out=("id",),
        name=_pair(f"coalesce({_USER}, {_GROUP})", _TAG),
    ),
    Tracked("accounts.AccountFilter", columns=_FILTER, left_out=("id",), name="r.pattern", instance="r.instance_id"),
    Tracked("capacity.DatabaseFilter", columns=_FILTER, left_out=("id",), name="r.pattern", instance="r.instance_id"),
    Tracked(
        "classification.Classification",
        columns=("code", "name", "risk", "colour", "priority", "is_system", "note"),
        left_out=("id",),
    ),
    Tracked(
        "classification.ClassificationRule",
        columns=(
            "classification_id",
            "code",
            "name",
            "engine",
            "expression",
            "active",
            "note",
            "is_system",
            "retired_at",
        ),
        # A version is made by a change of the expression; the mapping is of the import of rules.
        left_out=("id", "version", "mapping", "updated_at"),
    ),
    Tracked(
        "classification.Assignment",
        columns=("account_id", "instance_id", "classification_id", "reason", "since", "until"),
        left_out=("id", "rule_id", "rule_version", "assigned_by_id", "unconfirmed_since"),
        name=_pair(
            _of("accounts_account", "name", "account"),
            _of("classification_classification", "name", "classification"),
        ),
        instance="r.instance_id",
        # Rules assign by thousands; what they assign has a history of its own.
        only="r.rule_id IS NULL",
    ),
    Tracked(
        "planning.SizeLimit",
        columns=("instance_id", "database_id", "tablespace_id", "tag_id", "size", "note"),
        left_out=("id", "set_by_id", "set_at"),
        name=f"coalesce({_INSTANCE}, {_of('capacity_database', 'name', 'database')},"
        f" {_of('capacity_tablespace', 'name', 'tablespace')}, {_TAG}, '*')",
        instance=f"coalesce(r.instance_id, {_of('capacity_database', 'instance_id', 'database')},"
        f" {_of('capacity_tablespace', 'instance_id', 'tablespace')})",
    ),
    Tracked(
        "planning.Volume",
        columns=("name", "size", "note"),
        # What is read from Prometheus.
        left_out=("id", "mount", "available", "read_at"),
    ),
    Tracked(
        "planning.Volume_instances",
        columns=("volume_id", "instance_id"),
        left_out=("id",),
        name=_pair(_of("planning_volume", "name", "volume"), _INSTANCE),
        # Without its instance: the name of a volume may name others that lie on it.
    ),
    Tracked(
        "owners.Person",
        columns=("name", "mail", "external_id", "active", "user_id"),
        left_out=("id",),
    ),
    Tracked(
        "owners.Ownership",
        columns=("account_id", "owner_id", "kind", "note", "ticket"),
        left_out=("id",),
        name=_pair(_of("accounts_account", "name", "account"), _of("owners_person", "name", "owner")),
        instance=_of("accounts_account", "instance_id", "account"),
    ),
    Tracked(
        "owners.OwnerRule",
        columns=("order", "match", "pattern", "engine", "tag_id", "kind", "active"),
        left_out=("id",),
        name="r.match || ' ' || r.pattern",
    ),
    Tracked(
        "owners.EndDate",
        columns=(
            "account_id",
            "of",
            "role_id",
            "grant_kind",
            "database",
            "scope",
            "privilege",
            "denied",
            "ends_on",
            "reason",
            "ticket",
            "approver",
        ),
        left_out=("id", "created_by_id", "created_at"),
        name=_of("accounts_account", "name", "account"),
        instance=_of("accounts_account", "instance_id", "account"),
    ),
    Tracked(
        "drift.Baseline",
        columns=("name", "tag_id", "reference_id", "state_at", "ignored", "active", "note"),
        # The document of `state_at`, and what alerts keep.
        left_out=("id", "state", "counted"),
    ),
    Tracked(
        "drift.Baseline_instances",
        columns=("baseline_id", "instance_id"),
        left_out=("id",),
        name=_pair(_of("drift_baseline", "name", "baseline"), _INSTANCE),
        instance="r.instance_id",
    ),
    Tracked(
        "drift.AcceptedDeviation",
        columns=("baseline_id", "instance_id", "account", "deviation", "reason", "ticket", "ends_on"),
        # A digest of what is named, and what the event has itself.
        left_out=("id", "key", "accepted_by_id", "accepted_at"),
        name=_pair(_of("drift_baseline", "name", "baseline"), "r.account || ': ' || r.deviation"),
        instance="r.instance_id",
    ),
    Tracked(
        "duties.DutyPair",
        columns=(
            "name",
            "reason",
            "active",
            "first_classification_id",
            "first_privilege",
            "first_on",
            "second_classification_id",
            "second_privilege",
            "second_on",
        ),
        left_out=("id",),
    ),
    Tracked(
        "duties.AcceptedConflict",
        columns=("pair_id", "owner_id", "account_id", "first", "second", "reason", "ticket", "ends_on"),
        # What the event has itself.
        left_out=("id", "accepted_by_id", "accepted_at"),
        name=_pair(
            _of("duties_dutypair", "name", "pair"),
            f"coalesce({_of('owners_person', 'name', 'owner')}, {_of('accounts_account', 'name', 'account')})",
        ),
        instance=_of("accounts_account", "instance_id", "account"),
    ),
    Tracked(
        "reviews.Campaign",
        columns=(
            "name",
            "engines",
            "privilege",
            "on",
            "by",
            "due_on",
            "escalate_to_id",
            "escalate_after",
            "previous_id",
            "note",
            "state",
            "acknowledged_text",
        ),
        # Names and times of what the event says itself, and what the freeze makes of the rest.
        left_out=(
            "id",
            "scope_text",
            "query_text",
            "version",
            "created_by_id",
            "created_at",
            "frozen_at",
            "closed_at",
            "acknowledged_by_id",
            "acknowledged_name",
            "acknowledged_at",
            "sealed_at",
        ),
    ),
    Tracked(
        "reviews.Campaign_tags",
        columns=("campaign_id", "tag_id"),
        left_out=("id",),
        name=_pair(_CAMPAIGN, _TAG),
    ),
    Tracked(
        "reviews.Campaign_classifications",
        columns=("campaign_id", "classification_id"),
        left_out=("id",),
        name=_pair(_CAMPAIGN, _of("classification_classification", "name", "classification")),
    ),
    Tracked(
        "reviews.Reviewer",
        columns=("campaign_id", "user_id", "tag_id"),
        left_out=("id",),
        name=_pair(_CAMPAIGN, _USER),
    ),
    Tracked(
        "reviews.SigningKey",
        columns=("public",),
        left_out=("id", "made_at"),
        secrets={"token": "private key"},
        name="r.public",
    ),
    Tracked(
        "alerts.Channel",
        columns=("name", "kind", "addresses", "active", "daily", "note"),
        left_out=("id", "created_at", "updated_at"),
        secrets={"url_token": "url", "secret_token": "secret"},
    ),
    Tracked(
        "alerts.AlertRule",
        columns=("name", "kind", "threshold", "min_bytes", "tag_id", "tell_resolved", "active", "note"),
        left_out=("id", "active_since", "evaluated_at"),
    ),
    Tracked(
        "alerts.AlertRule_channels",
        columns=("alertrule_id", "channel_id"),
        left_out=("id",),
        name=_pair(
            _of("alerts_alertrule", "name", "alertrule"),
            _of("alerts_channel", "name", "channel"),
        ),
    ),
    Tracked(
        "django_celery_beat.PeriodicTask",
        columns=(
            "name",
            "task",
            "interval_id",
            "crontab_id",
            "solar_id",
            "clocked_id",
            "args",
            "kwargs",
            "queue",
            "exchange",
            "routing_key",
            "headers",
            "priority",
            "expires",
            "expire_seconds",
            "one_off",
            "start_time",
            "enabled",
            "description",
        ),
        # What beat writes.
        left_out=("id", "last_run_at", "total_run_count", "date_changed"),
    ),
    Tracked(
        "django_celery_beat.IntervalSchedule",
        columns=("every", "period"),
        left_out=("id",),
        name="r.every || ' ' || r.period",
    ),
    Tracked(
        "django_celery_beat.CrontabSchedule",
        columns=("minute", "hour", "day_of_week", "day_of_month", "month_of_year", "timezone"),
        left_out=("id",),
        name="concat_ws(' ', r.minute, r.hour, r.day_of_month, r.month_of_year, r.day_of_week, r.timezone)",
    ),
    Tracked(
        "django_celery_beat.ClockedSchedule",
        columns=("clocked_time",),
        left_out=("id",),
        name="r.clocked_time",
    ),
    Tracked(
        "django_celery_beat.SolarSchedule",
        columns=("event", "latitude", "longitude"),
        left_out=("id",),
        name="r.event",
    ),
    Tracked(
        "auth.User",
        columns=("username", "first_name", "last_name", "email", "is_staff", "is_active", "is_superuser"),
        left_out=("id", "last_login", "date_joined"),
        secrets={"password": "password"},
        name="r.username",
    ),
    Tracked("auth.Group", columns=("name",), left_out=("id",)),
    Tracked("auth.User_groups", columns=("user_id", "group_id"), left_out=("id",), name=_pair(_USER, _GROUP)),
    Tracked(
        "auth.User_user_permissions",
        columns=("user_id", "permission_id"),
        left_out=("id",),
        name=_pair(_USER, _PERMISSION),
    ),
    Tracked(
        "auth.Group_permissions",
        columns=("group_id", "permission_id"),
        left_out=("id",),
        name=_pair(_GROUP, _PERMISSION),
    ),
    Tracked("taifish.SecondFactorGroup", columns=("group_id",), name=_GROUP),
    Tracked(
        "mfa.Authenticator",
        columns=("user_id", "type"),
        # Secrets, codes and counters, which uses change.
        left_out=("id", "data", "created_at", "last_used_at"),
        name=_pair(_USER, "r.type"),
    ),
    Tracked(
        "taifish.Identity",
        columns=("user_id", "issuer", "subject"),
        left_out=("id",),
        name=_USER,
    ),
    Tracked(
        "taifish.SavedView",
        columns=("user_id", "list_name", "name", "query", "columns", "shared"),
        left_out=("id", "is_default"),
        # What nobody else sees is nobody else's business.
        only="r.shared",
    ),
    Tracked(
        "taifish.ApiToken",
        columns=("user_id", "name", "expires_at", "read_only", "addresses"),
        # A digest is as good as a password to whoever can guess; the rest is written by use.
        left_out=("id", "digest", "created_at", "last_used_at", "last_used_from"),
    ),
)
