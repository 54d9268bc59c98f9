"""Import and export of instances in the admin: a file, a preview, then all rows or none."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import IO, Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import BadRequest, SuspiciousFileOperation
from django.db import DataError
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from import_export.admin import ImportExportMixin
from import_export.results import Result
from import_export.tmp_storages import TempFolderStorage
from unfold.contrib.import_export.forms import ExportForm, ImportForm

from .resources import InstanceCSV, InstanceResource


class ImportFile(TempFolderStorage):
    """The file between preview and import. The form that confirms names it: no other file can be named."""

    PREFIX = "taifish-import-"

    def get_full_path(self) -> str:
        if not re.fullmatch(self.PREFIX + r"\w{8}", name := Path(self.name).name):
            raise SuspiciousFileOperation("This is not the name of a file to import.")
        return str(Path(tempfile.gettempdir()) / name)

    def _open(self, mode: str = "r") -> IO[Any]:
        if not self.name:
            with tempfile.NamedTemporaryFile(prefix=self.PREFIX, delete=False) as file:
                self.name = file.name
            # As the parent: what is saved are bytes.
            return Path(self.name).open("wb")
        return Path(self.get_full_path()).open(mode, encoding=self.encoding)


class ImportExportPages(ImportExportMixin):
    tmp_storage_class = ImportFile
    resource_classes = [InstanceResource]
    import_form_class = ImportForm
    export_form_class = ExportForm
    formats = [InstanceCSV]
    skip_export_form = True
    to_encoding = "utf-8-sig"

    def has_import_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perms(["instances.add_instance", "instances.change_instance"])

    def has_export_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("instances.view_instance")

    def get_export_queryset(self, request: HttpRequest) -> QuerySet:
        try:
            rows = super().get_export_queryset(request)
            # Run the query now: only the store finds invalid values, and an error must come before the file begins.
            rows.exists()
        except (IncorrectLookupParameters, DataError, ValueError) as error:
            raise BadRequest(
                _("A filter in this address is unknown, or you may not use it. Go back to the list and export again.")
            ) from error
        return rows

    def get_import_resource_kwargs(self, request: HttpRequest, **kwargs: Any) -> dict[str, Any]:
        return {"user": request.user}

    def get_import_data_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_import_data_kwargs(**kwargs), "rollback_on_validation_errors": True}

    def add_data_read_fail_error_to_form(self, form: Form, e: Exception) -> None:
        if isinstance(e, UnicodeDecodeError):
            form.add_error("import_file", _("The file is not UTF-8. In a spreadsheet, save it as “CSV UTF-8”."))
        else:
            form.add_error("import_file", str(e))

    def process_result(self, result: Result, request: HttpRequest) -> HttpResponse:
        if not (result.has_errors() or result.has_validation_errors()):
            return super().process_result(result, request)
        # The rows became invalid after the preview: a credential was renamed, for example.
        context = {
            **self.admin_site.each_context(request),
            "title": _("Import"),
            "form": self.create_import_form(request),
            "opts": self.opts,
            "media": self.media,
            "result": result,
            "import_error_display": self.import_error_display,
        }
        return TemplateResponse(request, [self.import_template_name], context, status=409)
