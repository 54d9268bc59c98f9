"""/healthz: do web and store work? Cheap, and without a login."""

from django.db import Error, connection
from django.http import HttpRequest, JsonResponse


def healthz(request: HttpRequest) -> JsonResponse:
    """200 {"status": "ok"}, or 503 when the store does not answer."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return JsonResponse({"status": "the store does not answer"}, status=503)
    return JsonResponse({"status": "ok"})
