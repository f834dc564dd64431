"""The peer: the least that Django can do where a judgment is stored and the next comparison shown.

One POST: signed-in session, one row selected and a page of the same size, one row inserted, one commit.
"""

import os
import sys
import uuid
from pathlib import Path

import django
from django.conf import settings

from config.environment import database

if not settings.configured:
    settings.configure(
        SECRET_KEY="bench" * 12,
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF="bench.bare",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        DATABASES={
            "default": database(
                os.environ["DATABASE_URL"],
                data=Path("/"),
                synchronous="FULL",
                pooled="serve" in os.environ.get("BARE", ""),
            )
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()

from django.contrib.auth import get_user_model, login
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import connection, models, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path


class Item(models.Model):
    text = models.TextField()
    left = models.IntegerField()

    class Meta:
        app_label = "bare"


class Vote(models.Model):
    item = models.ForeignKey(Item, models.CASCADE)
    user = models.ForeignKey("auth.User", models.CASCADE)
    key = models.UUIDField()

    class Meta:
        app_label = "bare"


def enter(request: HttpRequest, name: str) -> HttpResponse:
    user, _ = get_user_model().objects.get_or_create(username=name)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse("in")


def judge(request: HttpRequest) -> HttpResponse:
    item = Item.objects.filter(left__gt=0).first()
    with transaction.atomic():
        Vote.objects.create(item_id=item.pk, user_id=request.user.pk, key=uuid.uuid4())
    return HttpResponse(f"{item.pk}:{request.user.pk}:{item.text}")


urlpatterns = [path("enter/<str:name>/", enter), path("judge/", judge)]
application = WSGIHandler()

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(Item)
        editor.create_model(Vote)
    Item.objects.bulk_create(Item(text="x" * int(sys.argv[1]), left=1_000_000) for _ in range(1000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
