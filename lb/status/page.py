"""The page at / of the status port: page.html as it lies beside this file, and the headers that fence it in.

Its one script and its one style may run because the policy names their digests; nothing else may: no script or style
that some text brought in, no other host to load from or to talk to, no frame around it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib import resources
from typing import Final

CONTENT_TYPE: Final = "text/html; charset=utf-8"


@functools.cache
def html() -> bytes:
    """The page. Read once: a later version of the package on disk must not meet this program's policy or JSON."""
    return resources.files(__package__).joinpath("page.html").read_bytes()


@functools.cache
def headers() -> tuple[tuple[str, str], ...]:
    page = html()
    policy = (
        "default-src 'none'",
        f"script-src {_digests(page, b'script')}",
        f"style-src {_digests(page, b'style')}",
        "connect-src 'self'",  # status.json
        "img-src data:",  # the icon of the tab, in the colour of the verdict
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return (
        ("Content-Security-Policy", "; ".join(policy)),
        ("Referrer-Policy", "no-referrer"),
    )


def _digests(page: bytes, tag: bytes) -> str:
    """The digests of what stands in these elements, as a policy names them."""
    texts = re.findall(rb"<%s>(.*?)</%s>" % (tag, tag), page, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in texts)
