"""Bad configurations: every file of bad_conf/ is refused with exactly the text in its first line, which is nginx's.

The form of that line: `# expect: TEXT [# nginx WHAT]`, where FILE is the file, DIR its folder, and WHAT tells why nginx
itself would not say TEXT; without it, the installed nginx must say the same.  More such lines: more errors, in order.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lb.config import ConfigError, load

BAD = Path(__file__).parent / "bad_conf"
FILES = sorted(BAD.glob("*.conf"))
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
STREAM_MODULE = Path(os.environ.get("NGINX_STREAM_MODULE", "/usr/lib/nginx/modules/ngx_stream_module.so"))
ONLY_ROOT = ("no_such_user", "no_such_group")  # nginx and lb look `user` up only when they run as root


def expectations(path: Path) -> list[tuple[str, str]]:
    """The (text, what nginx does instead) of the first lines."""
    found = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("# expect: "):
            break
        text, _, nginx = line.removeprefix("# expect: ").partition(" # nginx ")
        found.append((re.sub(r"\bFILE\b", str(path), text).replace("DIR/", f"{path.parent}/"), nginx))
    assert found, f"{path} has no expected error"
    return found


def first_lines(error: ConfigError) -> list[str]:
    """nginx's part of each error; the lines after it are lb's hints."""
    return [str(problem).split("\n")[0] for problem in error.errors]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_is_refused_with_its_text(path: Path, tmp_path: Path) -> None:
    if path.stem in ONLY_ROOT and os.geteuid() != 0:
        pytest.skip("needs root")
    with pytest.raises(ConfigError) as caught:
        load(str(path), prefix=str(tmp_path))
    found = [_as_old_pcre2(text) for text in first_lines(caught.value)]
    assert found == [_as_old_pcre2(text) for text, _ in expectations(path)]


@pytest.mark.parametrize("path", [path for path in FILES if not expectations(path)[0][1]], ids=lambda path: path.stem)
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_nginx_says_the_same(path: Path, tmp_path: Path) -> None:
    text = expectations(path)[0][0]
    if path.stem in ONLY_ROOT and os.geteuid() != 0:
        pytest.skip("needs root")
    if path.stem.startswith("stream_") and not STREAM_MODULE.exists():
        pytest.skip("nginx has no stream module")
    said = nginx_emerg(path, tmp_path)
    if text.startswith('unknown "'):
        text = text.split(" in ")[0]  # nginx prints no place for an unknown variable
    assert _as_old_pcre2(said) == _as_old_pcre2(text)


def _as_old_pcre2(text: str) -> str:
    """The rest of the expression at which PCRE2 stops: since 10.47 it begins behind the quantifier that is too much."""
    return re.sub(r'(pcre2_compile\(\) failed: quantifier .* at ")[*+?]?', r"\1", text)


def nginx_emerg(path: Path, prefix: Path) -> str:
    """The [emerg] text of `nginx -t`, with writable places for all its files."""
    assert NGINX is not None
    main = "load_module %s;" % STREAM_MODULE if path.stem.startswith("stream_") else ""
    (prefix / "logs").mkdir()
    command = [NGINX, "-t", "-p", f"{prefix}/", "-e", "stderr", "-c", str(path), "-g", main]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30)
    found = re.search(r"\[emerg\] (?:\d+#\d+: )?(.*)", run.stderr)
    return found[1] if found else run.stderr
