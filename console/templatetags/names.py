"""Names as people can read them, whatever is in them."""

from __future__ import annotations

import unicodedata

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from engines import revocation as remedies

register = template.Library()


#: SQL to be pasted into an engine's own client, for one database.
register.simple_tag(remedies.inside, name="inside")


#: Scripts with letters that look the same.
_ALIKE = {"LATIN", "CYRILLIC", "GREEK"}


@register.filter
def visible(name: str) -> SafeString:
    """HTML of a name in which nothing hides: control and format characters, blanks at the ends, and emptiness show.

    Names that differ in such a character never look the same. A name that may look like another because of its letters
    (not composed, or of several scripts) carries a mark.
    """
    if not name:
        return format_html('<span class="tf-odd">{}</span>', _("(no name)"))
    if name.isprintable() and name == name.strip(" "):
        return format_html('<span class="tf-name">{}{}</span>', name, "" if name.isascii() else _look_alike(name))
    inner = range(len(name) - len(name.lstrip(" ")), len(name.rstrip(" ")))
    shown = ((_shown(char, at_end=position not in inner),) for position, char in enumerate(name))
    return format_html('<span class="tf-name">{}{}</span>', format_html_join("", "{}", shown), _look_alike(name))


def _look_alike(name: str) -> str | SafeString:
    """A mark on a name that another one may look like: "é" in one character or in two, "a" in Latin or in Cyrillic."""
    if name.isascii():
        return ""
    scripts = {script for char in name if (script := unicodedata.name(char, "").partition(" ")[0]) in _ALIKE}
    if not unicodedata.is_normalized("NFC", name):
        why = _("Letters of this name are not composed (NFC). Another name may look the same.")
    elif len(scripts) > 1:
        why = _("This name mixes letters of several scripts. Another name may look the same.")
    else:
        return ""
    return format_html('<span class="tf-odd" title="{}">≈</span>', why)


def _shown(char: str, *, at_end: bool) -> str | SafeString:
    if char.isprintable() and not (char == " " and at_end):
        return char
    # Signs that every font has: a dot for a blank, and Python's escapes; the class sets them apart from the characters.
    sign = "·" if char == " " else repr(char)[1:-1]
    return format_html(
        '<span class="tf-odd" title="U+{} {}">{}</span>', f"{ord(char):04X}", unicodedata.name(char, ""), sign
    )
