"""Addresses of reward models."""

from django.urls import path

from rewards.app import api, views

app_name = "rewards"
P = "projects/<slug:slug>/reward-models"
urlpatterns = [
    path(f"{P}/", views.models, name="models"),
    path(f"{P}/new/", views.new, name="new"),
    path(f"{P}/<int:model>/", views.model, name="model"),
    path(f"{P}/<int:model>/promote/", views.promote, name="promote"),
    path(f"{P}/<int:model>/retire/", views.retire, name="retire"),
    path(f"{P}/<int:model>/measure/", views.measure, name="measure"),
    path(f"{P}/<int:model>/pairs.jsonl", views.pairs, name="pairs"),
    path(f"{P}.json", api.models, name="models-json"),
    path(f"{P}/<int:model>.json", api.model, name="model-json"),
]
