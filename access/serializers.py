from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import Grant
from accounts.serializers import GrantSerializer, LinkSerializer
from engines.facts import GRANT_KINDS
from engines.registry import ENGINES

from . import matrix
from .compare import Difference
from .wording import BROAD, USABLE


class EffectiveGrantSerializer(GrantSerializer):
    """Expects `effective`, what `access.effective()` returned, and `links` (grant id → its links) in its context."""

    holder = serializers.IntegerField(source="account_id", help_text="Who holds it: the account, a role, or PUBLIC.")
    path = serializers.SerializerMethodField(help_text="The roles on the way, the holder last; empty for its own.")
    at_once = serializers.SerializerMethodField(help_text="False: only after switching to one of the roles.")
    clients = serializers.SerializerMethodField(
        help_text="Hosts. It can be used only from clients that match them; empty: any."
    )
    links = serializers.SerializerMethodField(
        help_text="The memberships on the way, and the grant, each with its visits."
    )

    class Meta(GrantSerializer.Meta):
        fields = [*GrantSerializer.Meta.fields, "holder", "path", "at_once", "clients", "links"]

    @extend_schema_field(LinkSerializer(many=True))
    def get_links(self, grant: Grant) -> list[dict[str, Any]]:
        return LinkSerializer(self.context["links"][grant.pk], many=True).data

    def get_path(self, grant: Grant) -> list[str]:
        return self.context["effective"].path_of(grant)

    def get_at_once(self, grant: Grant) -> bool:
        return self.context["effective"].at_once(grant)

    def get_clients(self, grant: Grant) -> str:
        return self.context["effective"].way(grant).clients


class AccessSerializer(serializers.Serializer):
    """One `access.Access`."""

    instance = serializers.IntegerField(source="account.instance_id")
    account = serializers.IntegerField(source="account.pk")
    account_label = serializers.CharField(source="account.__str__")
    path = serializers.ListField(child=serializers.CharField(), help_text="The roles on the way, the holder last.")
    because = serializers.ChoiceField(["grant", "superuser", "predefined", "owner", "ownership", "admin", "columns"])
    usable = serializers.ChoiceField(
        list(USABLE), help_text="At login, after SET ROLE, after it grants the privilege to itself, or not at all."
    )
    blocked = serializers.ListField(child=serializers.CharField(), help_text="Why it cannot be used.")
    clients = serializers.CharField(help_text="Hosts. It can be used only from clients that match them; empty: any.")
    columns = serializers.ListField(
        child=serializers.CharField(), help_text="Not empty: the account has the privilege on these columns only."
    )
    at_once = serializers.BooleanField(help_text="False: only after switching to one of the roles.")
    grant = GrantSerializer(allow_null=True)
    since = serializers.DateTimeField(allow_null=True, help_text="Of the newest possession on the path.")
    session = serializers.IntegerField(allow_null=True, help_text="The one that first saw the grant.")
    links = LinkSerializer(many=True, help_text="The memberships on the way, and the grant, each with its visits.")


class TakenAwaySerializer(serializers.Serializer):
    """A grant of `Answer.taken_away`."""

    instance = serializers.IntegerField(source="account.instance_id")
    account = serializers.IntegerField(source="account.pk")
    account_label = serializers.CharField(source="account.__str__")
    grant = GrantSerializer(source="*")


class AccessQuestionSerializer(serializers.Serializer):
    """Parameters of `asking.Asked`."""

    privilege = serializers.CharField(help_text=f"As the engine names it, or one of: {', '.join(BROAD)}.")
    on = serializers.CharField(
        default="", allow_blank=True, help_text='Path of the object: shop.public.orders, shop.public."odd name".'
    )
    kind = serializers.CharField(default="", allow_blank=True, help_text=f"One of: {', '.join(GRANT_KINDS)}.")
    instance = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Name or id of an instance; if missing: all."
    )
    tag = serializers.CharField(default="", allow_blank=True, help_text="Slug of a tag.")
    engine = serializers.CharField(default="", allow_blank=True, help_text=f"One of: {', '.join(ENGINES)}.")
    as_of = serializers.DateTimeField(default=None, allow_null=True)
    scope = serializers.CharField(
        default="", allow_blank=True, help_text="Earlier name of `on`, which the next release refuses."
    )


class WhereQuestionSerializer(serializers.Serializer):
    name = serializers.CharField(help_text="Name of the account; * matches any characters, ? one.")
    as_of = serializers.DateTimeField(default=None, allow_null=True)


class RightSerializer(serializers.Serializer):
    """One `matrix.Right`."""

    privilege = serializers.CharField()
    usable = serializers.ChoiceField(
        list(dict.fromkeys(matrix.USABLE)), help_text="At login, after SET ROLE, on some columns only, or not at all."
    )
    grantable = serializers.BooleanField()
    columns = serializers.BooleanField(help_text="It is a right on some columns only.")


class CellSerializer(serializers.Serializer):
    """One `matrix.Cell`."""

    instance = serializers.IntegerField(source="account.instance_id")
    instance_name = serializers.CharField(source="account.instance.name")
    account = serializers.IntegerField(source="account.pk")
    account_label = serializers.CharField(source="account.__str__")
    object = serializers.CharField(source="object.path", help_text="Path; with `every`, of what contains the objects.")
    kind = serializers.CharField(source="object.kind", help_text="Of the object; empty: all kinds.")
    every = serializers.BooleanField(source="object.every", help_text="The rights are on all objects of that kind.")
    rights = RightSerializer(many=True)


class MatrixQuestionSerializer(serializers.Serializer):
    """Parameters of `matrix_page.ask()`."""

    on = serializers.CharField(
        default="",
        allow_blank=True,
        help_text="Path of a database or schema, or a pattern of paths; empty for all objects.",
    )
    instance = serializers.ListField(
        child=serializers.CharField(), default=list, help_text="Name or id. Give an instance or a tag."
    )
    tag = serializers.CharField(default="", allow_blank=True, help_text="Slug of a tag.")
    account = serializers.CharField(default="", allow_blank=True, help_text="Name, or pattern with * and ?.")
    as_of = serializers.DateTimeField(default=None, allow_null=True)


class SideSerializer(serializers.Serializer):
    side = serializers.CharField()
    usable = serializers.CharField(source="right.usable")
    grantable = serializers.BooleanField(source="right.grantable")
    columns = serializers.BooleanField(source="right.columns", help_text="It is a right on some columns only.")


class DifferenceSerializer(serializers.Serializer):
    """One `compare.Difference`."""

    account = serializers.CharField(help_text="Empty if each side is one account.")
    object = serializers.CharField(source="object.path")
    kind = serializers.CharField(source="object.kind")
    every = serializers.BooleanField(source="object.every", help_text="The right is on all objects of that kind.")
    privilege = serializers.CharField()
    sides = serializers.SerializerMethodField(help_text="Those with the right.")
    without = serializers.ListField(
        child=serializers.CharField(), help_text="Names of the other sides. Those in `unknown` may have it."
    )

    @extend_schema_field(SideSerializer(many=True))
    def get_sides(self, difference: Difference) -> list[dict[str, Any]]:
        rows = [{"side": name, "right": right} for name, right in difference.sides.items()]
        return SideSerializer(rows, many=True).data


class CompareQuestionSerializer(serializers.Serializer):
    """Parameters of `compare.Asked`."""

    instance = serializers.CharField(default="", help_text="Name or id of the first side.")
    account = serializers.CharField(default="", help_text="Name, or name@host; if missing, all accounts by name.")
    as_of = serializers.DateTimeField(default=None, allow_null=True)
    other_instance = serializers.CharField(default="", help_text="Of the second side; if missing, the same.")
    other_account = serializers.CharField(default="", help_text="Of the second side; if missing, the same.")
    other_as_of = serializers.DateTimeField(default=None, allow_null=True)
    tag = serializers.CharField(default="", help_text="Slug: compare the account on all instances with this tag.")
