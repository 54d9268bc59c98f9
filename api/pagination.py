"""Pages of lists."""

from django.utils.translation import gettext as _
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request


class Pages(PageNumberPagination):
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 1000

    def get_page_size(self, request: Request) -> int:
        """Rows per page. Refuses an invalid size: a shorter page would look like the complete list."""
        size = request.query_params.get(self.page_size_query_param)
        if size is None:
            return self.page_size
        if not size.isdecimal() or not 1 <= int(size) <= self.max_page_size:
            message = _("Give a whole number from 1 to %d.") % self.max_page_size
            raise ValidationError({self.page_size_query_param: [message]})
        return int(size)

    def slice(self, request: Request) -> slice:
        """The rows of the page that the request asks for, to read them together with their number. An invalid page
        counts as the first one: `paginate_queryset` refuses it."""
        number = request.query_params.get(self.page_query_param, "")
        size = self.get_page_size(request)
        first = size * (int(number) - 1) if number.isdecimal() and 0 < len(number) < 10 and int(number) else 0
        return slice(first, first + size)
