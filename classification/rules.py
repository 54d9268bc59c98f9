"""The language of rules: parse a boolean expression into a tree of known words, or raise RuleError.

Python's parser reads the text and nothing is evaluated: only the nodes below are accepted. This module is pure;
`queries` compiles a tree to SQL.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from console.suggestions import nearest
from engines.paths import split_path
from engines.registry import ENGINES

from .vocabulary import KINDS, WORDS, Word

#: Limits of an expression: characters, and nesting of brackets and operators.
LONGEST, DEEPEST = 4000, 50
#: Limit of words in an expression: each may cost a join.
MOST_WORDS = 60
#: Largest number of days, hours or connections.
LARGEST = 10_000_000

_ONE_TOO_MANY = gettext_noop("Unmatched closing bracket.")
_OPERATORS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


class RuleError(ValueError):
    """An invalid expression: the problem and its place. Lines and columns count from 1."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        place = {"line": line, "column": column, "message": message}
        super().__init__(_("Line %(line)d, column %(column)d: %(message)s") % place)
        self.message = message
        self.line = line
        self.column = column


@dataclass(frozen=True)
class Part:
    """A part of a rule, with its source text."""

    text: str


@dataclass(frozen=True)
class And(Part):
    """True if all parts are true."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Or(Part):
    """True if any part is true."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Not(Part):
    part: Part


@dataclass(frozen=True)
class Term(Part):
    """A word with its texts and options. A numeric word is compared with `value` by `operator`."""

    word: str
    texts: tuple[str, ...] = ()
    options: Mapping[str, str | bool | int] = field(default_factory=dict, hash=False)
    operator: str = ""
    value: int = 0


def parse(text: str) -> Part:
    """Parse an expression into a tree. Raises only RuleError."""
    if not text.strip():
        raise RuleError(_("The rule is empty. Enter an expression."))
    if len(text) > LONGEST:
        raise RuleError(_("The rule exceeds %d characters. Split it into two.") % LONGEST)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if bad := re.search(r"[\x00\ud800-\udfff]", text):
        raise RuleError(_("This character cannot be stored. Remove it."), *_place(text, bad.start()))
    return _Reader(text).read()


def terms(part: Part) -> Iterator[Term]:
    """Yield the words of a rule in source order."""
    match part:
        case And(parts=parts) | Or(parts=parts):
            for inner in parts:
                yield from terms(inner)
        case Not(part=inner):
            yield from terms(inner)
        case Term():
            yield part


def _place(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = self.text.split("\n")
        # Added brackets allow a rule to span lines.
        self.source = f"({self.text}\n)"
        self.words = 0

    def read(self) -> Part:
        try:
            with warnings.catch_warnings():
                # Ignore invalid escapes: backslashes in texts mean what they mean in Python.
                warnings.simplefilter("ignore")
                tree = ast.parse(self.source, mode="eval").body
        except SyntaxError as error:
            self._unreadable(error)
        except (RecursionError, MemoryError) as error:
            raise RuleError(_("Brackets or operators are nested too deeply.")) from error
        except ValueError as error:
            raise RuleError(_("Syntax error: %s.") % error) from error
        if (tree.lineno, tree.col_offset) == (1, 0) and not isinstance(tree, ast.Tuple | ast.GeneratorExp):
            raise RuleError(_(_ONE_TOO_MANY), *_place(self.text, self.text.find(")")))
        return self._part(tree, 1)

    def _unreadable(self, error: SyntaxError) -> NoReturn:
        problem, line, column = error.msg or "", error.lineno or 1, error.offset or 1
        if problem == "'(' was never closed" and (line, column) == (1, 1):
            raise RuleError(_("A bracket is not closed."), *_place(self.text, len(self.text))) from error
        if problem == "unmatched ')'":
            raise RuleError(_(_ONE_TOO_MANY), *_place(self.text, self.text.rfind(")"))) from error
        # The added brackets open the first line and follow the last.
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
        if problem.startswith("invalid syntax"):
            problem = _("an and, an or, a comma or a bracket may be missing")
        rest = written[column - 1 :].split()
        message = _("Syntax error at %(word)r: %(problem)s.") if rest else _("Syntax error: %(problem)s.")
        raise RuleError(message % {"word": "".join(rest[:1]), "problem": problem}, line, column) from error

    def _fail(self, node: ast.AST, message: str) -> NoReturn:
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        if 1 <= line <= len(self.lines):
            # Python counts bytes, and the added bracket of the first line.
            written = self.source.split("\n")[line - 1].encode()[:column].decode(errors="ignore")
            column = len(written) + (0 if line == 1 else 1)
        raise RuleError(message, min(line, len(self.lines)), max(column, 1))

    def _written(self, node: ast.AST) -> str:
        return " ".join((ast.get_source_segment(self.source, node) or "").split())

    def _part(self, node: ast.expr, depth: int) -> Part:
        if depth > DEEPEST:
            self._fail(node, _("Brackets or operators are nested more than %d levels deep.") % DEEPEST)
        text = self._written(node)
        match node:
            case ast.BoolOp(op=op, values=values):
                parts = tuple(self._part(value, depth + 1) for value in values)
                return And(text, parts) if isinstance(op, ast.And) else Or(text, parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return Not(text, self._part(operand, depth + 1))
            case ast.Compare():
                return self._number(node, text)
            case ast.Name(id=name):
                word = self._word(node, name)
                if word.takes:
                    self._fail(node, _('%(name)s needs an argument: %(name)s("…").') % {"name": name})
                if word.is_number:
                    self._fail(node, _("%(name)s is a number: compare it, as in %(name)s > 90.") % {"name": name})
                return Term(text, name)
            case ast.Call(func=ast.Name(id=name)):
                return self._call(node, name, text)
            case ast.Constant(value=str()):
                message = _("A text alone is not a condition. Did you mean name(%(text)s) or has(%(text)s)?")
                self._fail(node, message % {"text": text})
        self._fail(node, _("A rule consists of words, and, or, not and brackets."))

    def _word(self, node: ast.AST, name: str) -> Word:
        self.words += 1
        if self.words > MOST_WORDS:
            self._fail(node, _("The rule has more than %d words. Split it into two.") % MOST_WORDS)
        if name not in WORDS:
            self._fail(node, _("There is no word %s.") % name + nearest(name, WORDS))
        return WORDS[name]

    def _number(self, node: ast.Compare, text: str) -> Term:
        match node:
            case ast.Compare(left=ast.Name(id=name) as left, ops=[op], comparators=[right]):
                if not self._word(left, name).is_number:
                    self._fail(left, _("%s is not a number and cannot be compared.") % name)
                if type(op) not in _OPERATORS:
                    self._fail(node, _("Compare %s with <, <=, > or >=.") % name)
                return Term(text, name, operator=_OPERATORS[type(op)], value=self._whole(right))
        self._fail(node, _("Compare one word with one number, as in password_age_days > 90."))

    def _whole(self, node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value <= LARGEST:
            return node.value
        self._fail(node, _("Give a whole number from 0 to %d.") % LARGEST)

    def _call(self, node: ast.Call, name: str, text: str) -> Term:
        word = self._word(node.func, name)
        if not word.takes:
            self._fail(node, _("%(name)s takes no arguments: write %(name)s alone.") % {"name": name})
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
                message = _("%(name)s has no option %(option)s.") % {"name": name, "option": option}
                self._fail(keyword, message + (near or listed))
            options[option] = self._option(keyword.value, option, word.options[option])
        for option in sorted(word.needed - options.keys()):
            self._fail(node, _("%(name)s needs %(option)s=.") % {"name": name, "option": option})
        if name in ("has", "gained", "held_days", "attribute"):
            texts = tuple(given.strip().upper() for given in texts)
        return Term(text, name, texts, options)

    def _text(self, node: ast.expr, word: str, given: str) -> None:
        if re.search(r"[\x00\ud800-\udfff]", given):
            self._fail(node, _("This text contains a character that cannot be stored. Remove it."))
        if not given.strip() and word not in ("name", "host", "auth"):
            self._fail(node, _("This text is empty."))
        if word == "engine" and given not in ENGINES:
            self._fail(node, _("Unknown engine %r.") % given + nearest(given, ENGINES))

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
