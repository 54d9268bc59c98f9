"""Settings, all from the environment. The table in docs/settings.md documents every variable."""

import secrets
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import dj_database_url
import structlog
from cryptography.fernet import Fernet
from csp import constants as csp
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

from engines.facts import GRANT_KINDS
from engines.registry import engine_choices
from taifish import embedded
from taifish.environment import (
    allowed,
    destination,
    flag,
    https_url,
    kept_secret,
    number,
    one_of,
    pattern,
    per_minute,
    run_by_celery,
    service_url,
    text,
    words,
)
from taifish.provider import provider

BASE_DIR = Path(__file__).resolve().parent.parent
TAIFISH_DATA_DIR = Path(text("TAIFISH_DATA_DIR", str(BASE_DIR / "var"))).resolve()

# Store

TAIFISH_DATABASE_URL = text("DATABASE_URL")
TAIFISH_EMBEDDED = not TAIFISH_DATABASE_URL
if TAIFISH_EMBEDDED:
    embedded.keep_private(TAIFISH_DATA_DIR)
    DATABASES = {"default": embedded.database(TAIFISH_DATA_DIR)}
else:
    try:
        DATABASES = {"default": dj_database_url.parse(TAIFISH_DATABASE_URL)}
    except ValueError:
        # The library's message contains the URL with the password.
        raise ImproperlyConfigured(
            "DATABASE_URL is invalid; the format is postgresql://user:password@host:5432/taifish"
        ) from None
    if DATABASES["default"]["ENGINE"] != "django.db.backends.postgresql":
        raise ImproperlyConfigured("DATABASE_URL is not a PostgreSQL: postgresql://user:password@host:5432/taifish")
DATABASES["default"] |= {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
# Otherwise clients wait for hours if the store disappears without closing connections.
DATABASES["default"]["OPTIONS"] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    **DATABASES["default"].get("OPTIONS", {}),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Keys

SECRET_KEY = kept_secret(
    "TAIFISH_SECRET_KEY",
    TAIFISH_DATA_DIR / "keys" / "secret_key",
    lambda: secrets.token_urlsafe(50),
    may_make=TAIFISH_EMBEDDED,
    hint='Make one: python -c "import secrets; print(secrets.token_urlsafe(50))"',
)
#: Fernet keys, newest first: the first encrypts, all decrypt.
TAIFISH_CREDENTIAL_KEYS = kept_secret(
    "TAIFISH_CREDENTIAL_KEYS",
    TAIFISH_DATA_DIR / "keys" / "credential_keys",
    lambda: Fernet.generate_key().decode(),
    may_make=TAIFISH_EMBEDDED,
    hint='Make one: python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"',
).split(",")

# Web

TAIFISH_OIDC = provider()
DEBUG = flag("TAIFISH_DEBUG", False)
ALLOWED_HOSTS = words("TAIFISH_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = words("TAIFISH_CSRF_TRUSTED_ORIGINS")
ROOT_URLCONF = "taifish.urls"
WSGI_APPLICATION = "taifish.wsgi.application"

TAIFISH_HTTPS = flag("TAIFISH_HTTPS", not TAIFISH_EMBEDDED)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = SECURE_SSL_REDIRECT = TAIFISH_HTTPS
SECURE_HSTS_SECONDS = int(timedelta(days=365).total_seconds()) if TAIFISH_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = TAIFISH_HTTPS
# Browsers keep a preloaded name for months, for all its subdomains.
SECURE_HSTS_PRELOAD = flag("TAIFISH_HSTS_PRELOAD", False)
SILENCED_SYSTEM_CHECKS = ["security.W021"]
TAIFISH_BEHIND_PROXY = flag("TAIFISH_BEHIND_PROXY", False)
if TAIFISH_BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
# No page has scripts of its own; Alpine, which unfold uses, compiles its attributes, and unfold sets styles in pages.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [csp.SELF],
        "script-src": [csp.SELF, csp.NONCE, csp.UNSAFE_EVAL],
        "style-src": [csp.SELF, csp.UNSAFE_INLINE],
        "img-src": [csp.SELF, "data:"],
        "object-src": [csp.NONE],
        "base-uri": [csp.NONE],
        "frame-ancestors": [csp.NONE],
        # Browsers apply it to redirects of a form too: the login's leads to the OpenID provider.
        "form-action": [csp.SELF, *(["https:", "http:"] if TAIFISH_OIDC else [])],
    }
}
TAIFISH_API_DOCS_OPEN = flag("TAIFISH_API_DOCS_OPEN", False)
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")

# By name and address, so that users cannot lock out others. By address alone: taifish.login.AddressLimit.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = number("TAIFISH_LOGIN_TRIES", 10, 1, 1000)
TAIFISH_LOGIN_ADDRESS_TRIES = number("TAIFISH_LOGIN_ADDRESS_TRIES", 50, 1, 100_000)
AXES_COOLOFF_TIME = timedelta(minutes=number("TAIFISH_LOGIN_PAUSE", 15, 1, 10080))
AXES_RESET_ON_SUCCESS = True
# Attempts during a pause do not extend it.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_CLIENT_IP_CALLABLE = "taifish.login.client_address"
AXES_LOCKOUT_CALLABLE = "taifish.login.locked"
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
# A session ends after so much time without a request, and after so much time in all.
TAIFISH_SESSION_IDLE = timedelta(minutes=number("TAIFISH_SESSION_IDLE", 30, 1, 1440))
TAIFISH_SESSION_MAX = timedelta(hours=number("TAIFISH_SESSION_MAX", 12, 1, 720))
SESSION_COOKIE_AGE = int(TAIFISH_SESSION_IDLE.total_seconds())
# django-allauth: the steps of a login, second factors, list of sessions. Passwords are checked by the backends below,
# and logins through an OpenID provider by taifish.oidc.
ACCOUNT_ADAPTER = "taifish.second_factor.AccountAdapter"
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
ACCOUNT_LOGIN_TIMEOUT = 300
ACCOUNT_FORMS = {"reauthenticate": "taifish.second_factor.PasswordForm"}
# In addition to the limits of taifish.login: wrong codes of one user, from whatever addresses, in each web process.
ACCOUNT_RATE_LIMITS = {"login_failed": "20/15m/key", "login": None, "reauthenticate": None}
MFA_ADAPTER = "taifish.second_factor.FactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_FORMS = {
    "activate_totp": "taifish.second_factor.FirstCodeForm",
    "add_webauthn": "taifish.second_factor.NewKeyForm",
    "authenticate": "taifish.second_factor.CodeForm",
    "authenticate_webauthn": "taifish.second_factor.KeyForm",
    "reauthenticate": "taifish.second_factor.CodeAgainForm",
    "reauthenticate_webauthn": "taifish.second_factor.KeyAgainForm",
}
MFA_TOTP_ISSUER = "Taifish"
MFA_TOTP_TOLERANCE = 1
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_RECOVERY_CODE_DIGITS = 10
TAIFISH_OIDC_PASSWORDS = flag("TAIFISH_OIDC_PASSWORDS", True)
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    # Before the one that grants permissions: it denies some to users who do not see all instances.
    "tagging.visibility.LimitBackend",
    # Sessions use the last one.
    "taifish.login.NoPasswords" if TAIFISH_OIDC and not TAIFISH_OIDC_PASSWORDS else "taifish.login.Passwords",
]

TAIFISH_API_BASIC = flag("TAIFISH_API_BASIC", False)
TAIFISH_TOKEN_DAYS = number("TAIFISH_TOKEN_DAYS", 90, 1, 3650)

#: Workers and beat show no pages: they do without the modules of the admin and the API, a third of their memory.
TAIFISH_PAGES = not run_by_celery()
INSTALLED_APPS = [
    *(
        [
            "unfold.apps.BasicAppConfig",
            "unfold.contrib.filters",
            "unfold.contrib.import_export",
            "taifish.site.PagesConfig",
        ]
        if TAIFISH_PAGES
        else []
    ),
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "axes",
    "django_celery_beat",
    *(
        [
            "allauth",
            "allauth.account",
            "allauth.mfa",
            "allauth.usersessions",
            "django_filters",
            "drf_spectacular",
            "drf_spectacular_sidecar",
            "import_export",
            "rest_framework",
        ]
        if TAIFISH_PAGES
        else []
    ),
    "taifish",
    "console",
    "audit",
    "instances",
    "tagging",
    "sync",
    "accounts",
    "access",
    "capacity",
    "aggregation",
    "planning",
    "classification",
    "owners",
    "drift",
    "duties",
    "reviews",
    "alerts",
]

MIDDLEWARE = [
    "taifish.health.answer_probes",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "taifish.inbound.middleware",
    "taifish.trail.middleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    # Against BREACH it adds a random number of bytes, and Django masks CSRF tokens anew for each response.
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "taifish.language.LanguageMiddleware",
    "taifish.time_zone.middleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "taifish.login_sessions.middleware",
    "axes.middleware.AxesMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# For new passwords only: existing ones work until they are changed.
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in {
        "UserAttributeSimilarityValidator": {},
        "MinimumLengthValidator": {"min_length": 12},
        "CommonPasswordValidator": {},
        "NumericPasswordValidator": {},
    }.items()
]

STATIC_URL = "static/"
# Served from the packages, without collectstatic.
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 3600

# Language and time

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
FORMAT_MODULE_PATH = "taifish.formats"
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = text("TAIFISH_TIME_ZONE", "UTC")
try:
    ZoneInfo(TIME_ZONE)
except (ZoneInfoNotFoundError, ValueError):
    raise ImproperlyConfigured(
        f"TAIFISH_TIME_ZONE is {TIME_ZONE!r}; set it to a name such as Asia/Shanghai or Europe/Berlin."
    ) from None

# Visits (in seconds unless noted)

# With the reaper's 30 s, a dead worker's visit is taken over within two minutes.
TAIFISH_LEASE = number("TAIFISH_LEASE", 60, 5, 80)
TAIFISH_MAX_BUDGET = 3600
TAIFISH_VISITS_PER_HOST = number("TAIFISH_VISITS_PER_HOST", 2, 1, 100)
TAIFISH_VISIT_ATTEMPTS = number("TAIFISH_VISIT_ATTEMPTS", 3, 1, 10)
TAIFISH_RETRY_DELAY = number("TAIFISH_RETRY_DELAY", 30, 1, 3600)
TAIFISH_START_SPREAD = number("TAIFISH_START_SPREAD", 60, 0, 3600)
TAIFISH_PAUSE_AFTER = number("TAIFISH_PAUSE_AFTER", 5, 1, 1000)
# In hours. Older reads are stale.
TAIFISH_STALE_AFTER = number("TAIFISH_STALE_AFTER", 36, 1, 8760)
TAIFISH_KEEP_SESSIONS_DAYS = number("TAIFISH_KEEP_SESSIONS_DAYS", 180, 1, 3650)
# At least 190, so that the current and the last quarter can be aggregated again.
TAIFISH_KEEP_SIZES_DAYS = number("TAIFISH_KEEP_SIZES_DAYS", 800, 190, 36500)
# 0: the largest tables are not stored.
TAIFISH_TABLE_SIZES_TOP = number("TAIFISH_TABLE_SIZES_TOP", 0, 0, 1000)
TAIFISH_KEEP_RETIRED_DAYS = number("TAIFISH_KEEP_RETIRED_DAYS", 7, 1, 3650)

# Volumes read from Prometheus; empty: none

TAIFISH_PROMETHEUS_URL = service_url("TAIFISH_PROMETHEUS_URL")
TAIFISH_PROMETHEUS_LABEL = text("TAIFISH_PROMETHEUS_LABEL", "instance")
TAIFISH_PROMETHEUS_MOUNTPOINT = pattern(
    "TAIFISH_PROMETHEUS_MOUNTPOINT", needed_by="TAIFISH_PROMETHEUS_URL" if TAIFISH_PROMETHEUS_URL else ""
)

# Secrets of credentials that are not stored

TAIFISH_SECRETS_DIR = text("TAIFISH_SECRETS_DIR")
TAIFISH_VAULT_URL = https_url("TAIFISH_VAULT_URL")
TAIFISH_VAULT_CA = text("TAIFISH_VAULT_CA")
TAIFISH_VAULT_NAMESPACE = text("TAIFISH_VAULT_NAMESPACE")
TAIFISH_VAULT_TOKEN_PATH = text("TAIFISH_VAULT_TOKEN_PATH")
TAIFISH_VAULT_ROLE_ID = text("TAIFISH_VAULT_ROLE_ID")
TAIFISH_VAULT_SECRET_ID = text("TAIFISH_VAULT_SECRET_ID")

# Alert channels

TAIFISH_WEBHOOK_ALLOW = allowed("TAIFISH_WEBHOOK_ALLOW")

# Time stamps of evidence packs; empty: none

TAIFISH_TIMESTAMP_URL = service_url("TAIFISH_TIMESTAMP_URL")
TAIFISH_TIMESTAMP_CA = text("TAIFISH_TIMESTAMP_CA")

# Celery

#: kombu's filesystem transport ignores the host, but warns if it is missing.
CELERY_BROKER_URL = text("CELERY_BROKER_URL", "filesystem://localhost")
if CELERY_BROKER_URL.startswith("filesystem:"):
    CELERY_BROKER_TRANSPORT = "taifish.broker:Transport"
    broker_dir = TAIFISH_DATA_DIR / "broker"
    # kombu creates the control folder, but not this one.
    (broker_dir / "queue").mkdir(mode=0o700, parents=True, exist_ok=True)
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(broker_dir / "queue"),
        "data_folder_out": str(broker_dir / "queue"),
        "control_folder": str(broker_dir / "control"),
        # The default of one second allows about five tasks a second.
        "polling_interval": 0.02,
    }
elif CELERY_BROKER_URL.startswith(("redis", "sentinel")):
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "visibility_timeout": TAIFISH_MAX_BUDGET * 2,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
    }
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Workers wait for the broker as long as it takes.
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_TIMEOUT = 5
# The reaper sends failed messages again, so users need not wait for the broker.
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2}
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
# Otherwise beat creates a schedule at each start to delete results, which are not stored.
CELERY_RESULT_EXPIRES = None
CELERY_TASK_SOFT_TIME_LIMIT = TAIFISH_MAX_BUDGET + 300
CELERY_TASK_TIME_LIMIT = TAIFISH_MAX_BUDGET + 360
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_MAX_TASKS_PER_CHILD = 200
CELERY_TIMEZONE = TIME_ZONE
CELERY_BEAT_SCHEDULER = "taifish.beat:LeaderScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 5
CELERY_BEAT_SYNC_EVERY = 1
DJANGO_CELERY_BEAT_TZ_AWARE = True

# API

REST_FRAMEWORK = {
    # The first one determines the WWW-Authenticate header.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "taifish.tokens.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
        "taifish.login.PasswordAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["api.permissions.ViewAndModelPermissions"],
    "DEFAULT_FILTER_BACKENDS": [
        "api.strict.StrictFilters",
        "rest_framework.filters.SearchFilter",
        "api.strict.StrictOrdering",
    ],
    "DEFAULT_PAGINATION_CLASS": "api.pagination.Pages",
    "DEFAULT_SCHEMA_CLASS": "api.schema.Schema",
    "EXCEPTION_HANDLER": "api.errors.handle_exception",
    # Each web process counts separately.
    "DEFAULT_THROTTLE_CLASSES": [
        "rest_framework.throttling.AnonRateThrottle",
        "rest_framework.throttling.UserRateThrottle",
    ],
    "DEFAULT_THROTTLE_RATES": {
        "anon": per_minute("TAIFISH_API_RATE_ANONYMOUS", 60),
        "user": per_minute("TAIFISH_API_RATE", 1200),
    },
    "NUM_PROXIES": int(TAIFISH_BEHIND_PROXY),
    "DEFAULT_PARSER_CLASSES": [
        "api.parsers.ShallowJSONParser",
        "rest_framework.parsers.FormParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
}
#: Shown above the endpoints.
API_DESCRIPTION = """
Who may do what on every database instance, since when. [Back to Taifish](/admin/)

**Tokens.** Create one under [API tokens](/admin/taifish/apitoken/), and send it with each request:

    curl -H "Authorization: Bearer taifish_…" "https://taifish.example.com/api/access/?privilege=all-powerful"

**Examples.** Who may write to a table: `/api/access/?privilege=any-write&on=shop.public.orders`. What an account may
do: `/api/accounts/1/effective/`. Where it is: `/api/where-is/?name=alice*`. What changed:
`/api/account-changes/?since=2026-05-01T00:00:00Z&baseline=false`. Start visits: `POST /api/sync-sessions/`.

**Answers.** Lists have pages: follow `next`. `unknown` names the instances that were not read lately: what is not
listed may be true there. Unknown parameters are refused. `postgres` and `mariadb` are accepted as names of engines.
"""

SPECTACULAR_SETTINGS = {
    "TITLE": "Taifish",
    "DESCRIPTION": API_DESCRIPTION,
    "VERSION": "0.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": [f"rest_framework.permissions.{'AllowAny' if TAIFISH_API_DOCS_OPEN else 'IsAuthenticated'}"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # Do not send the address of the schema to the public validator.
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None},
    "ENUM_NAME_OVERRIDES": {
        "GrantKindEnum": [(kind, kind) for kind in GRANT_KINDS],
        "FilterActionEnum": "instances.hiding.Filter.Action",
        "PeriodEnum": "aggregation.models.PERIODS",
        "OwnershipKindEnum": "owners.models.Ownership.Kind",
        "FillingKindEnum": "planning.reading.KINDS",
        "EngineEnum": engine_choices(),
    },
}

# Import and export

IMPORT_EXPORT_USE_TRANSACTIONS = True
IMPORT_EXPORT_ESCAPE_FORMULAE_ON_EXPORT = True

# Metrics

#: Permits scraping /metrics without a login; disabled if empty.
TAIFISH_METRICS_TOKEN = text("TAIFISH_METRICS_TOKEN")

# Audit trail

#: Where the audit trail is forwarded to as JSON lines; empty: nowhere.
TAIFISH_AUDIT_FORWARD = destination("TAIFISH_AUDIT_FORWARD")
#: Whether changes of accounts on instances are forwarded too.
TAIFISH_AUDIT_ACCOUNTS = flag("TAIFISH_AUDIT_ACCOUNTS", False)

# Logging and e-mail

DEFAULT_EXCEPTION_REPORTER_FILTER = "taifish.reports.SecretsFilter"
EMAIL_TIMEOUT = 10
EMAIL_HOST = text("TAIFISH_EMAIL_HOST", "localhost")
#: Verified by what the system trusts: "starttls" after a plain greeting, "tls" from the first byte.
_email_tls = one_of("TAIFISH_EMAIL_TLS", "no", "starttls", "tls")
EMAIL_USE_TLS, EMAIL_USE_SSL = _email_tls == "starttls", _email_tls == "tls"
EMAIL_PORT = number("TAIFISH_EMAIL_PORT", 25, 1, 65535)
EMAIL_HOST_USER = text("TAIFISH_EMAIL_USER")
EMAIL_HOST_PASSWORD = text("TAIFISH_EMAIL_PASSWORD")
SERVER_EMAIL = DEFAULT_FROM_EMAIL = text("TAIFISH_EMAIL_FROM", "taifish@localhost")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"},
        # Each line with the session and the record of the visit during which it was written.
        "json": {
            "()": structlog.stdlib.ProcessorFormatter,
            "foreign_pre_chain": [
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
                structlog.processors.format_exc_info,
            ],
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        },
    },
    "filters": {"refusals": {"()": "taifish.reports.RefusalsInOneLine"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": one_of("TAIFISH_LOG_FORMAT", "line", "json"),
            "filters": ["refusals"],
        }
    },
    "root": {"handlers": ["stderr"], "level": text("TAIFISH_LOG_LEVEL", "INFO").upper()},
    "loggers": {
        "django": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "axes": {"level": "WARNING"},
        # Its debug messages contain secrets.
        "authlib": {"level": "WARNING"},
    },
}

# Admin

STATIC = BASE_DIR / "taifish" / "static"


def current(name: str) -> Callable[[object], str]:
    """The address of a static file with its time: browsers cache it for an hour, and would use the old one after an
    upgrade."""
    return lambda request: f"{static(name)}?{(STATIC / name).stat().st_mtime_ns}"


UNFOLD = {
    "SITE_TITLE": "Taifish",
    "SITE_HEADER": "Taifish",
    "SITE_SUBHEADER": _("Who may do what, since when"),
    "SITE_SYMBOL": "database",
    # There is no other site to return to.
    "SITE_URL": None,
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_LANGUAGES": True,
    "STYLES": [current("taifish/taifish.css")],
    "SCRIPTS": [current("taifish/search.js"), current("taifish/bell.js"), current("taifish/boxes.js")],
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("taifish/icon.svg")},
    ],
    "DASHBOARD_CALLBACK": "taifish.overview.overview",
    "SIDEBAR": {
        "navigation": "taifish.sidebar.navigation",
    },
}
