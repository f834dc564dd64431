"""The addresses of runs."""

from django.urls import path

from runs import views

app_name = "runs"
urlpatterns = [
    path("", views.runs, name="runs"),
    path("<int:pk>/", views.run, name="run"),
    path("<int:pk>/cancel/", views.cancel, name="cancel"),
    path("<int:pk>/pause/", views.pause, name="pause"),
    path("<int:pk>/resume/", views.resume, name="resume"),
    path("<int:pk>/metrics.jsonl", views.download, {"name": "metrics.jsonl"}, name="metrics"),
    path("<int:pk>/log.txt", views.download, {"name": "log.txt"}, name="log"),
]
