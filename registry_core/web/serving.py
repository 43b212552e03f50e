"""Serves the pages from this machine until a signal stops it."""

from __future__ import annotations

import errno
import re
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry_core.errors import BusyError, UsageError
from registry_core.refs import shown

if TYPE_CHECKING:
    from registry_core.registry import Registry

LOOPBACK = "127.0.0.1"

# Time that a request may still take when a signal comes.
_GRACE_SECONDS = 1

_HOST = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?")
_ROOT = re.compile(r"(/[A-Za-z0-9._~-]+)*/?")


@dataclass(frozen=True)
class Place:
    """Where a server listens.

    Args:
        port: the port.
        url: what a person opens; it has the token, which works once.
        proxied: the same through a proxy, for each host that is allowed.
    """

    port: int
    url: str
    proxied: Sequence[str] = ()


def serve(
    registry: Registry,
    *,
    host: str = LOOPBACK,
    port: int = 8321,
    allowed_hosts: Sequence[str] = (),
    root_path: str = "",
    ready: Callable[[Place], None],
) -> None:
    """Serve the pages of a registry; returns, or lets a signal's handler raise, when one comes.

    Args:
        registry: the registry.
        host: the address to listen on; another one than 127.0.0.1 needs an allowed host.
        port: the port; 0 is a free one.
        allowed_hosts: names by which a proxy may ask, with a port if it has another one.
        root_path: the path below which a proxy shows the pages.
        ready: is told where, once connections are accepted; and again for another browser, each
            time that an address was used.

    Raises:
        UsageError: an argument is malformed, or the address cannot be had.
        BusyError: another program uses the port.
    """
    _check(host, allowed_hosts, root_path)
    listener = _listen(host, port)
    with listener:
        import uvicorn

        from registry_core.web.app import make_app

        real_port = listener.getsockname()[1]
        token = secrets.token_urlsafe(32)

        def tell(token: str) -> None:
            end = f"/?token={token}"
            proxied = [f"https://{name}{root_path.rstrip('/')}{end}" for name in allowed_hosts]
            ready(Place(real_port, f"http://{LOOPBACK}:{real_port}{end}", proxied))

        app = make_app(
            registry,
            port=real_port,
            allowed_hosts=allowed_hosts,
            root_path=root_path,
            token=token,
            renewed=tell,
        )
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        tell(token)
        uvicorn.Server(config).run(sockets=[listener])


def _check(host: str, allowed_hosts: Sequence[str], root_path: str) -> None:
    if host != LOOPBACK and not allowed_hosts:
        raise UsageError(
            f"{shown(host)} can be reached from other machines.",
            "Name the host by which browsers ask for it, or leave --host out.",
            f"mlreg ui --host {host} --allow-host NAME",
        )
    for name in allowed_hosts:
        if not _HOST.fullmatch(name):
            raise UsageError(
                f"{shown(name)} cannot be a host.",
                "A host is a name, with a port if a browser has to name one.",
                "mlreg ui --allow-host models.example.org",
            )
    if not _ROOT.fullmatch(root_path):
        raise UsageError(
            f"{shown(root_path)} cannot be the root of the pages.",
            "It begins with a slash, and has letters, digits, '.', '_', '~' and '-'.",
            "mlreg ui --root-path /mlreg",
        )


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
        return listener
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise BusyError(
                f"Port {port} of {host} is used by another program.",
                "Stop it, or take another port.",
                f"mlreg ui --port {port + 1 if port < 65535 else 0}",
            ) from error
        raise UsageError(
            f"Cannot listen on port {port} of {host}: {error.strerror}.",
            "Ports below 1024 need rights; the address must be one of this machine.",
            "mlreg ui",
        ) from error
