"""Rules of doc/principles.md that can be read off the source and off Cython's output."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOT = sorted([*(ROOT / "lb/fast").rglob("*.pyx"), *(ROOT / "lb/fast").rglob("*.pxd"), ROOT / "lb/_fast.pyx"])
LONGEST = 500  # lines of a file
LONGER: dict[str, int] = {}  # none
LONGEST_LIST = 700  # tables of directives and of test cases


def joined(text: str) -> list[tuple[int, str]]:
    """Logical lines with the number of their first: a signature over several lines is one; no comments, no strings."""
    text = re.sub(r'""".*?"""', lambda match: "\n" * match[0].count("\n"), text, flags=re.DOTALL)
    lines: list[tuple[int, str]] = []
    depth = 0
    for number, line in enumerate(text.splitlines(), 1):
        bare = re.sub(r"#.*", "", re.sub(r"'(\\.|[^'\\])*'|\"(\\.|[^\"\\])*\"", "''", line)).rstrip()
        if depth > 0:
            lines[-1] = (lines[-1][0], f"{lines[-1][1]} {bare.strip()}")
        else:
            lines.append((number, bare))
        depth += bare.count("(") + bare.count("[") - bare.count(")") - bare.count("]")
    return lines


SIGNATURE = re.compile(r"^\s*(?:cdef|cpdef|ctypedef)\b(?!.*\bextern\b).*\([^)]*.*\)\s*(?:\S.*)?\bnogil\b")


def extern_lines(text: str) -> set[int]:
    """Lines inside `cdef extern from` blocks: C functions raise nothing, whatever is written."""
    inside, indent, found = False, 0, set()
    for number, line in joined(text):
        stripped = len(line) - len(line.lstrip())
        if re.match(r"\s*cdef extern from", line):
            inside, indent = True, stripped
        elif line.strip() and stripped <= indent:
            inside = False
        if inside:
            found.add(number)
    return found


def without_noexcept(text: str) -> list[tuple[int, str]]:
    """Declarations and definitions of nogil functions that may raise."""
    extern = extern_lines(text)
    return [
        (number, line.strip())
        for number, line in joined(text)
        if SIGNATURE.match(line) and "noexcept" not in line and number not in extern
    ]


@pytest.mark.parametrize("path", HOT, ids=lambda path: path.name)
def test_nogil_functions_are_noexcept(path):
    assert without_noexcept(path.read_text()) == []


def test_the_search_for_noexcept_finds_what_it_should():
    text = """
cdef int good(int x) noexcept nogil:
    pass
cdef inline int bad(int x) nogil:
    pass
cdef int bad_too(
    int x,
    int y,
) nogil:
    pass
ctypedef void (*bad_pointer)(int x) nogil
cdef extern from "x.h" nogil:
    int recv(int fd) nogil
cdef int last(int x) noexcept nogil  # nogil
"""
    assert [number for number, _ in without_noexcept(text)] == [4, 6, 11]


def hot_functions() -> int:
    return sum(len(re.findall(r"^cdef .*noexcept nogil", path.read_text(), re.M)) for path in HOT)


def test_there_are_hot_functions():
    assert hot_functions() > 50


def test_no_performance_hint():
    log = ROOT / "build/cython.log"
    assert log.exists(), "run `make build`"
    assert "lb/_fast.pyx" in log.read_text(), "the log belongs to another build"
    hints = [line for line in log.read_text().splitlines() if "performance hint" in line]
    assert hints == []


@pytest.mark.parametrize("path", HOT, ids=lambda path: path.name)
def test_no_python_assert_in_the_engine(path):
    """In nogil code it is printed and ignored: BUG_ON is for invariants."""
    found = [(number, line) for number, line in joined(path.read_text()) if re.match(r"\s*assert\b", line)]
    assert found == []


def test_compiler_directives_are_set_once():
    """A `# cython:` comment is ignored in an included file, and a decorator hides a difference between rooms."""
    pattern = re.compile(r"^#\s*cython:|@cython\.(boundscheck|wraparound|cdivision|initializedcheck)", re.M)
    assert [path.name for path in HOT if pattern.search(path.read_text())] == []


SOCKET_CALL = re.compile(
    r"(?<![\w.])(recv|send|shutdown|getsockname|getsockopt|setsockopt|sendfile|splice|accept4|connect|socket)\("
)
# Who else has sockets of his own: datagrams of logs; the listeners, before the loop runs.
SOCKETS_OF_THEIR_OWN = {"log/syslog.pyx", "compile/engine.pyx", "upstream/outgoing.pyx", "compile/layout.pyx"}
CONN_FD = re.compile(r"\b(c|u|a|b|conn|client|up)\.fd\b")


def beside_the_transport(path: Path) -> list[tuple[int, str]]:
    """Lines that touch a connection's descriptor, or make a system call for sockets."""
    lines = joined(path.read_text())
    return [(number, line) for number, line in lines if CONN_FD.search(line) or SOCKET_CALL.search(line)]


def test_bytes_of_connections_pass_the_transport_alone():
    """A stream of HTTP/2 will be a Conn without a descriptor: only io/ knows that there are any."""
    rooms = {str(path.relative_to(ROOT / "lb/fast")): path for path in HOT if path.name != "_fast.pyx"}
    others = [name for name in rooms if not name.startswith(("io/", "c/")) and name not in SOCKETS_OF_THEIR_OWN]
    assert {name: found for name in others if (found := beside_the_transport(rooms[name]))} == {}
    touched = {name for name in rooms if name.startswith("io/") and beside_the_transport(rooms[name])}
    assert touched == {"io/plain.pyx", "io/accept.pyx", "io/loop.pyx", "io/conn.pyx"}


def sources() -> list[Path]:
    skip = {".venv", "build", ".cache", ".git"}
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in skip and not name.startswith(".")]
        found += [Path(folder, name) for name in names if re.search(r"\.(py|pyx|pxd|pyi|h)$", name)]
    return [path for path in found if not path.name.startswith("_probe.c")]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_file_length_and_docstring(path):
    text = path.read_text()
    is_list = path.name.startswith("test_") or "table" in path.name
    limit = LONGER.get(path.name, LONGEST_LIST if is_list else LONGEST)
    assert text.count("\n") <= limit, f"{path.name} has {text.count(chr(10))} lines: split it"
    if text.strip():
        included = path.name in ("structs.pxd", "settings.pxd", "worker.pxd")  # no docstring may stand there
        assert re.match(r'(?:#!.*\n)?(?:"""|/\*|//)', text) or (included and text.startswith("# ")), (
            f"{path.name} does not begin with what it is for"
        )


# ---- rooms

ENGINE = ROOT / "lb/fast"
DOORS = sorted(ENGINE.rglob("__init__.pxd"))
FUNCTION = re.compile(r"^cdef\s+(?!extern|class|enum)(?:inline\s+)?[^=(#\n]*?\b(\w+)\((?!\*)", re.M)


def prefixes(door: Path) -> list[str]:
    found = re.search(r"^Prefixes: (.+)$", door.read_text(), re.M)
    assert found, f"{door} does not say its prefixes"
    return found[1].split()


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in HOT if ENGINE in path.parent.parents}), ids=lambda path: path.name
)
def test_every_room_has_a_door(folder):
    assert (folder / "__init__.pxd").exists()


@pytest.mark.parametrize("door", DOORS, ids=lambda path: str(path.parent.relative_to(ENGINE)))
def test_a_door_names_what_is_behind_it(door):
    """A new reader finds a file from its room's door; structs of a room are where they always are."""
    files = {path.name for path in HOT if path.parent == door.parent}
    files -= {door.name, "structs.pxd", "settings.pxd", "types.pxd"}
    text = door.read_text()
    assert sorted(name for name in files if not re.search(rf"(?<![\w.]){re.escape(name)}\b", text)) == []


@pytest.mark.parametrize("door", DOORS, ids=lambda path: str(path.parent.relative_to(ENGINE)))
def test_functions_carry_the_prefix_of_their_room(door):
    """So that a reader finds the room of a function by its name."""
    allowed = tuple(prefixes(door))
    rooms = [path for path in HOT if path.parent == door.parent]
    names = {prefix.removesuffix("_") for prefix in allowed}
    found = {name for path in rooms for name in FUNCTION.findall(path.read_text())}
    assert sorted(name for name in found if not name.startswith(allowed) and name not in names) == []


def test_no_prefix_leads_to_two_rooms():
    found: dict[str, Path] = {}
    for door in DOORS:
        for prefix in prefixes(door):
            above = found.setdefault(prefix, door.parent)
            assert above == door.parent or above in door.parent.parents, (
                f"{prefix}: {above.name} and {door.parent.name}"
            )


def test_the_life_of_a_request_names_what_is_there():
    text = (ROOT / "doc/life-of-a-request.md").read_text()
    code = "\n".join(path.read_text() for path in ENGINE.rglob("*.p*"))
    files = {name for name in re.findall(r"`([a-z_0-9/]+\.p(?:yx|xd|y))`", text) if "/" in name}
    assert sorted(name for name in files if not any((root / name).exists() for root in (ENGINE, ROOT))) == []
    names = set(re.findall(r"\b(?:PH|RQ|S)_[A-Z_]+\b", text)) | set(
        re.findall(r"`((?:%s)\w+)`" % "|".join(sorted({prefix for door in DOORS for prefix in prefixes(door)})), text)
    )
    assert sorted(name for name in names if not re.search(rf"\b{name}\b", code)) == []
    phases = set(re.findall(r"^    (PH_\w+) = ", (ENGINE / "http/structs.pxd").read_text(), re.M))
    assert {name for name in names if name.startswith("PH_")} == phases


# ---- Python's folders

LAYERS = [
    "model",
    "trusted",
    "syslog",
    "upstream_show",
    "_fast",
    "log",
    "inspect",
    "config",
    "process",
    "acme",
    "upsync",
    "worker",
    "status",
    "master",
    "demo",
    "cli",
]


def arrows() -> set[tuple[str, str]]:
    """(folder, folder it imports) of everything in lb/, the engine included."""
    found = set()
    for path in [*(ROOT / "lb").rglob("*.py"), *HOT]:
        parts = path.relative_to(ROOT / "lb").with_suffix("").parts
        source = "_fast" if parts[0] in ("_fast", "fast") else parts[0]
        for match in re.finditer(
            r"^\s*(?:from lb\.(\w+)[\w.]* import|from lb import ([\w, ]+))", path.read_text(), re.M
        ):
            for target in [match[1]] if match[1] else [name.split()[0] for name in match[2].split(",")]:
                if target not in (source, "__version__") and source not in ("__main__", "__init__"):
                    found.add((source, target))
    return found


def test_imports_go_down_only():
    """No circle between Python's folders, and no arrow back: a worker knows no master, a configuration no Consul."""
    order = {name: place for place, name in enumerate(LAYERS)}
    assert sorted(arrow for arrow in arrows() if order[arrow[0]] <= order[arrow[1]]) == []


def test_no_wheel_holds_the_probe():
    """tests._probe is built in place only."""
    text = (ROOT / "setup.py").read_text()
    assert re.search(r"if INPLACE and .*_probe", text)
