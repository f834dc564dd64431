"""Every setting of the product; the environment says what differs, `.env.example` lists it."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from config.environment import Environment, database, refuse

os.umask(0o077)  # whatever we write is for this user alone
BASE_DIR = Path(__file__).resolve().parent.parent
environment = Environment(os.environ)

DEBUG = environment.flag("RANKLOOP_DEBUG", default=False)
DATA_DIR = Path(environment.text("RANKLOOP_DATA", str(BASE_DIR / "data"))).absolute()
RUNS_DIR = DATA_DIR / "runs"
SECRET_KEY = environment.secret_key(DATA_DIR / "secret_key", debug=DEBUG)
PUBLIC_URL = environment.text("RANKLOOP_URL", "http://127.0.0.1:8000").rstrip("/")
PROCESS = environment.choice("RANKLOOP_PROCESS", "command", "web", "worker")
REDIS_URL = os.environ.get("REDIS_URL", "")

_address = urlsplit(PUBLIC_URL)
if _address.scheme not in ("http", "https") or not _address.hostname:
    refuse(f"RANKLOOP_URL is {PUBLIC_URL!r}; it must begin with http:// or https:// and name a host")
ALLOWED_HOSTS = [
    host.strip()
    for host in environment.text("RANKLOOP_HOSTS", f"{_address.hostname},127.0.0.1,localhost").split(",")
]
if "*" in ALLOWED_HOSTS:
    refuse("RANKLOOP_HOSTS holds *, which would answer to any name; name the hosts")

# Applications and requests

INSTALLED_APPS = [
    "annotate",
    "rewards.app",
    "policy.app",
    "runs",
    "config",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "django_htmx",
    "django.contrib.admin.apps.SimpleAdminConfig",  # annotate.admin has a site of its own
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",  # the admin asks for it
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.forms",
]
MIDDLEWARE = [
    "config.security.SecurityHeaders",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "annotate.language.RaterLanguage",  # before what may refuse a request, which it says in words
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "config.security.SessionAge",
    "config.security.SecondFactorDue",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
# config.security.SecurityHeaders sends what these two ask for, on files and error pages too.
SILENCED_SYSTEM_CHECKS = ["security.W001", "security.W002"]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": [
                "config.templatetags.look",
                "django.templatetags.static",
                "django.contrib.humanize.templatetags.humanize",
            ],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config.pages.frame",
            ],
        },
    }
]
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
FILE_UPLOAD_HANDLERS = ["annotate.uploads.LimitedUpload"]

# Database

DATABASES = {
    "default": database(
        os.environ.get("DATABASE_URL", ""),
        data=DATA_DIR,
        synchronous=environment.choice("RANKLOOP_SQLITE_SYNCHRONOUS", "FULL", "NORMAL"),
        pooled=PROCESS == "web",
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# People

AUTH_USER_MODEL = "annotate.User"
AUTHENTICATION_BACKENDS = ["config.signed_in.Backend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
LOGIN_URL = "annotate:sign-in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "annotate:sign-in"

# Second factor and single sign-on: config/accounts.py

REQUIRE_SECOND_FACTOR = environment.choice("RANKLOOP_REQUIRE_TOTP", "nobody", "admins")
ACCOUNT_ADAPTER = "config.accounts.AccountAdapter"
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_FORMS = {"reauthenticate": "config.codes.ConfirmPasswordForm"}
ACCOUNT_RATE_LIMITS = False  # they count for each process alone; `SignInFailure` counts for all
MFA_ADAPTER = "config.accounts.SecondFactorAdapter"
MFA_FORMS = {"authenticate": "config.codes.SignInCodeForm", "reauthenticate": "config.codes.ConfirmCodeForm"}
MFA_TOTP_ISSUER = "Rankloop"
MFA_TOTP_TOLERANCE = 1
SOCIALACCOUNT_ADAPTER = "config.accounts.SingleSignOnAdapter"
SOCIALACCOUNT_LOGIN_ON_GET = True  # a form's redirect to the provider would break `form-action 'self'`
SOCIALACCOUNT_PROVIDERS = environment.single_sign_on()
SINGLE_SIGN_ON = environment.text("RANKLOOP_OIDC_NAME", "single sign-on") if SOCIALACCOUNT_PROVIDERS else ""

# Sessions, cookies, transport

_secure = BEHIND_PROXY = _address.scheme == "https"  # we don't speak TLS: a proxy before us does
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _secure else None
SESSION_ENGINE = "config.signed_in"
SESSION_COOKIE_NAME = "__Host-session" if _secure else "session"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _secure
SESSION_COOKIE_AGE = 8 * 3600  # idle; config.security.SessionAge also ends a session 7 days after its start
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_USE_SESSIONS = True
CSRF_FAILURE_VIEW = "config.pages.csrf_failure"
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if _secure else []
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if _secure else 0

# Static files, language, time

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]  # of raters' pages; all others are English
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
TIME_ZONE = "UTC"

# Runs: see docs/runs.md

RUN_LEASE = environment.seconds("RANKLOOP_LEASE_SECONDS", 60)
RUN_HEARTBEAT = environment.seconds("RANKLOOP_HEARTBEAT_SECONDS", 15)
RUN_RECONCILE = environment.seconds("RANKLOOP_RECONCILE_SECONDS", 5)
RUN_STALL = environment.seconds("RANKLOOP_STALL_SECONDS", 900)
if not RUN_HEARTBEAT * 3 <= RUN_LEASE:
    refuse(f"a lease of {RUN_LEASE} leaves no room for three heartbeats of {RUN_HEARTBEAT}")

# Logs

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"()": "config.logs.PlainFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {"django.server": {"level": "WARNING"}, "kombu": {"level": "WARNING"}},
}
