"""Where runs can run: how a cluster's address is written, and whether anything listens there."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import socket
import time
from collections.abc import Sequence

from registry_core.errors import StorageError, UsageError
from registry_core.refs import shown

_SECONDS_TO_ANSWER = 5.0
_SECONDS_BETWEEN = 0.5
_PORTS = 65_536


class NoPlaceError(UsageError):
    """`--on` names no place to run.

    Args:
        on: what it names.
    """

    def __init__(self, on: str) -> None:
        near = difflib.get_close_matches(on, ["local", "ray"], n=1)
        self.typed = on
        self.meant = near[0] if near else "ray"
        host = re.fullmatch(r"(?:ray://)?([\w.\-]+)", on)
        if host and not near:
            self.meant = f"ray://{host[1]}:10001"
        meant = f" Did you mean '{near[0]}'?" if near else ""
        super().__init__(
            f"--on {shown(on)} is no place to run.",
            f"Places: local, ray, ray://HOST:10001, HOST:6379.{meant}",
            f"--on {self.meant}",
        )

    def corrected(self, words: Sequence[str]) -> str:
        """The command line with a place that there is, or may be."""
        fixed = [
            self.meant if before == "--on" and word == self.typed else word
            for before, word in zip(["", *words], words, strict=False)
        ]
        joined = {f"--on={self.typed}": f"--on={self.meant}"}
        return shlex.join(["mlreg", *(joined.get(word, word) for word in fixed)])


class UnreachableClusterError(StorageError):
    """A cluster cannot be joined, or was lost and does not come back."""


def check_place(on: str) -> None:
    """Refuse what is no place to run.

    Raises:
        NoPlaceError: it is none.
    """
    if on != "local":
        address_of(on)


def address_of(on: str) -> str | None:
    """The address of a cluster; None starts one on this machine.

    Raises:
        NoPlaceError: the place is none.
    """
    if on == "ray":
        return os.environ.get("RAY_ADDRESS") or None
    if re.fullmatch(r"(ray://)?[\w.\-\[\]:]+:\d{1,5}", on) and _port_of(on) < _PORTS:
        return on
    raise NoPlaceError(on)


def reach(address: str, patience: float = 0.0) -> None:
    """See whether anything listens at an address: Ray itself asks for a minute.

    Args:
        address: of a cluster.
        patience: how long to try again, in seconds.

    Raises:
        UnreachableClusterError: nothing does.
    """
    if ":" not in address.removeprefix("ray://"):
        return  # of a kind that Ray alone knows
    until = time.monotonic() + patience
    while (why := _refusal(address)) is not None:
        if time.monotonic() >= until:
            raise nobody_listens(address, why)
        time.sleep(_SECONDS_BETWEEN)


def reach_place(on: str) -> None:
    """The same for a place, before anything is begun for it.

    Raises:
        NoPlaceError: it is none.
        UnreachableClusterError: nothing listens there.
    """
    if on != "local" and (address := address_of(on)) is not None:
        reach(address)


def nobody_listens(address: str, why: str) -> UnreachableClusterError:
    """What to say if nothing listens at an address."""
    by_client = address.startswith("ray://")
    option, usual = ("--ray-client-server-port", 10001) if by_client else ("--port", 6379)
    return UnreachableClusterError(
        f"The Ray cluster at {address} cannot be reached: {why}.",
        f"Start the cluster's head there, or check the address: the usual port is {usual}.",
        f"ray start --head {option}={_port_of(address)}",
    )


def no_ray_there(address: str, why: str) -> UnreachableClusterError:
    """What to say if something listens at an address, and it does not become a connection."""
    if re.search(r"\btoken\b", why, re.IGNORECASE):
        why = re.split(r"[.:] ", why)[0]
        return UnreachableClusterError(
            f"The Ray cluster at {address} does not let this machine in: {why}.",
            "It asks for Ray's token. Set RAY_AUTH_MODE=token here, and RAY_AUTH_TOKEN to what the "
            "head's machine prints:",
            "ray get-auth-token",
        )
    has_token = os.environ.get("RAY_AUTH_MODE") == "token"
    return UnreachableClusterError(
        f"The Ray cluster at {address} cannot be reached: {why}.",
        "Something listens there. ray://HOST:10001 is the port for clients, HOST:6379 the head's "
        f"own.{'' if has_token else ' A cluster with a token needs RAY_AUTH_MODE=token.'} On the "
        "head's machine, see how the cluster is:",
        "ray status",
    )


def _refusal(address: str) -> str | None:
    """Why nobody can connect to an address; None if one can."""
    host = _host_of(address)
    try:
        with socket.create_connection((host, _port_of(address)), _SECONDS_TO_ANSWER):
            return None
    except ConnectionRefusedError:
        return "nothing listens there"
    except TimeoutError:
        return f"no answer within {_SECONDS_TO_ANSWER:g} s"
    except socket.gaierror:
        return f"the name {host} is not known"
    except (OSError, UnicodeError) as error:
        return str(getattr(error, "strerror", None) or error)


def _host_of(address: str) -> str:
    return address.removeprefix("ray://").rpartition(":")[0].strip("[]")


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2])
