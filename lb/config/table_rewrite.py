"""Operations on requests before their handler: `return`, `rewrite`, `set`, `break`, `if`; and `error_page`."""

from __future__ import annotations

from lb.config import regexes
from lb.config.directive import AS_NGINX, Context, Directive, flag
from lb.config.errors import Refused
from lb.config.reader import Reader
from lb.config.scope import HttpServerScope, IfDraft, LocationScope, Scope, ServerIfScope
from lb.config.table_proxy import check_one_line
from lb.config.tree import Node
from lb.config.values import parse_number
from lb.config.variables import compile_value
from lb.model import Break, Condition, ErrorPage, Return, Rewrite, Set, Value

OpScope = HttpServerScope | LocationScope | ServerIfScope

_HERE: tuple[Context, ...] = ("server", "location", "if", "server if")
_REDIRECTS = (301, 302, 303, 307, 308)
_URLS = ("http://", "https://", "$scheme")
_FLAGS = ("last", "break", "redirect", "permanent")


# ---- return, set, break


def return_(scope: OpScope, node: Node) -> None:
    code = parse_number(node.args[0])
    if code is None:
        result = _return_url(node)
    elif not 200 <= code <= 999:
        raise Refused(f'invalid return code "{node.args[0]}"', "it must be from 200 to 999")
    else:
        result = Return(code, compile_value(node.args[1]) if len(node.args) > 1 else ())
    if result.status in _REDIRECTS:
        check_one_line(result.text, "redirect URL")
    scope.ops.append(result)


def _return_url(node: Node) -> Return:
    text = node.args[0]
    if len(node.args) > 1 or not text.startswith(_URLS):
        raise Refused(f'invalid return code "{text}"')
    return Return(302, compile_value(text))


def set_(scope: OpScope, node: Node) -> None:
    name = regexes.variable_name(node.args[0])
    if name != "args":  # the one of lb's own that can be set
        regexes.define(scope.reader, name)
    scope.ops.append(Set(name, compile_value(node.args[1])))


def break_(scope: OpScope, node: Node) -> None:
    scope.ops.append(Break())


# ---- rewrite


def rewrite(scope: OpScope, node: Node) -> None:
    pattern, text, *rest = node.args
    regex = regexes.make(scope.reader, pattern)
    if not text:
        raise Refused("empty replacement")
    word = rest[0] if rest else ""
    if word and word not in _FLAGS:
        raise Refused(f'invalid parameter "{word}"')
    add_args = not text.endswith("?")
    text = text.removesuffix("?")
    url = text.startswith(_URLS)
    redirect = 301 if word == "permanent" else 302 if url or word == "redirect" else 0
    value = compile_value(text)
    uri, args = (value, None) if redirect else _split_query(value)
    if redirect:
        check_one_line(value, "redirect URL")
    scope.ops.append(Rewrite(regex, uri, args, add_args, redirect, bool(word) or url, word == "break"))


def _split_query(value: Value) -> tuple[Value, Value | None]:
    """A replacement at its first written question mark."""
    for i, part in enumerate(value):
        if isinstance(part, str) and "?" in part:
            path, _, query = part.partition("?")
            return (*value[:i], *_text(path)), (*_text(query), *value[i + 1 :])
    return value, None


def _text(text: str) -> Value:
    return (text,) if text else ()


# ---- if


def if_(scope: HttpServerScope | LocationScope, node: Node) -> None:
    condition = _condition(scope.reader, node.args)
    inner: LocationScope | ServerIfScope
    if isinstance(scope, LocationScope):
        inner = LocationScope("if", scope.reader, scope, node=node, match="none", pattern=scope.pattern)
    else:
        inner = ServerIfScope("server if", scope.reader, scope)
    scope.ops.append(IfDraft(condition, inner))
    scope.reader.walk_block(node, inner)


def _condition(reader: Reader, args: tuple[str, ...]) -> Condition:
    """The words between the parentheses, which may stand apart or not: ( $a = b ) or ($a = b)."""
    words = list(args)
    if not words[0].startswith("("):
        raise Refused(f'invalid condition "{words[0]}"')
    if not words[-1].endswith(")"):
        raise Refused(f'invalid condition "{words[-1]}"')
    words[0] = words[0][1:]
    if not words[0]:
        words.pop(0)
    if words:
        words[-1] = words[-1][:-1]
        if not words[-1]:
            words.pop()
    if not words:
        raise Refused(f'invalid condition "{args[0]}"')
    if words[0].startswith("$"):
        return _variable_condition(reader, words)
    return _file_condition(words)


def _variable_condition(reader: Reader, words: list[str]) -> Condition:
    value = compile_value("${%s}" % regexes.variable_name(words[0]))
    if len(words) == 1:
        return Condition("true", value)
    if len(words) != 3:
        raise Refused(f'invalid condition "{words[0]}"')
    operator, text = words[1:]
    if operator in ("=", "!="):
        return Condition("=", value, compile_value(text), negate=operator == "!=")
    if operator in ("~", "~*", "!~", "!~*"):
        regex = regexes.make(reader, text, operator.endswith("*"))
        return Condition("~", value, regex=regex, negate=operator[0] == "!")
    raise Refused(f'unexpected "{operator}" in condition')


def _file_condition(words: list[str]) -> Condition:
    operator = words[0].removeprefix("!")
    if len(operator) != 2 or operator[0] != "-" or len(words) != 2:
        raise Refused(f'invalid condition "{words[0]}"')
    value, negate = compile_value(words[1]), words[0][0] == "!"
    if operator == "-f":
        return Condition("-f", value, negate=negate)
    if operator == "-d":
        return Condition("-d", value, negate=negate)
    if operator == "-e":
        return Condition("-e", value, negate=negate)
    if operator == "-x":
        return Condition("-x", value, negate=negate)
    raise Refused(f'invalid condition "{words[0]}"')


# ---- error_page


def error_page(scope: Scope, node: Node) -> None:
    *words, target = node.args
    overwrite = -1
    if words[-1].startswith("="):
        overwrite = _number(words[-1][1:] or "0", words[-1])
        words.pop()
    if not words:
        raise Refused(f'invalid value "{node.args[0]}"')
    statuses = tuple(_status(word) for word in words)
    value = compile_value(target)
    check_one_line(value, "redirect URL")
    scope.values.setdefault("error_page", []).append(ErrorPage(statuses, overwrite, value))


def _number(text: str, word: str) -> int:
    value = parse_number(text)
    if value is None or value > 999 or 0 < value < 200:
        raise Refused(f'invalid value "{word}"')
    return value


def _status(word: str) -> int:
    status = parse_number(word)
    if status is None:
        raise Refused(f'invalid value "{word}"')
    if not 300 <= status <= 599 or status == 499:
        raise Refused(f'value "{word}" must be between 300 and 599')
    return status


DIRECTIVES = (
    Directive(
        "return",
        _HERE,
        "CODE [TEXT] | CODE URL | URL",
        (1, 2),
        "",
        "Answers at once: with a text, or with a redirect to URL (302 if no code is given); "
        "444 closes the connection without an answer.",
        "differs: codes below 200 are refused",
        return_,
    ),
    Directive(
        "set", _HERE, "$VARIABLE VALUE", (2, 2), "", "Sets a variable for the rest of the request.", AS_NGINX, set_
    ),
    Directive(
        "break",
        _HERE,
        "",
        (0, 0),
        "",
        "Ends the operations of this level; the request goes on in the location that it is in.",
        AS_NGINX,
        break_,
    ),
    Directive(
        "rewrite",
        _HERE,
        "REGEX REPLACEMENT [last | break | redirect | permanent]",
        (2, 3),
        "",
        "Replaces the path (and adds to the query, unless REPLACEMENT ends in ?) of a request whose path matches, and "
        "looks for its location anew, at most 10 times; or redirects it (302, 301), also when REPLACEMENT is a URL.",
        "differs: a REGEX that does not match leaves $1 and the others as they were; in nginx they are empty then",
        rewrite,
    ),
    Directive(
        "if",
        ("server", "location"),
        "($VARIABLE | $VARIABLE = | != TEXT | $VARIABLE ~ | ~* | !~ | !~* REGEX | -f | -d | -e | -x FILE) { ... }",
        (1, None),
        "",
        "Operations, and in a location settings and a handler, for requests that the condition holds for.",
        "differs: a relative FILE starts from the directory that lb runs in; captures as for rewrite",
        if_,
        True,
    ),
    Directive(
        "error_page",
        ("http", "server", "location", "if"),
        "CODE ... [=[CODE]] /URI | @NAME | URL",
        (2, None),
        "",
        "What is answered instead of lb's own page of these statuses: /URI is asked for inside lb (with GET), @NAME is "
        "a location, URL is redirected to. The status stays; it becomes CODE with =CODE, that of the page with =.",
        "differs: not for requests that are refused because they are no good HTTP",
        error_page,
    ),
    Directive(
        "recursive_error_pages",
        ("http", "server", "location"),
        "on | off",
        (1, 1),
        "off",
        "Lets error_page take effect more than once in a request.",
        AS_NGINX,
        flag,
    ),
)
