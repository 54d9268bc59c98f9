"""Bytes in templates."""

from django import template

from ..units import bytes_label

register = template.Library()
register.filter("bytes", bytes_label)


@register.filter
def bytes_gained(size: int | None) -> str:
    return bytes_label(size, signed=True)
