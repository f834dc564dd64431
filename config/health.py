"""Whether this web process can serve, for machines that ask; it says nothing else."""

from django.contrib.auth.decorators import login_not_required
from django.db import Error, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe


@login_not_required
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """200 while the database answers, else 503; open to all, and no session is read or made."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM django_migrations LIMIT 1")  # an empty file is no database
            database = "ok" if cursor.fetchone() else "empty"
    except Error:
        database = "unavailable"
    status = "ok" if database == "ok" else "unavailable"
    return JsonResponse({"status": status, "database": database}, status=200 if status == "ok" else 503)
