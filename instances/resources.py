"""Import and export of instances as CSV, for the admin and for commands.

Credentials are given by name; passwords are not included. Apps above add columns to `InstanceResource.fields` in
`AppConfig.ready`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import tablib
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.utils.translation import gettext as _
from import_export.fields import Field
from import_export.formats.base_formats import CSV
from import_export.resources import ModelResource
from import_export.results import Result
from import_export.widgets import BooleanWidget, ForeignKeyWidget, IntegerWidget, ManyToManyWidget

from console.csv import armed, disarmed, read_rows
from console.suggestions import nearest
from engines.registry import engine_named

from .destinations import check_password, moved
from .models import Credential, Instance

if TYPE_CHECKING:
    from django.contrib.auth.models import User

REQUIRED = ("name", "engine", "host", "credential")


class CredentialWidget(ForeignKeyWidget):
    def clean(self, value: str | None, row: Any = None, **kwargs: Any) -> Credential | None:
        if not value:
            return None
        credential = Credential.objects.filter(name=value).first()
        if credential is None:
            names = Credential.objects.order_by().values_list("name", flat=True)
            raise ValueError(_("There is no credential named “%s”.") % value + nearest(value, names))
        return credential


class WholeNumberWidget(IntegerWidget):
    def clean(self, value: str | None, row: Any = None, **kwargs: Any) -> int | None:
        if not value:
            return None
        # Longer numbers would raise an error in the store.
        if not (value.isascii() and value.isdecimal() and len(value) <= 9):
            raise ValueError(_("“%s” is not a whole number below 1,000,000,000.") % value)
        return int(value)


class YesNoWidget(BooleanWidget):
    """Unlike its parent, it rejects unknown values."""

    def clean(self, value: str | None, row: Any = None, **kwargs: Any) -> bool | None:
        if value and value not in self.TRUE_VALUES + self.FALSE_VALUES:
            raise ValueError(_("“%s” is neither 1 nor 0.") % value)
        return super().clean(value, row, **kwargs)


class InstanceResource(ModelResource):
    """One row per instance, identified by its name. An empty cell means the default; a missing column changes nothing.

    `user` is the importing user, who needs `instances.use_credential` for rows that decide where a stored password is
    sent. None is the operator of the machine, who may import everything.
    """

    credential = Field("credential", "credential", CredentialWidget(Credential, "name"))
    product = Field("product", "product", readonly=True)
    version = Field("version", "version", readonly=True)

    class Meta:
        model = Instance
        fields = (
            "name",
            "engine",
            "host",
            "port",
            "database",
            "credential",
            "tls_mode",
            "tls_ca",
            "proof",
            "certificate",
            "certificate_compared",
            "connect_timeout",
            "statement_timeout",
            "budget",
            "level",
            "note",
            "product",
            "version",
        )
        export_order = import_order = fields
        import_id_fields = ("name",)
        clean_model_instances = True
        skip_unchanged = True
        use_transactions = True

    def __init__(self, user: User | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.user = user
        self.columns: Collection[str] = [field.column_name for field in self.fields.values()]
        for field in self.fields.values():
            if isinstance(field.widget, IntegerWidget):
                field.widget = WholeNumberWidget()
            elif isinstance(field.widget, BooleanWidget):
                field.widget = YesNoWidget()

    def import_data(self, dataset: tablib.Dataset, *args: Any, **kwargs: Any) -> Result:
        self.columns = dataset.headers
        return super().import_data(dataset, *args, **kwargs)

    def get_import_fields(self) -> list[Field]:
        """The fields that can be changed and, for an import, are in the file."""
        fields = super().get_import_fields()
        return [field for field in fields if field.column_name in self.columns and not field.readonly]

    def before_import(self, dataset: tablib.Dataset, **kwargs: Any) -> None:
        self.named = Counter(armed(name) for name in dataset["name"])

    def before_import_row(self, row: dict[str, str], **kwargs: Any) -> None:
        for column, text in row.items():
            row[column] = armed(text)
        row["engine"] = engine_named(row["engine"])
        if self.named[row["name"]] > 1:
            raise ValidationError({"name": _("The file names “%s” more than once.") % row["name"]})

    def after_init_instance(self, instance: Instance, new: bool, row: dict[str, str], **kwargs: Any) -> None:
        if instance.is_retired:
            raise ValidationError({"name": _("This instance is retired. Restore it first.")})

    def validate_instance(self, instance: Instance, *args: Any, **kwargs: Any) -> None:
        """Unlike its parent, it lists the valid values of a choice."""
        try:
            super().validate_instance(instance, *args, **kwargs)
        except ValidationError as error:
            raise ValidationError(
                {name: [_with_choices(name, text) for text in texts] for name, texts in error.message_dict.items()}
            ) from None

    def skip_row(self, instance: Instance, original: Instance, row: Any, import_validation_errors: Any = None) -> bool:
        if self.user:
            # A field with a validation error, such as an unknown credential, is reported as that error.
            invalid = import_validation_errors or {}
            changed = [name for name in moved(original if original.pk else None, instance) if name not in invalid]
            if changed and not self.user.has_perm("instances.use_credential"):
                raise ValidationError(
                    _("You may not decide where a stored password is sent (%s).") % ", ".join(changed)
                )
            if changed and "credential" not in invalid:
                self._check(instance.credential)
        return bool(super().skip_row(instance, original, row, import_validation_errors))

    @staticmethod
    def _check(credential: Credential) -> None:
        """A file has no password: the credential must list its hosts."""
        try:
            check_password(credential, "")
        except ValidationError:
            text = _("The credential “%s” lists no hosts. Enter them there first, because a file has no password.")
            raise ValidationError({"credential": text % credential}) from None

    def save_m2m(self, instance: Instance, row: Any, **kwargs: Any) -> None:
        """Unlike its parent, it passes the user to the fields."""
        for field in self.get_import_fields():
            if isinstance(field.widget, ManyToManyWidget):
                field.save(instance, row, True, user=self.user)

    def export_field(self, field: Field, instance: Instance, **kwargs: Any) -> str:
        return disarmed(str(super().export_field(field, instance, **kwargs) or ""))


def _with_choices(name: str, text: str) -> str:
    choices = None if name == NON_FIELD_ERRORS else Instance._meta.get_field(name).choices
    if not choices:
        return text
    valid = _("Valid are: %s.") % ", ".join(str(value) for value, _label in choices)
    return f"{text} {valid}"


def read_csv(text: str) -> tablib.Dataset:
    """The rows of a CSV file with a header, and as `lines` where in the file each of them ends. Raises ValueError with
    a message for the author of the file."""
    read = read_rows(text, list(InstanceResource().fields), REQUIRED)
    dataset = tablib.Dataset(*(list(row.values()) for _line, row in read), headers=list(read[0][1]))
    dataset.lines = [line for line, _row in read]
    return dataset


def problems(result: Result, dataset: tablib.Dataset) -> list[dict[str, Any]]:
    """The errors of an import, as {"row": number from 1, "line": of the file, "name", "field", "message"}."""
    found = [
        (row.number, field, message)
        for row in result.invalid_rows
        for field, messages in (row.field_specific_errors | {"": row.non_field_specific_errors}).items()
        for message in messages
    ]
    found += [(number, "", str(error.error)) for number, errors in result.row_errors() for error in errors]
    for error in result.base_errors:
        raise error.error
    names = dataset["name"]
    return [
        {
            "row": number,
            "line": dataset.lines[number - 1],
            "name": names[number - 1],
            "field": field,
            "message": message,
        }
        for number, field, message in sorted(found)
    ]


class InstanceCSV(CSV):
    """The only format of the admin's import and export."""

    def create_dataset(self, in_stream: str | bytes, **kwargs: Any) -> tablib.Dataset:
        return read_csv(in_stream.decode(self.encoding) if isinstance(in_stream, bytes) else in_stream)
