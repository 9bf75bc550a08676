"""RouterOS's console language, as far as people and programs type it: text in, commands out, nothing run.

The router reads a whole line before it runs any of it, so a mistake anywhere means that nothing happened.
Written from the manuals (help.mikrotik.com, Console and Scripting) and from what real routers answer.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, fields
from typing import Protocol

_NAME = frozenset(string.ascii_letters + string.digits + "-_.")
_EXPRESSION_WORD = frozenset(string.ascii_letters + string.digits + "-_.*@/:,%#")
_SPACE = " \t\r"
_ENDS_COMMAND = ";\n]})"
_ESCAPES = {
    '"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t", "$": "$", "?": "?",
    "_": " ", "a": "\a", "b": "\b", "f": "\f", "v": "\v",
}  # fmt: skip
_COMPARISONS = ("!=", "<=", ">=", "=", "~", "<", ">")
_HEX = frozenset("0123456789ABCDEF")

ICE = ":"
"""The "menu" of commands that are part of the language itself (``:put``)."""

ICE_PARAMETERS: dict[str, tuple[str, ...]] = {
    "put": (),
    "do": ("on-error", "while"),
    "if": ("do", "else"),
    "foreach": ("in", "do"),
    "local": (),
    "global": (),
    "set": (),
    "len": (),
    "error": (),
    "nothing": (),
    "delay": (),
    "tostr": (),
    "tonum": (),
    "typeof": (),
}


class ParseError(Exception):
    """The line cannot be understood. The text is what the router prints."""

    def __init__(self, complaint: str, line: int, column: int) -> None:
        super().__init__(f"{complaint} (line {line} column {column})")


@dataclass(frozen=True, slots=True)
class Word:
    """A literal. Unquoted literals with ``/`` or ``:`` equal nothing in a ``where``."""

    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """``$name``."""

    name: str


@dataclass(frozen=True, slots=True)
class Template:
    """A quoted string with variables in it."""

    parts: tuple[str | Variable, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """A property of the item in question, inside ``where``."""

    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """``left operator right``; ``right`` is None for ``!``."""

    operator: str
    left: Expression
    right: Expression | None = None


@dataclass(frozen=True, slots=True)
class Inner:
    """``[ command ]``: its result."""

    block: Block


@dataclass(frozen=True, slots=True)
class Code:
    """``{ commands }``: run by the command it is given to."""

    block: Block


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument; ``name`` is None when positional, ``value`` None for a bare word such as ``terse``."""

    name: str | None
    value: Expression | None


@dataclass(frozen=True, slots=True)
class Command:
    """A verb in a menu, or a language command when ``menu`` is ``(":",)``."""

    menu: tuple[str, ...]
    verb: str
    arguments: tuple[Argument, ...] = ()
    where: Expression | None = None


@dataclass(frozen=True, slots=True)
class Enter:
    """A path alone: go to that menu."""

    menu: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Commands in order."""

    commands: tuple[Command | Enter | Code, ...] = field(default=())


Expression = Word | Variable | Template | Field | Operation | Inner | Code


def verbs_in(part: object) -> Iterator[str]:
    """Every verb in a block or expression, those in brackets and braces included."""
    if isinstance(part, tuple):
        for one in part:
            yield from verbs_in(one)
        return
    if isinstance(part, Command):
        yield part.verb
    if isinstance(part, (Block, Command, Argument, Inner, Code, Operation)):
        for one in fields(part):
            yield from verbs_in(getattr(part, one.name))


class Grammar(Protocol):
    """What the router's tree of menus knows; it differs by version."""

    slash_paths: bool

    def submenus(self, path: tuple[str, ...]) -> Collection[str]:
        """Names of the menus below ``path``."""

    def verbs(self, path: tuple[str, ...]) -> Collection[str]:
        """Commands of the menu."""

    def parameters(self, path: tuple[str, ...], verb: str) -> Collection[str]:
        """Names that take ``=value``."""

    def words(self, path: tuple[str, ...], verb: str) -> Collection[str]:
        """Bare words, such as ``terse``."""

    def takes_items(self, verb: str) -> bool:
        """Whether item numbers, ids or names may stand alone."""


def completed(word: str, names: Collection[str]) -> str | None:
    """The name meant by ``word``: itself, or the only one that it begins."""
    if word in names:
        return word
    begun = [name for name in names if name.startswith(word)] if word else []
    return begun[0] if len(begun) == 1 else None


class Parser:
    """One reading of one text."""

    def __init__(self, text: str, grammar: Grammar, menu: tuple[str, ...] = ()) -> None:
        self._text = text
        self._grammar = grammar
        self._menu = menu
        self._at = 0

    def parse(self) -> Block:
        """The commands of the text; raises ``ParseError``."""
        block = self._block("")
        if self._at < len(self._text):
            raise self._error("syntax error")
        return block

    # -- characters

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _error(self, complaint: str, at: int | None = None) -> ParseError:
        position = self._at if at is None else at
        before = self._text[:position]
        return ParseError(complaint, before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)

    def _skip_space(self) -> None:
        while self._peek() and self._peek() in _SPACE:
            self._at += 1

    def _ended(self) -> bool:
        return not self._peek() or self._peek() in _ENDS_COMMAND

    def _take(self, allowed: Collection[str]) -> str:
        start = self._at
        while self._peek() and self._peek() in allowed:
            self._at += 1
        return self._text[start : self._at]

    def _expect(self, closing: str) -> None:
        if self._peek() != closing:
            raise self._error("syntax error")
        self._at += len(closing)

    # -- commands

    def _block(self, closing: str) -> Block:
        commands: list[Command | Enter | Code] = []
        while True:
            while self._peek() and self._peek() in _SPACE + ";\n":
                self._at += 1
            if self._peek() == "#":
                self._skip_comment()
                continue
            if not self._peek() or self._peek() == closing:
                return Block(tuple(commands))
            commands.append(self._command())
            self._skip_space()
            if not self._ended():
                raise self._error("expected end of command")
            if self._peek() and self._peek() in "]})" and self._peek() != closing:
                raise self._error("syntax error")

    def _skip_comment(self) -> None:
        while self._peek() and self._peek() != "\n":
            self._at += 1

    def _command(self) -> Command | Enter | Code:
        if self._peek() == "{":
            return self._code()
        if self._peek() == ":":
            self._at += 1
            start = self._at
            name = completed(self._take(_NAME), ICE_PARAMETERS)
            if name is None:
                raise self._error(f"bad command name {self._text[start : self._at]}", start)
            return self._language_command(name)
        path = self._menu
        if self._peek() == "/":
            self._at += 1
            path = ()
        return self._menu_command(path)

    def _menu_command(self, path: tuple[str, ...]) -> Command | Enter:
        moved = path != self._menu or path == ()
        while True:
            self._skip_space()
            start = self._at
            if self._text.startswith("..", self._at):
                self._at += 2
                path, moved = path[:-1], True
                continue
            word = self._take(_NAME)
            if not word:
                if moved and self._ended():
                    return Enter(path)
                raise self._error("expected command name")
            submenu = completed(word, self._grammar.submenus(path))
            verb = completed(word, self._grammar.verbs(path))
            if submenu is not None and (verb is None or verb != word):
                path, moved = (*path, submenu), True
                self._after_menu_name()
            elif verb is not None:
                return self._verb(path, verb)
            elif word in ICE_PARAMETERS:
                return self._language_command(word)
            else:
                raise self._error(f"bad command name {word}", start)

    def _after_menu_name(self) -> None:
        if self._peek() != "/":
            return
        if not self._grammar.slash_paths:
            raise self._error("expected command name")
        self._at += 1

    def _verb(self, path: tuple[str, ...], verb: str) -> Command:
        parameters = self._grammar.parameters(path, verb)
        words = self._grammar.words(path, verb)
        arguments: list[Argument] = []
        outside, self._menu = self._menu, path  # a bare [find] in the arguments means this menu
        try:
            while True:
                self._skip_space()
                if self._ended():
                    return Command(path, verb, tuple(arguments))
                if verb == "find" or self._at_where(words):
                    return Command(path, verb, tuple(arguments), self._where())
                arguments.append(self._argument(parameters, words, self._grammar.takes_items(verb)))
        finally:
            self._menu = outside

    def _at_where(self, words: Collection[str]) -> bool:
        after = self._text[self._at + 5 : self._at + 6]
        return "where" in words and self._text.startswith("where", self._at) and after not in _NAME

    def _where(self) -> Expression | None:
        if self._at_where(("where",)):
            self._at += 5
            self._skip_space()
        return None if self._ended() else self._or(inside_where=True)

    def _argument(self, parameters: Collection[str], words: Collection[str], items: bool) -> Argument:
        start = self._at
        name = self._take(_NAME)
        if name and self._peek() == "=":
            parameter = completed(name, parameters)
            if parameter is None:
                raise self._error("expected end of command", start)
            self._at += 1
            return Argument(parameter, self._given_value())
        word = completed(name, words) if name else None
        if word is not None and (not self._peek() or self._peek() in _SPACE + _ENDS_COMMAND):
            return Argument(word, None)
        if not items:
            raise self._error("expected end of command", start)
        self._at = start
        value = self._value()
        if value is None:
            raise self._error("expected end of command", start)
        return Argument(None, value)

    def _given_value(self) -> Expression | None:
        value = self._value()
        if value is None:
            self._skip_space()
            if not self._ended():  # an empty value is borne at the end of the line alone
                raise self._error("expected end of command")
        return value

    def _language_command(self, name: str) -> Command:
        arguments: list[Argument] = []
        while True:
            self._skip_space()
            if self._ended():
                return Command((ICE,), name, tuple(arguments))
            arguments.append(self._argument(ICE_PARAMETERS[name], (), items=True))

    # -- values

    def _value(self) -> Expression | None:
        opening = self._peek()
        if not opening or opening in _SPACE + _ENDS_COMMAND:
            return None
        if opening == "{":
            return self._code()
        if opening == "(":
            return self._parenthesis(inside_where=False)
        return self._delimited() if opening in '"[$' else self._bare_word()

    def _delimited(self) -> Expression:
        if self._peek() == '"':
            return self._string()
        return self._inner() if self._peek() == "[" else self._variable()

    def _bare_word(self) -> Word:
        start = self._at
        while self._peek() and self._peek() not in _SPACE + _ENDS_COMMAND:
            if self._peek() in '"$\\[({':
                raise self._error("syntax error")
            self._at += 1
        return Word(self._text[start : self._at])

    def _inner(self) -> Inner:
        self._at += 1
        block = self._block("]")
        self._expect("]")
        return Inner(block)

    def _code(self) -> Code:
        self._at += 1
        block = self._block("}")
        self._expect("}")
        return Code(block)

    def _variable(self) -> Variable:
        self._at += 1
        name = self._take(frozenset(string.ascii_letters + string.digits))
        if not name:
            raise self._error("syntax error")
        return Variable(name)

    def _string(self) -> Word | Template:
        self._at += 1
        parts: list[str | Variable] = [""]
        while (character := self._peek()) != '"':
            if not character:
                raise self._error("syntax error")
            if character == "$" and self._text[self._at + 1 : self._at + 2].isalpha():
                parts += [self._variable(), ""]
                continue
            self._at += 1
            parts[-1] = f"{parts[-1]}{self._escaped() if character == chr(92) else character}"
        self._at += 1
        if len(parts) == 1:
            return Word(str(parts[0]), quoted=True)
        return Template(tuple(parts))

    def _escaped(self) -> str:
        pair = self._text[self._at : self._at + 2]
        if len(pair) == 2 and set(pair) <= _HEX:
            self._at += 2
            return chr(int(pair, 16))
        character = self._peek()
        if not character or character not in _ESCAPES:
            raise self._error("syntax error")
        self._at += 1
        return _ESCAPES[character]

    # -- expressions

    def _or(self, inside_where: bool) -> Expression:
        left = self._and(inside_where)
        while self._operator(("||", "or")):
            left = Operation("or", left, self._and(inside_where))
        return left

    def _and(self, inside_where: bool) -> Expression:
        left = self._not(inside_where)
        while True:
            said = self._operator(("&&", "and"))
            if not said and (not inside_where or self._ended() or self._at_operator(("||", "or"))):
                return left
            left = Operation("and", left, self._not(inside_where))

    def _not(self, inside_where: bool) -> Expression:
        if self._operator(("!", "not")):
            return Operation("not", self._not(inside_where))
        left = self._sum(inside_where, is_left=True)
        self._skip_space()
        for operator in _COMPARISONS:
            if self._text.startswith(operator, self._at):
                self._at += len(operator)
                self._skip_space()
                return Operation(operator, left, self._sum(inside_where, is_left=False))
        return left

    def _sum(self, inside_where: bool, is_left: bool) -> Expression:
        left = self._primary(inside_where, is_left)
        self._skip_space()
        while self._peek() and self._peek() in "+-." and not inside_where:
            operator = self._peek()
            self._at += 1
            self._skip_space()
            left = Operation(operator, left, self._primary(inside_where, is_left))
            self._skip_space()
        return left

    def _primary(self, inside_where: bool, is_left: bool) -> Expression:
        self._skip_space()
        if self._peek() == "(":
            return self._parenthesis(inside_where)
        if self._peek() and self._peek() in '"[$':
            return self._delimited()
        word = self._take(_EXPRESSION_WORD)
        if not word:
            raise self._error("syntax error")
        return Field(word) if inside_where and is_left else Word(word)

    def _parenthesis(self, inside_where: bool) -> Expression:
        self._at += 1
        inner = self._or(inside_where)
        self._skip_space()
        self._expect(")")
        return inner

    def _at_operator(self, spellings: tuple[str, ...]) -> str | None:
        self._skip_space()
        for spelling in spellings:
            after = self._text[self._at + len(spelling) : self._at + len(spelling) + 1]
            if spelling == "!" and after in ("=", "~"):
                continue
            if self._text.startswith(spelling, self._at) and not (spelling.isalpha() and after in _NAME):
                return spelling
        return None

    def _operator(self, spellings: tuple[str, ...]) -> bool:
        found = self._at_operator(spellings)
        if found is None:
            return False
        self._at += len(found)
        self._skip_space()
        return True
