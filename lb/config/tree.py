"""From tokens to a tree of statements: names, arguments, blocks and lines, without any meaning.

A syntax error ends its file: it is kept as the last node, in the place where it was met, so that the walker reports it
in nginx's order.  Every node carries its own file: an error after an `include` is reported where it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lb.config.errors import COMMAND_LINE, Problem
from lb.config.tokens import EOF_IN_DIRECTIVE, EOF_IN_PARAMETER, SyntaxProblem, Token, tokenize

MAX_DEPTH = 64  # blocks in blocks; nginx's own contexts need six


@dataclass(slots=True)
class Node:
    """One directive. `line` is that of its `;` or `{`, as nginx reports it; `end` that of its `}` (0: none)."""

    name: str
    args: tuple[str, ...]
    file: str
    line: int
    block: list[Statement] | None = None
    end: int = 0
    begins: tuple[tuple[str, int], ...] = ()  # unquoted words that begin a line of it, and the line before each

    @property
    def where(self) -> str:
        return self.file if self.file == COMMAND_LINE else f"{self.file}:{self.line}"


Statement = Node | Problem


@dataclass(slots=True)
class _Builder:
    file: str
    root: list[Statement] = field(default_factory=list)
    open: list[Node] = field(default_factory=list)  # the blocks we are in
    words: list[str] = field(default_factory=list)
    begins: list[tuple[str, int]] = field(default_factory=list)
    last: int = 0  # line of the last word

    def feed(self, token: Token) -> None:
        if token.is_mark(";"):
            self._statement(token)
        elif token.is_mark("{"):
            node = self._statement(token)
            node.block = []
            self.open.append(node)
            if len(self.open) > MAX_DEPTH:
                raise SyntaxProblem(f"more than {MAX_DEPTH} blocks inside each other", token.line)
        elif token.is_mark("}"):
            if self.words or not self.open:
                raise SyntaxProblem('unexpected "}"', token.line)
            self.open.pop().end = token.line
        else:
            if self.words and token.line != self.last and not token.quoted:
                self.begins.append((token.text, self.last))
            self.words.append(token.text)
            self.last = token.line

    def _statement(self, token: Token) -> Node:
        if not self.words:
            raise SyntaxProblem(f'unexpected "{token.text}"', token.line)
        node = Node(self.words[0], tuple(self.words[1:]), self.file, token.line, begins=tuple(self.begins))
        self.siblings().append(node)
        self.words, self.begins = [], []
        return node

    def siblings(self) -> list[Statement]:
        block = self.open[-1].block if self.open else None
        return self.root if block is None else block

    def finish(self, line: int) -> None:
        if self.words:
            raise SyntaxProblem(EOF_IN_DIRECTIVE, line)
        if self.open:
            raise SyntaxProblem('unexpected end of file, expecting "}"', line)


def parse(data: bytes, file: str) -> list[Statement]:
    """The statements of one file. A syntax error is the last leaf of the tree."""
    builder = _Builder(file)
    try:
        for token in tokenize(data):
            if not token.text and not token.quoted:
                builder.finish(token.line)
            else:
                builder.feed(token)
    except SyntaxProblem as error:
        builder.siblings().append(Problem(error.message, file, error.line))
    return builder.root


def parse_parameters(text: str) -> list[Statement]:
    """The statements of `-g` text: simple directives only."""
    statements: list[Statement] = []
    for statement in parse(text.encode("utf-8", "surrogateescape"), COMMAND_LINE):
        if isinstance(statement, Problem) and statement.message == EOF_IN_DIRECTIVE:
            statement = Problem(EOF_IN_PARAMETER, COMMAND_LINE)
        elif isinstance(statement, Node) and statement.block is not None:
            return [*statements, Problem("block directives are not supported in -g option", COMMAND_LINE)]
        statements.append(statement)
    return statements


def problems(statements: list[Statement]) -> Iterator[Problem]:
    """Every syntax error in a tree (at most one a file)."""
    for statement in statements:
        if isinstance(statement, Problem):
            yield statement
        elif statement.block:
            yield from problems(statement.block)
