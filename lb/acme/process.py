"""The process "lb: acme": obtains and renews what the configuration wants, one order at a time.

    wait, with a look at other machines' challenges each second -> due: lock -> issue -> state_path -> wait
                                                                  failed: when again (lb.acme.schedule) -> wait

It may wait for the network as long as it likes: nobody waits for it.  The master hears of every change, as JSON lines;
when the master is gone it ends.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Final, NoReturn

import requests
from acme import errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lb import _fast
from lb.acme import order, schedule
from lb.acme.account import Account, Misconfigured
from lb.acme.schedule import Failures, Kind, Life
from lb.acme.store import Challenge, Store
from lb.model.acme import AcmeIssuer, AcmeOrder

LOOK_S: Final = 1.0  # at the challenges of other machines
PAUSE_S: Final = 0.2
OTHERS_WITHIN_S: Final = 15.0  # other machines have read a challenge
BUSY_S: Final = 5.0  # another process orders: a look at what it has done
LONGEST_ERROR: Final = 400


@dataclass(slots=True)
class Wanted:
    """One certificate."""

    issuer: AcmeIssuer
    order: AcmeOrder
    store: Store
    life: Life | None = None  # None: there is none
    failures: Failures = schedule.NONE
    next: float = 0.0  # Unix time
    ask_at: float = 0.0  # how soon the ACME server wants it renewed
    advised: tuple[int, float] = (0, 0.0)  # its answer: of which serial number, and when
    busy: bool = False

    @property
    def name(self) -> str:
        """Of its files."""
        return self.order.file.rpartition("/")[2].removesuffix(".pem")

    @property
    def shown(self) -> str:
        return f'certificate "{self.order.identifiers[0]}" of issuer "{self.issuer.name}"'

    def load(self, *, start: bool = False) -> None:
        """What lies below state_path, which may be another machine's work. Raises OSError."""
        self.life = _life(self.store.read(f"{self.name}.pem"))
        self.failures = _failures(self.store.read_json(f"{self.name}.json"))
        self.next = self._renew_at()
        if self.failures.kind:
            again = schedule.after_start(self.failures, time.time()) if start else self.failures.next
            self.next = max(self.next, again)

    def _renew_at(self) -> float:
        if self.life is None:
            return 0.0
        serial, at = self.advised
        return min(at, self.life.not_after) if serial == self.life.serial else self.life.renew_at()

    def advise(self, at: float) -> None:
        """The ACME server has said when."""
        assert self.life is not None
        self.advised = (self.life.serial, at)
        if not self.failures.kind:
            self.next = self._renew_at()

    def to_json(self) -> dict[str, Any]:
        state = (
            "ordering"
            if self.busy
            else "failing"
            if self.failures.kind
            else "waiting"
            if self.life is None
            else "valid"
        )
        return {
            "file": self.order.file,
            "issuer": self.issuer.name,
            "names": self.order.identifiers,
            "state": state,
            "not_after": self.life.not_after if self.life is not None else None,
            "next": self.next,
            "failures": self.failures.count,
            "error": self.failures.error,
            "error_at": self.failures.at or None,
        }


class Process:
    """All issuers of the configuration."""

    def __init__(self, issuers: Sequence[AcmeIssuer], line: socket.socket) -> None:
        self._line = line
        self._stores = {one.name: Store(one.state_path) for one in issuers}
        self._accounts: dict[str, Account] = {}
        self._wanted = [Wanted(one, want, self._stores[one.name]) for one in issuers for want in one.orders]
        self._looked = 0.0

    def run(self) -> None:
        """Until the master is gone, or says so (SIGTERM)."""
        signal.signal(signal.SIGTERM, _end)
        try:
            for one in self._wanted:
                self._begin(one)
            self._look()
            while True:
                now = time.time()
                for one in self._wanted:
                    if one.life is not None and one.ask_at <= now < one.next:
                        self._ask(one, now)
                    if one.next <= now:
                        self._try(one)
                self._pause(LOOK_S)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for store in self._stores.values():
                _quietly(store.withdraw)

    # One certificate

    def _begin(self, one: Wanted) -> None:
        try:
            one.store.prepare()
            one.load(start=True)
        except OSError as error:
            self._failed(one, "ours", _os_error(error))
        self._tell(one)

    def _try(self, one: Wanted) -> None:
        """It is due. Whatever happens, it has a next time."""
        try:
            one.store.prepare()
            with one.store.lock() as mine:
                retry = one.failures
                one.load()
                if not mine:
                    one.next = max(one.next, time.time() + BUSY_S)
                elif one.next <= time.time() or (one.failures == retry and retry.kind not in ("", "limited")):
                    self._issue(one)
        except OSError as error:
            self._failed(one, "ours", _os_error(error))
        self._tell(one)

    def _ask(self, one: Wanted, now: float) -> None:
        """When to renew it (ARI). Whatever goes wrong: as if it had not been asked."""
        try:
            at, again = self._account(one).renewal_time(one.store.read(f"{one.name}.pem"))
        except Exception as error:
            self._accounts.pop(one.issuer.name, None)
            for other in self._wanted:  # it may have waited for long
                if other.issuer == one.issuer:
                    other.ask_at = now + schedule.ASK_AGAIN_S
            text = " ".join(str(error).split())[:LONGEST_ERROR]
            self._log("info", f"acme: {one.shown}: it is not known when the ACME server wants it renewed: {text}")
            return
        one.ask_at = schedule.ask_at(again.timestamp(), now)
        if at is not None:
            one.advise(at.timestamp())
            self._tell(one)

    def _issue(self, one: Wanted) -> None:
        one.busy = True
        self._tell(one)
        account = None
        try:
            account = self._account(one)
            made = order.issue(account, one.order, partial(self._publish, one.store), self._pause)
            one.store.write(f"{one.name}.pem", made)
            one.store.remove(f"{one.name}.json")
            one.load()
            one.ask_at = time.time() + schedule.ASK_AGAIN_S
            until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(one.life.not_after if one.life else 0))
            self._log("notice", f"acme: {one.shown} was issued, until {until}")
        except Exception as error:
            self._accounts.pop(one.issuer.name, None)  # it may be what is wrong
            kind, text = _understood(error, account)
            if kind == "":
                self._log("alert", f"acme: {traceback.format_exc()}")
            self._failed(one, kind or "refused", text, account.net.retry_after if account is not None else None)
        finally:
            one.busy = False

    def _account(self, one: Wanted) -> Account:
        made = self._accounts.get(one.issuer.name)
        if made is None:
            made = self._accounts[one.issuer.name] = Account(one.issuer, one.store)
        return made

    def _failed(self, one: Wanted, kind: Kind, error: str, retry_after: float | None = None) -> None:
        now = time.time()
        one.failures = schedule.failed(one.failures, kind, error, now, retry_after)
        one.next = one.failures.next
        _quietly(lambda: one.store.write(f"{one.name}.json", json.dumps(one.failures.to_json()).encode()))
        kept = one.life is not None and one.life.not_after > now
        stays = "; the old certificate stays" if kept else ""
        text = f"acme: {one.shown}: {error}; next try in {one.next - now:.0f} s{stays}"
        self._log("warn" if kept else "error", text)

    # Challenges

    def _publish(self, store: Store, challenges: list[Challenge]) -> None:
        """Every worker of every machine answers them from now on."""
        store.publish(challenges)
        self._look()
        if not challenges:
            return
        until = time.monotonic() + OTHERS_WITHIN_S
        while late := store.behind():
            if time.monotonic() >= until:
                self._log("warn", f"acme: {', '.join(late)} may not answer the challenge")
                return
            self._pause(PAUSE_S)

    def _look(self) -> None:
        """What all machines are asked for now is answered by ours."""
        self._looked = time.monotonic()
        try:
            changed = [store for store in self._stores.values() if store.look()]
            if changed:
                _fast.acme_board_set([one for store in self._stores.values() for one in store.challenges])
            for store in self._stores.values():
                store.announce()
        except (OSError, ValueError) as error:
            self._log("error", f"acme: {_os_error(error) if isinstance(error, OSError) else error}")

    # Waiting, and the master

    def _pause(self, seconds: float) -> None:
        """Look after the others meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([self._line], [], [], min(left, LOOK_S))
            if ready:
                self._obey()
            if time.monotonic() - self._looked >= min(LOOK_S, seconds):
                self._look()

    def _obey(self) -> None:
        if not self._line.recv(4096):
            raise SystemExit
        for one in self._wanted:  # the configuration was read again: what was wrong may have been mended
            if one.failures.kind and not one.busy:
                one.next = min(one.next, schedule.after_start(one.failures, time.time()))

    def _tell(self, one: Wanted) -> None:
        self._send({"state": one.to_json()})

    def _log(self, level: str, text: str) -> None:
        self._send({"log": [level, text]})

    def _send(self, said: dict[str, Any]) -> None:
        try:
            self._line.sendall(json.dumps(said).encode() + b"\n")
        except OSError:
            raise SystemExit from None


def _end(_number: int, _frame: Any) -> NoReturn:
    raise SystemExit


def _quietly(what: Any) -> None:
    try:
        what()
    except OSError:
        return


def _life(text: bytes) -> Life | None:
    """None: there is no certificate with its key in it."""
    if not text:
        return None
    try:
        one = x509.load_pem_x509_certificates(text)[0]
        key: Any = serialization.load_pem_private_key(text, None)
        if key.public_key() != one.public_key():
            return None
    except (ValueError, TypeError, IndexError):
        return None
    return Life(one.serial_number, one.not_valid_before_utc.timestamp(), one.not_valid_after_utc.timestamp())


def _failures(found: dict[str, Any]) -> Failures:
    """NONE: what lies there is not ours."""
    try:
        made = Failures(
            **{one.name: type(getattr(schedule.NONE, one.name))(found[one.name]) for one in fields(Failures)}
        )
    except (KeyError, ValueError, TypeError):
        return schedule.NONE
    return made if made.kind in ("away", "limited", "refused", "ours") else schedule.NONE


def _understood(error: Exception, account: Account | None) -> tuple[Kind, str]:
    """What kind of failure it is, and in one line what is wrong. "": a fault of our own."""
    status = account.net.status if account is not None else 0
    if isinstance(error, messages.Error):
        text = f"{error.code or error.typ}: {error.detail or error.title or ''}"
    elif isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return "ours", _os_error(error)
    else:
        text = str(error) or type(error).__name__
    text = " ".join(text.split())[:LONGEST_ERROR]
    if isinstance(error, (Misconfigured, order.Refused)):
        return "ours" if isinstance(error, Misconfigured) else "refused", text
    if status == 429 or (isinstance(error, messages.Error) and error.code == "rateLimited"):
        return "limited", text
    if isinstance(error, requests.RequestException) or (
        isinstance(error, errors.Error) and (status >= 500 or not status)
    ):
        return "away", f"the ACME server is not to be had: {text}"
    return ("refused" if isinstance(error, errors.Error) else ""), text


def _os_error(error: OSError) -> str:
    return (
        f'"{error.filename}": {error.errno}: {error.strerror}' if error.filename else f"{error.errno}: {error.strerror}"
    )
