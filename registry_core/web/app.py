"""The application: every address, and what happens where a page fails."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route

from registry_core.errors import MlregError, UsageError
from registry_core.web import compare, ledger, models, promotion, requests, runs, sweeps
from registry_core.web.access import Access, Session
from registry_core.web.site import Malformed, Site, status_of, twins

if TYPE_CHECKING:
    from starlette.requests import Request

    from registry_core.registry import Registry

# name in an address -> the package's folder, and the file's type
_STATIC = {
    "theme.css": ("reports", "text/css"),
    "web.css": ("web/static", "text/css"),
    "live.js": ("web/static", "text/javascript"),
}


def make_app(
    registry: Registry,
    *,
    port: int,
    allowed_hosts: Collection[str] = (),
    root_path: str = "",
    token: str | None = None,
    renewed: Callable[[str], object] = lambda token: None,
) -> Starlette:
    """The pages of a registry as an ASGI application.

    Args:
        registry: the registry.
        port: the server's, which a browser names in `Host`.
        allowed_hosts: further values of `Host`, such as a proxy's; one without a port is also
            answered with the server's.
        root_path: the path below which a proxy shows the pages.
        token: what lets a browser in, once; None is a random one, so that nobody can.
        renewed: is told the next token each time that one was used.
    """
    root = root_path.rstrip("/")
    # browsers send cookies to every port of a host, so that each server needs a name of its own
    session = Session(token or secrets.token_urlsafe(32), f"mlreg-{port}", renewed)
    site = Site(registry, root, session.form_token)
    hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", *allowed_hosts)}
    hosts |= set(allowed_hosts)
    access = Middleware(Access, hosts={host.lower() for host in hosts}, root=root, session=session)
    return Starlette(
        routes=routes(site),
        middleware=[access],
        exception_handlers={
            MlregError: partial(_known_error, site),
            Malformed: partial(_malformed, site),
            HTTPException: partial(_http_error, site),
            Exception: partial(_bug, site),
        },
    )


def routes(site: Site) -> list[Route]:
    """Every address; a test tries each attack on each of them."""

    def at(path: str, show: Callable[[Site, Request], Response], *methods: str) -> Route:
        return Route(path, partial(show, site), methods=list(methods) or None)

    version = "/models/{name}/{selector}"
    return [
        at("/static/{file}", _static),
        *twins(site, "/", models.list_models),
        *twins(site, "/compare", compare.compare),
        *twins(site, "/ledger", ledger.show_ledger),
        *twins(site, "/requests", requests.list_requests),
        at("/requests/{number}/approve", requests.approve, "POST"),
        at("/requests/{number}/decline", requests.decline, "POST"),
        *twins(site, "/requests/{number}", requests.show_request),
        *twins(site, "/runs", runs.list_runs),
        at("/runs/{run}/live", runs.show_live),
        *twins(site, "/runs/{run}", runs.show_run),
        *twins(site, "/sweeps", sweeps.list_sweeps),
        at("/sweeps/{sweep}/live", sweeps.show_live),
        *twins(site, "/sweeps/{sweep}", sweeps.show_sweep),
        *twins(site, "/models/{name}/groups/{group}", compare.show_group),
        at("/models/{name}/aliases/{alias}/rollback", promotion.roll_back, "POST"),
        *twins(site, "/models/{name}/aliases/{alias}/rollback", promotion.plan_rollback),
        at(f"{version}/promote", promotion.promote, "POST"),
        *twins(site, f"{version}/promote", promotion.plan_promotion),
        at(f"{version}/files/{{path:path}}", models.download),
        *twins(site, version, models.show_version),
        *twins(site, "/models/{name}", models.list_versions),
    ]


def _static(site: Site, request: Request) -> Response:
    found = _STATIC.get(request.path_params["file"])
    if found is None:
        raise HTTPException(404)
    folder, kind = found
    content = files("registry_core").joinpath(folder, request.path_params["file"]).read_bytes()
    return Response(content, media_type=kind)


def _known_error(site: Site, request: Request, error: Exception) -> Response:
    assert isinstance(error, MlregError)  # noqa: S101 - as it is registered
    return site.error(request, error, status_of(request, error))


def _malformed(site: Site, request: Request, error: Exception) -> Response:
    assert isinstance(error, Malformed)  # noqa: S101 - as it is registered
    return site.error(request, error.error, 400)


def _http_error(site: Site, request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as it is registered
    words = {404: "There is no such page.", 405: "This page cannot be used in that way."}
    known = UsageError(words.get(error.status_code, error.detail), "Begin with the models.")
    answer = site.error(request, known, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


def _bug(site: Site, request: Request, error: Exception) -> Response:
    known = MlregError(
        "mlreg failed: this is a bug.",
        "The terminal in which `mlreg ui` runs has the traceback. Other pages work.",
    )
    return site.error(request, known, 500)
