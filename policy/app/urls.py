"""Addresses of rounds and of trying policies."""

from django.urls import path

from policy.app import views

app_name = "policy"
urlpatterns = [
    path("projects/<slug:slug>/rounds/", views.all_rounds, name="rounds"),
    path("projects/<slug:slug>/rounds/<int:number>/", views.round_page, name="round"),
    path("projects/<slug:slug>/rounds/<int:number>/promote/", views.promote, name="promote"),
    path("projects/<slug:slug>/rounds/<int:number>/reject/", views.reject, name="reject"),
    path("projects/<slug:slug>/rounds/<int:number>/retry/", views.retry, name="retry"),
    path("projects/<slug:slug>/rounds/<int:number>/stop/", views.stop, name="stop"),
    path("projects/<slug:slug>/try/", views.ask, name="try"),
    path("projects/<slug:slug>/try/<int:run>/", views.answers, name="answers"),
]
