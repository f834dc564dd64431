import pytest
from django.apps import apps
from django.db import connection


@pytest.mark.django_db
@pytest.mark.parametrize("model", apps.get_models(), ids=lambda model: model._meta.label)
def test_the_migrations_leave_every_index_and_constraint_of_the_model(model):
    with connection.cursor() as cursor:
        there = connection.introspection.get_constraints(cursor, model._meta.db_table)
    named = {each.name for each in [*model._meta.indexes, *model._meta.constraints]}

    assert named - set(there) == set()
