"""Celery, as a worker runs it. It only executes: what there is to do stands in the database."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("RANKLOOP_PROCESS", "worker")

from celery import Celery
from celery.signals import worker_init
from django.conf import settings

from config.startup import refuse_unfit_database

REDIS = {
    "visibility_timeout": 900,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 25,
    "global_keyprefix": "rankloop:",
}
SETTINGS = {
    "broker_url": settings.REDIS_URL or "memory://localhost",
    "broker_transport_options": REDIS if settings.REDIS_URL else {},
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_connection_timeout": 2,
    "task_acks_late": False,
    "task_acks_on_failure": True,
    "task_acks_on_timeout": True,
    "task_reject_on_worker_lost": False,
    "task_retry_on_worker_lost": False,
    "task_publish_retry": False,
    "task_ignore_result": True,
    "task_always_eager": False,
    "task_time_limit": None,
    "task_soft_time_limit": None,
    "task_send_sent_event": False,
    "task_serializer": "json",
    "accept_content": ["json"],
    "result_accept_content": ["json"],
    "result_backend": None,
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": bool(settings.REDIS_URL),
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_soft_shutdown_timeout": 0,
    "worker_enable_remote_control": False,
    "worker_send_task_events": False,
    "worker_hijack_root_logger": False,
    "beat_schedule": {},
    "enable_utc": True,
    "timezone": "UTC",
    "imports": ["runs.worker"],
}

app = Celery("rankloop")
app.conf.update(SETTINGS)


@worker_init.connect
def refuse(**_: object) -> None:
    """Leave with exit code 78 where the database doesn't fit the code."""
    refuse_unfit_database()
