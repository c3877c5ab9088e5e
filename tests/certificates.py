"""Certificates for tests, made by openssl: any names, times, keys and signers."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

DAY = 86400
CONF = """
[ca]
default_ca = x
[x]
database = index
serial = serial
new_certs_dir = .
policy = any
unique_subject = no
copy_extensions = none
rand_serial = yes
[any]
commonName = supplied
"""


@dataclass(frozen=True)
class Pair:
    """NAME.pem and NAME.key."""

    directory: Path
    name: str

    @property
    def pem(self) -> Path:
        return self.directory / f"{self.name}.pem"

    @property
    def key(self) -> Path:
        return self.directory / f"{self.name}.key"

    @property
    def secret(self) -> bytes:
        """The private key as DER."""
        return openssl("pkey", "-in", str(self.key), "-outform", "DER")

    def replace_by(self, other: Pair) -> None:
        """As certbot and cp do it: the same names, other files."""
        for mine, its in ((self.pem, other.pem), (self.key, other.key)):
            fresh = mine.with_suffix(".new")
            fresh.write_bytes(its.read_bytes())
            fresh.rename(mine)

    def der(self) -> bytes:
        return openssl("x509", "-in", str(self.pem), "-outform", "DER")


def openssl(*arguments: str, cwd: Path | None = None) -> bytes:
    done = subprocess.run(["openssl", *arguments], check=False, capture_output=True, cwd=cwd)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def _time(at: float) -> str:
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(at))


def make(
    directory: Path,
    name: str,
    *names: str,
    days: tuple[float, float] = (-1, 300),
    key: str = "ec:P-256",
    signer: Pair | None = None,
    is_ca: bool = False,
    digest: str = "sha256",
    extra: str = "",
) -> Pair:
    """`names`: of its SAN ("IP:y"; a plain one is a DNS name); without any it has a CN alone. `days`: from now."""
    pair, (kind, _, size) = Pair(directory, name), key.partition(":")
    option = f"ec_paramgen_curve:{size}" if kind == "ec" else f"rsa_keygen_bits:{size}"
    openssl("genpkey", "-algorithm", kind, "-pkeyopt", option, "-out", str(pair.key))
    (directory / "ca.conf").write_text(CONF)
    (directory / "index").write_text("")
    san = ",".join(one if ":" in one else f"DNS:{one}" for one in names)
    lines = [f"basicConstraints = critical,CA:{'TRUE' if is_ca else 'FALSE'}", extra]
    lines += [f"subjectAltName = {san}"] if names else []
    (directory / "extensions").write_text("\n".join(lines) + "\n")
    openssl("req", "-new", "-key", str(pair.key), "-subj", f"/CN={name}", "-out", "request.pem", cwd=directory)
    by = ["-selfsign"] if signer is None else ["-cert", str(signer.pem)]
    keyfile = str(pair.key if signer is None else signer.key)
    now = time.time()
    openssl("ca", "-batch", "-notext", "-config", "ca.conf", "-in", "request.pem", "-out", str(pair.pem), *by,
            "-keyfile", keyfile, "-md", digest, "-extfile", "extensions", "-startdate", _time(now + days[0] * DAY),
            "-enddate", _time(now + days[1] * DAY), cwd=directory)  # fmt: skip
    return pair
