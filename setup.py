"""Builds the extension `lb._fast` (and, in the work tree only, `tests._probe`) in the mode that LB_BUILD names.

One translation unit holds the whole hot path: `lb/_fast.pyx` includes `lb/fast/*.pyx` and cimports `lb/fast/*.pxd`.
Cython's compiler directives are set here and nowhere else: a comment in an included room is ignored.  Everything a mode
makes lies in `build/<mode>/`; a build in place then puts the result into the tree with a rename, so that a running lb
keeps the file it has mapped.  What Cython said is in `build/cython.log`; the mode in the tree is in `build/mode`.

Environment: LB_BUILD = release | dev | debug | asan | profile | coverage;  LB_MARCH = native for the machine at hand;
LB_NO_EXT = 1 leaves the extensions out (the editable install: `make build` makes them);  LB_TLS = PREFIX links to the
OpenSSL that is installed there.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
BUILD = ROOT / "build"

# Libraries that the engine links to, by pkg name of the linker (-lNAME).
LIBRARIES: list[str] = ["pcre2-8", "z", "ssl", "crypto", "crypt"]

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,  # the zero check takes the GIL
    "initializedcheck": False,
    "nonecheck": False,
    "overflowcheck": False,
    "binding": True,
    "embedsignature": True,
}

BASE_CFLAGS = [
    "-g1",  # lines and functions, for backtraces, perf and gcov: variables too would cost a third of the build
    "-fno-plt",
    "-fno-strict-aliasing",
    "-fvisibility=hidden",
    "-Wall",
    # What Cython generates trips these; our own C headers are small enough to read.
    "-Wno-unused-function",
    "-Wno-unused-variable",
    "-Wno-unused-but-set-variable",
    "-Wno-unused-label",
]


@dataclass(frozen=True)
class Mode:
    """Flags of one build mode, after BASE_CFLAGS (the last one wins in gcc)."""

    cflags: tuple[str, ...]
    ldflags: tuple[str, ...] = ()


SANITIZE = "-fsanitize=address,undefined"
MODES = {
    "release": Mode(("-O3",)),
    "dev": Mode(("-O0", "-UNDEBUG", "-DLB_DEBUG")),  # the build of one's every change: a fifth of release's
    "debug": Mode(("-O1", "-g", "-UNDEBUG", "-DLB_DEBUG", "-fno-omit-frame-pointer")),
    "asan": Mode(
        ("-O1", "-g", "-UNDEBUG", "-DLB_DEBUG", SANITIZE, "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"),
        (SANITIZE,),
    ),
    "profile": Mode(("-O3", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls")),
    "coverage": Mode(("-O0", "-UNDEBUG", "-DLB_DEBUG", "-DLB_COVERAGE", "--coverage"), ("--coverage",)),
}


def build_mode() -> str:
    mode = os.environ.get("LB_BUILD", "") or "release"
    if mode not in MODES:
        sys.exit(f"setup.py: LB_BUILD={mode}: expected one of {', '.join(MODES)}")
    return mode


def march_flags() -> list[str]:
    march = os.environ.get("LB_MARCH", "")
    return [f"-march={march}"] if march else []


MODE = build_mode()
MODE_DIR = BUILD / (MODE + "".join(march_flags()))
INPLACE = "--inplace" in sys.argv or "-i" in sys.argv


NAMED = re.compile(
    r"""^\s*(?:from\s+(lb\.fast[\w.]*)\s+cimport|include\s+"([^"]+)"|cdef\s+extern\s+from\s+"([\w./]+)")""", re.M
)


def rooms(source: str) -> list[str]:
    """Every file whose change must rebuild `source`, relative to ROOT: what it cimports and includes, and so on.

    cythonize misses included ones now and then.
    """
    found: set[Path] = set()
    todo = [ROOT / source]
    while todo:
        path = todo.pop()
        if path in found or not path.is_file():
            continue
        found.add(path)
        for module, included, header in NAMED.findall(path.read_text()):
            if module:
                todo.append(ROOT / (module.replace(".", "/") + ".pxd"))
            else:  # cython looks beside the file, gcc in include_dirs
                todo += [path.parent / (included or header), ROOT / "lb/fast/c" / (included or header)]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def named(mode: Mode) -> list[str]:
    """The mode and its flags as texts, for `lb -V`."""
    flags = " ".join([*BASE_CFLAGS, *mode.cflags, *march_flags()])
    return [f'-DLB_BUILD_NAME="{MODE}"', f'-DLB_BUILD_FLAGS="{flags}"']


def tls_places() -> dict[str, list[str]]:
    """Where another OpenSSL than the system's lies: PREFIX/include and PREFIX/lib (or lib64) of LB_TLS."""
    prefix = os.environ.get("LB_TLS", "")
    if not prefix:
        return {}
    include = Path(prefix, "include")
    library = next(
        (path for path in (Path(prefix, "lib64"), Path(prefix, "lib")) if (path / "libssl.so").exists()), None
    )
    if not (include / "openssl/ssl.h").exists() or library is None:
        sys.exit(f"setup.py: LB_TLS={prefix}: no include/openssl/ssl.h or no lib/libssl.so in it")
    return {"include_dirs": [str(include)], "library_dirs": [str(library)], "runtime_library_dirs": [str(library)]}


def extension(name: str, source: str) -> Extension:
    mode = MODES[MODE]
    tls = tls_places()
    return Extension(
        name,
        [source],
        depends=[*rooms(source), "setup.py"],
        include_dirs=["lb/fast/c", *tls.get("include_dirs", [])],
        library_dirs=tls.get("library_dirs", []),
        runtime_library_dirs=tls.get("runtime_library_dirs", []),
        libraries=LIBRARIES,
        extra_compile_args=[*BASE_CFLAGS, *mode.cflags, *march_flags(), *named(mode)],
        extra_link_args=list(mode.ldflags),
    )


def wanted() -> list[Extension]:
    if os.environ.get("LB_NO_EXT"):
        return []
    found = [extension("lb._fast", "lb/_fast.pyx")] if (ROOT / "lb/_fast.pyx").exists() else []
    if INPLACE and (ROOT / "tests/_probe.pyx").exists():
        found.append(extension("tests._probe", "tests/_probe.pyx"))
    return found


class Tee:
    """A text stream that writes to two: Cython's messages go to the terminal and into the log."""

    def __init__(self, *streams: TextIO) -> None:
        self.streams = streams

    def write(self, text: str) -> int:
        for stream in self.streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self.streams:
            stream.flush()


def is_stale(c_file: Path, ext: Extension) -> bool:
    if not c_file.exists():
        return True
    made = c_file.stat().st_mtime
    return any((ROOT / path).stat().st_mtime > made for path in [*ext.sources, *ext.depends])


def translate(ext: Extension) -> list[Extension]:
    """Cython -> C for one extension, when something changed; its messages into build/<mode>/<name>.log."""
    from Cython.Build import cythonize

    c_file = MODE_DIR / "c" / Path(ext.sources[0]).with_suffix(".c")
    log = MODE_DIR / f"{ext.name}.log"
    stale = is_stale(c_file, ext)
    depends, ext.depends = ext.depends, []  # cythonize would copy them all into its build folder
    with contextlib.ExitStack() as stack:
        if stale:
            MODE_DIR.mkdir(parents=True, exist_ok=True)
            c_file.unlink(missing_ok=True)  # a failed translation must not leave an old file that looks fresh
            stream = stack.enter_context(log.open("w"))
            stack.enter_context(contextlib.redirect_stdout(Tee(sys.stdout, stream)))
            stack.enter_context(contextlib.redirect_stderr(Tee(sys.stderr, stream)))
        made = cythonize(
            [ext],
            build_dir=str(MODE_DIR / "c"),
            include_path=["."],
            compiler_directives=DIRECTIVES,
            emit_linenums=True,
            force=stale,
            quiet=not stale,
        )
    for one in made:
        one.depends = depends
    return made


def translate_all() -> list[Extension]:
    made = [one for ext in wanted() for one in translate(ext)]
    logs = [MODE_DIR / f"{ext.name}.log" for ext in made]
    if made:
        (BUILD / "cython.log").write_text("".join(log.read_text() for log in logs if log.exists()))
    return made


class BuildExt(build_ext):
    """Builds in `build/<mode>/`, compiles again when the flags may have changed, replaces in place by rename."""

    def finalize_options(self) -> None:
        if INPLACE:
            self.build_lib = str(MODE_DIR / "lib")
            self.build_temp = str(MODE_DIR / "o")
        super().finalize_options()

    def copy_extensions_to_source(self) -> None:
        build_py = self.get_finalized_command("build_py")
        for ext in self.extensions:
            fullname = self.get_ext_fullname(ext.name)
            made = Path(self.build_lib, self.get_ext_filename(fullname))
            package = fullname.rpartition(".")[0]
            target = Path(build_py.get_package_dir(package), made.name)
            if not target.exists() or not filecmp.cmp(made, target, shallow=False):
                fresh = target.with_suffix(".new")
                shutil.copy2(made, fresh)
                fresh.replace(target)
        BUILD.mkdir(exist_ok=True)
        (BUILD / "mode").write_text(MODE + "\n")


os.chdir(ROOT)
setup(ext_modules=translate_all(), cmdclass={"build_ext": BuildExt})
