"""Addresses of the labeling half."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from annotate import views

app_name = "annotate"
urlpatterns = [
    path("sign-in/", views.sign_in, name="sign-in"),
    path("sign-in/<str:token>/", views.follow_link, name="link"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("theme/", views.theme, name="theme"),
    path("projects/<slug:slug>/", views.project_page, name="project"),
    path("projects/<slug:slug>/compare/", views.compare, name="compare"),
    path("projects/<slug:slug>/pairs.jsonl", views.pairs, name="pairs"),
    path("projects/<slug:slug>/simulate/", views.simulate, name="simulate"),
    path("assignments/<uuid:key>/judge/", views.judge, name="judge"),
    path("assignments/<uuid:key>/undo/", views.undo, name="undo"),
    path("assignments/<uuid:key>/skip/", views.skip, name="skip"),
]
