"""The language of responses."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.locale import LocaleMiddleware
from django.utils import translation

#: Responses for programs do not depend on the client's language: scripts may search for texts.
FOR_PROGRAMS = ("/api/", "/metrics")


def is_for_programs(request: HttpRequest) -> bool:
    return request.path_info.startswith(FOR_PROGRAMS)


class LanguageMiddleware(LocaleMiddleware):
    """Pages use the language of the cookie, else of the browser. Responses for programs are in English."""

    def process_request(self, request: HttpRequest) -> None:
        if is_for_programs(request):
            translation.activate(settings.LANGUAGE_CODE)
            request.LANGUAGE_CODE = settings.LANGUAGE_CODE
        else:
            super().process_request(request)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        return response if is_for_programs(request) else super().process_response(request, response)
