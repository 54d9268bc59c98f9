"""The language of rules: a boolean expression is read into a tree of known words, or refused with what is wrong.

Python's own parser does the reading and nothing is ever evaluated: only the nodes below get through. Pure; what a tree
asks of the store is told in `queries`.
"""

from __future__ import annotations

import ast
import difflib
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from engines.paths import split_path
from engines.registry import ENGINES

from .vocabulary import KINDS, WORDS, Word

#: Characters of an expression, and brackets and operators inside each other.
LONGEST, DEEPEST = 4000, 50
#: Words of an expression: each may cost a join.
MOST_WORDS = 60
#: Of days, hours and connections.
LARGEST = 10_000_000

_ONE_TOO_MANY = gettext_noop("A closing bracket is one too many.")
_OPERATORS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


class RuleError(ValueError):
    """An expression that is not a rule: what is wrong, and where. Lines and columns count from 1."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        place = {"line": line, "column": column, "message": message}
        super().__init__(_("Line %(line)d, column %(column)d: %(message)s") % place)
        self.message = message
        self.line = line
        self.column = column


@dataclass(frozen=True)
class Part:
    """A part of a rule, and how it is written there."""

    text: str


@dataclass(frozen=True)
class Every(Part):
    """True where all its parts are."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Some(Part):
    """True where one of its parts is."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Opposite(Part):
    part: Part


@dataclass(frozen=True)
class Ask(Part):
    """A word, with its texts and options; a number is compared by `operator` with `value`."""

    word: str
    texts: tuple[str, ...] = ()
    options: Mapping[str, str | bool | int] = field(default_factory=dict, hash=False)
    operator: str = ""
    value: int = 0


def parse(text: str) -> Part:
    """The tree of an expression. Raises RuleError, and nothing else, whatever the text."""
    if not text.strip():
        raise RuleError(_("The rule is empty: it would match nothing. Say what it looks for."))
    if len(text) > LONGEST:
        raise RuleError(_("The rule is longer than %d characters: make two of it.") % LONGEST)
    if bad := re.search(r"[\x00\ud800-\udfff]", text):
        raise RuleError(_("There is a character here that cannot be stored."), *_place(text, bad.start()))
    return _Reader(text).read()


def asks(part: Part) -> Iterator[Ask]:
    """Every word of a rule, in the order in which they are written."""
    match part:
        case Every(parts=parts) | Some(parts=parts):
            for inner in parts:
                yield from asks(inner)
        case Opposite(part=inner):
            yield from asks(inner)
        case Ask():
            yield part


def has_wildcards(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def like(pattern: str, text: str) -> bool:
    """Whether a text is like a pattern: * stands for any characters, ? for one."""
    wild = {"*": ".*", "?": "."}
    return bool(re.fullmatch("".join(wild.get(char) or re.escape(char) for char in pattern), text, re.DOTALL))


def nearest(word: str, known: Mapping[str, object] | frozenset[str] | set[str]) -> str:
    """A question after the known word that is most like it, "" where none is."""
    close = difflib.get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.5)
    contained = [one for one in sorted(known) if one in word.lower() or word.lower() in one]
    found = close or contained[:1]
    return _(" Did you mean %s?") % found[0] if found else ""


def _place(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n").replace("\r", "\n")
        self.lines = self.text.split("\n")
        # In brackets of ours, so that a rule may have several lines.
        self.source = f"({self.text}\n)"
        self.words = 0

    def read(self) -> Part:
        try:
            with warnings.catch_warnings():
                # Of backslashes in texts, which stand for what Python makes of them.
                warnings.simplefilter("ignore")
                tree = ast.parse(self.source, mode="eval").body
        except SyntaxError as error:
            self._unreadable(error)
        except (RecursionError, MemoryError) as error:
            raise RuleError(_("There are too many brackets or operators inside each other.")) from error
        except ValueError as error:
            raise RuleError(_("This cannot be read: %s.") % error) from error
        if (tree.lineno, tree.col_offset) == (1, 0) and not isinstance(tree, ast.Tuple | ast.GeneratorExp):
            raise RuleError(_(_ONE_TOO_MANY), *_place(self.text, self.text.find(")")))
        return self._part(tree, 1)

    def _unreadable(self, error: SyntaxError) -> NoReturn:
        told, line, column = error.msg or "", error.lineno or 1, error.offset or 1
        if told == "'(' was never closed" and (line, column) == (1, 1):
            raise RuleError(_("A bracket is not closed."), *_place(self.text, len(self.text))) from error
        if told == "unmatched ')'":
            raise RuleError(_(_ONE_TOO_MANY), *_place(self.text, self.text.rfind(")"))) from error
        # In the first line stands a bracket of ours, and after the last one.
        column -= line == 1
        if line > len(self.lines):
            line, column = len(self.lines), len(self.lines[-1]) + 1
        written = self.lines[line - 1]
        column = max(1, min(column, len(written) + 1))
        if match := re.search(r"\b(AND|OR|NOT)\b|&&|\|\||!(?!=)", written):
            meant = {"&&": "and", "||": "or", "!": "not"}.get(match[0], match[0].lower())
            raise RuleError(
                _("Write %(meant)s for %(found)s.") % {"meant": meant, "found": match[0]}, line, match.start() + 1
            ) from error
        if told.startswith("invalid syntax"):
            told = _("an and, an or, a comma or a bracket may be missing")
        rest = written[column - 1 :].split()
        message = _("This cannot be read from %(word)r on: %(told)s.") if rest else _("This cannot be read: %(told)s.")
        raise RuleError(message % {"word": "".join(rest[:1]), "told": told}, line, column) from error

    def _fail(self, node: ast.AST, message: str) -> NoReturn:
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        if 1 <= line <= len(self.lines):
            # Python counts bytes; and in the first line, our bracket.
            written = self.source.split("\n")[line - 1].encode()[:column].decode(errors="ignore")
            column = len(written) + (0 if line == 1 else 1)
        raise RuleError(message, min(line, len(self.lines)), max(column, 1))

    def _written(self, node: ast.AST) -> str:
        return " ".join((ast.get_source_segment(self.source, node) or "").split())

    def _part(self, node: ast.expr, depth: int) -> Part:
        if depth > DEEPEST:
            self._fail(node, _("More than %d brackets or operators are inside each other.") % DEEPEST)
        text = self._written(node)
        match node:
            case ast.BoolOp(op=op, values=values):
                parts = tuple(self._part(value, depth + 1) for value in values)
                return Every(text, parts) if isinstance(op, ast.And) else Some(text, parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return Opposite(text, self._part(operand, depth + 1))
            case ast.Compare():
                return self._number(node, text)
            case ast.Name(id=name):
                word = self._word(node, name)
                if word.takes:
                    self._fail(node, _('%(name)s asks for more: %(name)s("…").') % {"name": name})
                if word.is_number:
                    self._fail(node, _("%(name)s is a number: compare it, as in %(name)s > 90.") % {"name": name})
                return Ask(text, name)
            case ast.Call(func=ast.Name(id=name)):
                return self._call(node, name, text)
            case ast.Constant(value=str()):
                told = _("A text says nothing by itself: name(%(text)s) or has(%(text)s), perhaps.")
                self._fail(node, told % {"text": text})
        self._fail(node, _("Only words, and, or, not and brackets make a rule."))

    def _word(self, node: ast.AST, name: str) -> Word:
        self.words += 1
        if self.words > MOST_WORDS:
            self._fail(node, _("There are more than %d words: make two rules of it.") % MOST_WORDS)
        if name not in WORDS:
            self._fail(node, _("There is no word %s.") % name + nearest(name, WORDS))
        return WORDS[name]

    def _number(self, node: ast.Compare, text: str) -> Ask:
        match node:
            case ast.Compare(left=ast.Name(id=name) as left, ops=[op], comparators=[right]):
                if not self._word(left, name).is_number:
                    self._fail(left, _("%s is no number, and cannot be compared.") % name)
                if type(op) not in _OPERATORS:
                    self._fail(node, _("Compare %s with <, <=, > or >=.") % name)
                return Ask(text, name, operator=_OPERATORS[type(op)], value=self._whole(right))
        self._fail(node, _("Compare one word with one number, as in password_age_days > 90."))

    def _whole(self, node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value <= LARGEST:
            return node.value
        self._fail(node, _("Give a whole number from 0 to %d.") % LARGEST)

    def _call(self, node: ast.Call, name: str, text: str) -> Ask:
        word = self._word(node.func, name)
        if not word.takes:
            self._fail(node, _("%(name)s takes nothing in brackets: write %(name)s alone.") % {"name": name})
        for argument in node.args:
            if not (isinstance(argument, ast.Constant) and type(argument.value) is str):
                self._fail(argument, _('%(name)s takes texts in quotes: %(name)s("…").') % {"name": name})
        texts = tuple(argument.value for argument in node.args)  # type: ignore[attr-defined]
        if not texts or (word.takes == "one" and len(texts) > 1):
            one, some = (
                _('%(name)s takes one text: %(name)s("…").'),
                _('%(name)s takes one text or more: %(name)s("…").'),
            )
            self._fail(node, (one if word.takes == "one" else some) % {"name": name})
        for argument, given in zip(node.args, texts, strict=True):
            self._text(argument, name, given)
        options: dict[str, str | bool | int] = {}
        for keyword in node.keywords:
            option = keyword.arg or "**"
            if option not in word.options:
                listed = _(" Options: %s.") % ", ".join(word.options) if word.options else ""
                near = nearest(option, set(word.options))
                told = _("%(name)s has no option %(option)s.") % {"name": name, "option": option}
                self._fail(keyword, told + (near or listed))
            options[option] = self._option(keyword.value, option, word.options[option])
        for option in sorted(word.needed - options.keys()):
            self._fail(node, _("%(name)s needs %(option)s=.") % {"name": name, "option": option})
        if name in ("has", "gained", "held_days", "attribute"):
            texts = tuple(given.strip().upper() for given in texts)
        return Ask(text, name, texts, options)

    def _text(self, node: ast.expr, word: str, given: str) -> None:
        if re.search(r"[\x00\ud800-\udfff]", given):
            self._fail(node, _("There is a character in this text that cannot be stored."))
        if not given.strip() and word not in ("name", "host", "auth"):
            self._fail(node, _("This text is empty."))
        if word == "engine" and given not in ENGINES:
            self._fail(node, _("No adapter serves an engine %r.") % given + nearest(given, ENGINES))

    def _option(self, node: ast.expr, option: str, kind: type) -> str | bool | int:
        if kind is int:
            return self._whole(node)
        if not (isinstance(node, ast.Constant) and type(node.value) is kind):
            self._fail(node, (_("%s is True or False.") if kind is bool else _("%s is a text in quotes.")) % option)
        if option == "kind" and node.value not in KINDS:
            self._fail(node, _("There is no kind %r.") % node.value + nearest(str(node.value), KINDS))
        if option == "on":
            self._text(node, "name", str(node.value))
            try:
                split_path(str(node.value))
            except ValueError as error:
                self._fail(node, str(error))
        value = node.value
        return value if isinstance(value, str | bool | int) else str(value)
