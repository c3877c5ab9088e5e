"""Blocks that hold lines of data, not directives: map{}, types{}."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable

from lb.config.errors import Problem, Refused
from lb.config.reader import Reader
from lb.config.tree import Node, Statement
from lb.config.variables import take_unknown


def walk_lines(reader: Reader, statements: list[Statement], line: Callable[[Node], None]) -> None:
    """Give each line to `line`, which refuses what is wrong; a problem does not end the walk."""
    for statement in statements:
        if isinstance(statement, Problem):
            reader.problems.append(statement)
            reader.syntax_error = True
            continue
        try:
            line(statement)
        except Refused as refused:
            file, at = (refused.file, refused.line) if refused.file else (statement.file, statement.line)
            reader.problems.append(Problem(refused.message, file, at, refused.hint))
        reader.unknown += [(name, statement) for name in take_unknown()]


def include_lines(reader: Reader, node: Node, line: Callable[[Node], None]) -> None:
    """An `include FILE;` among the lines."""
    name = reader.include_name(node.args[0])
    names = sorted(glob.glob(name), key=os.fsencode) if re.search(r"[*?\[]", name) else [name]
    for path in names:
        with reader.open(path) as statements:
            walk_lines(reader, statements, line)
