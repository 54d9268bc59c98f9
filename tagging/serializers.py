from instances.serializers import CleanSerializer

from .models import Tag


class TagSerializer(CleanSerializer):
    class Meta:
        model = Tag
        fields = ["id", "slug", "label", "category", "colour", "active"]
