"""In which language we answer."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.locale import LocaleMiddleware
from django.utils import translation

#: What programs read is the same whoever asks: a text that a script looks for must not hang on a browser's setting.
FOR_PROGRAMS = ("/api/", "/metrics")


class LanguageMiddleware(LocaleMiddleware):
    """People choose: the cookie of the switcher, else what the browser accepts. Programs get English."""

    def process_request(self, request: HttpRequest) -> None:
        if self._is_for_programs(request):
            translation.activate(settings.LANGUAGE_CODE)
            request.LANGUAGE_CODE = settings.LANGUAGE_CODE
        else:
            super().process_request(request)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        return response if self._is_for_programs(request) else super().process_response(request, response)

    def _is_for_programs(self, request: HttpRequest) -> bool:
        return request.path_info.startswith(FOR_PROGRAMS)
