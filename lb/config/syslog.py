"""`syslog:server=ADDRESS,...` of access_log and error_log: nginx's parameters and refusals."""

from __future__ import annotations

import re
from dataclasses import replace

from lb.config.address import AddressError, parse
from lb.config.errors import Refused
from lb.config.scope import Scope
from lb.model import Syslog

PREFIX = "syslog:"
_SYSTEM = ["kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv", "ftp"]
FACILITIES = [*_SYSTEM, "ntp", "audit", "alert", "cron", *(f"local{number}" for number in range(8))]
SEVERITIES = ["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"]
MAX_TAG = 32  # RFC 3164, section 5.3
PORT = 514


def parse_syslog(scope: Scope, text: str) -> Syslog:
    """`text` is the whole parameter, with its `syslog:`. Raises Refused."""
    found: dict[str, str] = {}
    hostname = True
    for word in text.removeprefix(PREFIX).split(","):
        key, equals, value = word.partition("=")
        if word == "nohostname":
            hostname = False
        elif key in ("server", "facility", "severity", "tag") and equals:
            if key in found:
                raise Refused(f'duplicate syslog "{key}"')
            found[key] = _checked(key, value)
        else:
            raise Refused(f'unknown syslog parameter "{word}"')
    if "server" not in found:
        raise Refused("no syslog server specified")
    syslog = replace(_server(scope, found["server"]), hostname=hostname, tag=found.get("tag", "lb"))
    if "facility" in found:
        syslog = replace(syslog, facility=FACILITIES.index(found["facility"]))
    if "severity" in found:
        syslog = replace(syslog, severity=SEVERITIES.index(found["severity"]))
    return syslog


def _checked(key: str, value: str) -> str:
    if (key == "facility" and value not in FACILITIES) or (key == "severity" and value not in SEVERITIES):
        raise Refused(f'unknown syslog {key} "{value}"')
    if key == "tag" and len(value) > MAX_TAG:
        raise Refused(f"syslog tag length exceeds {MAX_TAG}")
    if key == "tag" and not re.fullmatch("[A-Za-z0-9_]*", value):
        raise Refused('syslog "tag" only allows alphanumeric characters and underscore')
    return value


def _server(scope: Scope, text: str) -> Syslog:
    try:
        url = parse(text, default_port=PORT, base=scope.reader.prefix)
        return Syslog(scope.reader.resolver.addresses(url)[0], text)
    except AddressError as error:
        raise Refused(f'{error} in syslog server "{text}"') from None
