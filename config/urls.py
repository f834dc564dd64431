"""Every address of the product."""

from django.urls import include, path

from annotate.admin import site
from config import pages
from config.health import health

urlpatterns = [
    path("", pages.home, name="home"),
    path("health", health, name="health"),
    path("", include("config.sign_on")),
    path("", include("annotate.urls")),
    path("", include("rewards.app.urls")),
    path("", include("policy.app.urls")),
    path("runs/", include("runs.urls")),
    path("django-admin/", site.urls),
]
handler400 = pages.bad_request
handler403 = pages.forbidden
handler404 = pages.not_found
handler500 = pages.broken
