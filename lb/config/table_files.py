"""Static files: which file a path stands for, and how it is sent."""

from __future__ import annotations

import os

from lb.config.directive import AS_NGINX, Context, Directive, enum, flag, full_path, number, once, size
from lb.config.errors import Refused
from lb.config.lines import include_lines, walk_lines
from lb.config.scope import HttpServerScope, LocationScope, Scope
from lb.config.tree import Node
from lb.config.values import ascii_lower, parse_number
from lb.config.variables import compile_value
from lb.model import Files, TryFiles, Var

_LEVELS: tuple[Context, ...] = ("http", "server", "location")
_ROOTS = ("document_root", "realpath_root", "request_filename")  # each made of the root


def root(scope: Scope, node: Node) -> None:
    """root, alias: one or the other on a level."""
    if "root" in scope.values:
        earlier = scope.values["root"][0]
        if earlier == node.name:
            raise Refused(f'"{node.name}" directive is duplicate')
        raise Refused(f'"{node.name}" directive is duplicate, "{earlier}" directive was specified earlier')
    alias = _alias(scope) if node.name == "alias" else 0
    value = compile_value(node.args[0])
    for part in value:
        if isinstance(part, Var) and part.name in _ROOTS:
            raise Refused(f'the ${part.name} variable cannot be used in the "{node.name}" directive')
    if not value or isinstance(value[0], str):  # a variable in front: the engine looks at what it gives
        value = (full_path(scope, str(value[0]) if value else "./"), *value[1:])
    last = value[-1]
    if alias > 0 and isinstance(last, str) and last.endswith("/"):
        warn_of_no_slash(scope, node)
    if not alias and isinstance(last, str) and last.endswith("/"):
        value = (*value[:-1], last[:-1])
    scope.values["root"] = (node.name, value, alias)


def warn_of_no_slash(scope: Scope, node: Node) -> None:
    """nginx's best-known trap: what follows the prefix is put behind the slash, also what belongs to its last word."""
    if isinstance(scope, LocationScope) and scope.match in ("prefix", "noregex") and not scope.pattern.endswith("/"):
        scope.reader.warn(
            f'"{node.name} {node.args[0]}" ends with a slash and location "{scope.pattern}" does not: it takes paths '
            f'such as "{scope.pattern}x", too; 403 where they would lead beside it',
            node,
        )


def _alias(scope: Scope) -> int:
    """Files.alias"""
    assert isinstance(scope, LocationScope)
    if scope.match == "named":
        raise Refused('the "alias" directive cannot be used inside the named location')
    return -1 if scope.match == "regex" else len(os.fsencode(scope.pattern))


def index(scope: Scope, node: Node) -> None:
    names = scope.values.setdefault(node.name, [])
    for i, name in enumerate(node.args):
        if name.startswith("/") and i != len(node.args) - 1:
            scope.reader.warn('only the last index in "index" directive should be absolute', node)
        if not name:
            raise Refused(f'index "{name}" in "index" directive is invalid')
        names.append(compile_value(name))


def try_files(scope: HttpServerScope | LocationScope, node: Node) -> None:
    once(scope, node)
    *names, last = node.args
    files = tuple((compile_value(name.removesuffix("/") or "/"), name.endswith("/")) for name in names)
    status = 0
    if last.startswith("="):
        code = parse_number(last[1:])
        if code is None or not 200 <= code <= 999:
            raise Refused(f'invalid code "{last}"')
        status = code
    scope.values[node.name] = TryFiles(files, () if status else compile_value(last), status)


def types(scope: Scope, node: Node) -> None:
    """TYPE EXTENSION ...; a later one of an extension counts, with a warning as nginx's."""
    found: dict[str, str] = scope.values.setdefault(node.name, {})

    def line(one: Node) -> None:
        if one.block is not None:
            raise Refused('unexpected "{"')
        if one.name == "include":
            if len(one.args) != 1:
                raise Refused('invalid number of arguments in "include" directive')
            include_lines(scope.reader, one, line)
            return
        for extension in map(ascii_lower, one.args):
            if extension in found:
                before = f'content type: "{one.name}", previous content type: "{found[extension]}"'
                scope.reader.warn(f'duplicate extension "{extension}", {before}', one)
            found[extension] = one.name

    walk_lines(scope.reader, node.block or [], line)


def files(scope: Scope) -> Files:
    """Everything of this scope."""
    _, root, alias = scope.inherited("root", ("", (scope.reader.full_name("html"),), 0))
    standard = Files(root)
    types = scope.inherited("types", None)
    return Files(
        root=root,
        alias=alias,
        index=tuple(scope.inherited("index", standard.index)),
        types=standard.types if types is None else tuple(types.items()),
        log_not_found=scope.inherited("log_not_found", True),
        etag=scope.inherited("etag", True),
        if_modified_since=scope.inherited("if_modified_since", "exact"),
        max_ranges=scope.inherited("max_ranges", None),
    )


def _hash(name: str) -> Directive:
    doc = "The size of nginx's table of media types. lb's is as large as `types` needs: the value is not used."
    return Directive(name, _LEVELS, "SIZE", (1, 1), "", doc, "differs: not used", size)


DIRECTIVES = (
    Directive(
        "root",
        (*_LEVELS, "if"),
        "DIRECTORY",
        (1, 1),
        "html",
        "Where the files of a location without another handler lie: the path is put behind it. A relative one starts "
        "from the prefix. A path with a `..` that a variable or a cut-off prefix left in it gets 403.",
        "differs: no `..` leaves it",
        root,
    ),
    Directive(
        "alias",
        ("location",),
        "DIRECTORY | FILE",
        (1, 1),
        "",
        "As `root`, but it takes the place of the location's prefix in the path; in a location with a regular "
        "expression it is the whole name, with $1 to $9.",
        "differs: 403 for a path that leads beside it: by a `..`, or by going on in its last word (/files-x)",
        root,
    ),
    Directive(
        "index",
        _LEVELS,
        "FILE ...",
        (1, None),
        "index.html",
        "The files that stand for a path that ends in a slash: the first that is there is asked for inside lb.",
        AS_NGINX,
        index,
    ),
    Directive(
        "try_files",
        ("server", "location"),
        "FILE ... /URI | @NAME | =CODE",
        (2, None),
        "",
        "Makes the first FILE that is there (a directory, if it ends in a slash) the path of the request; if none is, "
        "asks for /URI inside lb, goes to the location @NAME, or answers with CODE.",
        AS_NGINX,
        try_files,
    ),
    Directive(
        "types",
        _LEVELS,
        "{ TYPE EXTENSION ...; ... }",
        (0, 0),
        "text/html html; image/gif gif; image/jpeg jpg",
        "The media types of files, and of the text of `return`, by the path's extension (any case); `include FILE;` "
        "takes lines from a file. A level with any takes none from around it.",
        AS_NGINX,
        types,
        True,
    ),
    Directive(
        "log_not_found",
        _LEVELS,
        "on | off",
        (1, 1),
        "on",
        "Whether a file that is not there is an error for the log.",
        AS_NGINX,
        flag,
    ),
    Directive(
        "etag",
        _LEVELS,
        "on | off",
        (1, 1),
        "on",
        "Whether files are sent with an ETag, made of their time and size.",
        AS_NGINX,
        flag,
    ),
    Directive(
        "if_modified_since",
        _LEVELS,
        "off | exact | before",
        (1, 1),
        "exact",
        "When If-Modified-Since makes 304 of a file: never, if it is the file's time, or if it is not before it.",
        AS_NGINX,
        enum("off", "exact", "before"),
    ),
    Directive(
        "max_ranges",
        _LEVELS,
        "NUMBER",
        (1, 1),
        "",
        "0 turns Range off for files. lb sends one range; a request for several gets the whole file.",
        "differs: at most one range",
        number,
    ),
    _hash("types_hash_max_size"),
    _hash("types_hash_bucket_size"),
)
