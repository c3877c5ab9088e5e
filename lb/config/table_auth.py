"""Who may have an answer: `satisfy`, `auth_basic` and its kin. `auth` gathers a scope's for the model."""

from __future__ import annotations

from lb.config.directive import AS_NGINX, Context, Directive, enum, msec, once
from lb.config.scope import Scope
from lb.config.tree import Node
from lb.config.variables import compile_value
from lb.model.auth import Auth

_LEVELS: tuple[Context, ...] = ("http", "server", "location")


def auth_basic(scope: Scope, node: Node) -> None:
    once(scope, node)
    scope.values[node.name] = compile_value(node.args[0])


def auth_basic_user_file(scope: Scope, node: Node) -> None:
    """Relative to the directory of the main file, unless it begins with a variable, as nginx."""
    once(scope, node)
    name = node.args[0]
    scope.values[node.name] = compile_value(name if name.startswith("$") else scope.reader.include_name(name))


def auth(scope: Scope) -> Auth | None:
    """Everything of this scope; None: allow and deny are all."""
    realm = scope.inherited("auth_basic", ("off",))
    user_file = scope.inherited("auth_basic_user_file", None)
    if realm == ("off",) or user_file is None:
        return None
    scope.reader.passwords = True
    return Auth(scope.inherited("satisfy", "all"), realm, user_file, scope.inherited("auth_delay", 0))


DIRECTIVES = (
    Directive(
        "satisfy",
        _LEVELS,
        "all | any",
        (1, 1),
        "all",
        "Whether a request must pass everything that is asked of it here, the client's address (allow, deny) and its "
        "password (auth_basic), or one of them.",
        AS_NGINX,
        enum("all", "any"),
    ),
    Directive(
        "auth_basic",
        (*_LEVELS, "limit_except"),
        "TEXT | off",
        (1, 1),
        "off",
        "Asks for a name and a password (RFC 7617), which auth_basic_user_file knows; TEXT tells the user what they "
        "are for, and may have variables. Without auth_basic_user_file nothing is asked, as in nginx.",
        "differs: passwords are worked out beside the event loop, and what came of one holds for 10 s, as long as the "
        "file stays as it is",
        auth_basic,
    ),
    Directive(
        "auth_basic_user_file",
        (*_LEVELS, "limit_except"),
        "FILE",
        (1, 1),
        "",
        "Lines of NAME:PASSWORD, # begins a comment. Passwords are hashed by crypt(3) (bcrypt, SHA-256 and SHA-512 "
        "crypt, MD5 crypt, DES and what else the system's library knows) or written as $apr1$, {SHA}, {SSHA} or "
        "{PLAIN}. FILE may have variables; a relative name starts from the directory of the main file. A changed file "
        "counts at once.",
        AS_NGINX,
        auth_basic_user_file,
    ),
    Directive(
        "auth_delay",
        _LEVELS,
        "TIME",
        (1, 1),
        "0s",
        "Holds an answer 401 back for so long, which makes guessing slow.",
        AS_NGINX,
        msec,
    ),
)
