"""Every address of the product."""

from django.urls import include, path

from config import pages
from config.health import health

urlpatterns = [
    path("", pages.home, name="home"),
    path("health", health, name="health"),
    path("", include("annotate.urls")),
    path("", include("policy.app.urls")),
    path("runs/", include("runs.urls")),
]
handler400 = pages.bad_request
handler403 = pages.forbidden
handler404 = pages.not_found
handler500 = pages.broken
