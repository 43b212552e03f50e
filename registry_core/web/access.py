"""Who may talk to the server: the first thing that every request passes, for pages and files alike.

A request needs an exact Host, so that another site's name cannot lead here, and the cookie of the
session. What is not GET or HEAD also needs the Origin of this server and the token of the session's
forms. Every answer carries headers that let a browser do as little as possible with it.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable, Collection
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

READING = ("GET", "HEAD")
FORM_TYPE = "application/x-www-form-urlencoded"

_MAX_BODY_BYTES = 64_000
_MAX_FIELDS = 32

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    # not `no-referrer`: browsers would then send `Origin: null` with the forms of these pages
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


class Session:
    """The one session of a server; a browser enters it with a token that works once.

    Args:
        token: the first one.
        cookie: the cookie's name.
        renewed: is told the next token each time that one was used.
    """

    def __init__(self, token: str, cookie: str, renewed: Callable[[str], object]) -> None:
        self.cookie = cookie
        self._renewed = renewed
        self.form_token = secrets.token_urlsafe(32)
        self._secret = secrets.token_urlsafe(32)
        self._token = token
        self._lock = threading.Lock()

    def begin(self, token: str) -> str | None:
        """The cookie's value, if this is the token and nobody used it before."""
        with self._lock:
            if not _equal(token, self._token):
                return None
            self._token = secrets.token_urlsafe(32)
        self._renewed(self._token)
        return self._secret

    def has(self, value: str) -> bool:
        """Whether a cookie is that of the session."""
        return _equal(value, self._secret)

    def may_change(self, form_token: str) -> bool:
        """Whether a form was on a page of the session."""
        return _equal(form_token, self.form_token)


class Access:
    """Lets requests of the session through; an ASGI application around another.

    Args:
        app: the application.
        hosts: the exact values of `Host` that are answered, in lower case.
        root: the path below which a proxy shows the pages, without a slash at its end.
        session: the session.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], root: str, session: Session) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._root = root
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in HEADERS.items()
                        if name.encode() not in given
                    ),
                ]
            await send(message)

        scope = {**scope, "path": self._below_root(scope["path"]), "root_path": ""}
        request = Request(scope, receive)
        refusal = self._refuse_host(request) or self._enter(request)
        if refusal is None and request.method not in READING:
            refusal = await self._refuse_change(request)
        await (refusal or self._app)(scope, receive, send_guarded)

    def _below_root(self, path: str) -> str:
        """The path without the proxy's, which some proxies leave in place and others strip."""
        if self._root and (path == self._root or path.startswith(f"{self._root}/")):
            return path[len(self._root) :] or "/"
        return path

    def _refuse_host(self, request: Request) -> Response | None:
        hosts = request.headers.getlist("host")
        if len(hosts) == 1 and hosts[0].lower() in self._hosts:
            return None
        return _refusal(
            421,
            "This server does not answer to that host name.",
            "Behind a proxy, or with another port of your own: mlreg ui --allow-host NAME",
        )

    def _enter(self, request: Request) -> Response | None:
        """Begin the session where the token is given; refuse what is outside of it."""
        is_inside = self._session.has(request.cookies.get(self._session.cookie, ""))
        token = request.query_params.get("token")
        if request.scope["path"] == "/" and request.method == "GET" and token is not None:
            value = self._session.begin(token)
            if value is not None or is_inside:
                return self._welcome(value)
        if is_inside:
            return None
        here = quote(self._root + request.scope["path"])
        return _refusal(
            401 if token is None else 403,
            "You are not signed in here."
            if token is None
            else "That address was used already, or is of a server that has stopped.",
            "Open the address that `mlreg ui` printed last. Each address works once.",
            f'<p>If this browser is signed in: <a href="{escape(here)}">open the page</a>.</p>',
        )

    def _welcome(self, cookie: str | None) -> Response:
        """Lead to the first page.

        A page, not a redirect: where a link led here, a browser sends a strict cookie only with a
        request that a page of this server made.
        """
        first = escape(f"{self._root}/")
        answer = _page(
            200,
            "Signed in.",
            f'<p><a href="{first}">Open the registry</a></p>',
            f'<meta http-equiv="refresh" content="0; url={first}">',
        )
        if cookie is not None:
            answer.set_cookie(
                self._session.cookie,
                cookie,
                path=self._root or "/",
                httponly=True,
                samesite="strict",
            )
        return answer

    async def _refuse_change(self, request: Request) -> Response | None:
        """Refuse what no form of this server sent; keep the form's fields for the page."""
        origins, host = request.headers.getlist("origin"), request.headers["host"].lower()
        site = request.headers.get("sec-fetch-site", "same-origin")
        if origins not in ([f"http://{host}"], [f"https://{host}"]) or site != "same-origin":
            return _refusal(403, "Another site asked for this change.", "Nothing was changed.")
        if request.headers.get("content-type", "").partition(";")[0].strip() != FORM_TYPE:
            return _refusal(415, f"A change is sent as {FORM_TYPE}.", "Nothing was changed.")
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY_BYTES:
                return _refusal(413, "The form is too long.", "Nothing was changed.")
        try:
            fields = dict(
                parse_qsl(
                    body.decode("ascii"),
                    keep_blank_values=True,
                    max_num_fields=_MAX_FIELDS,
                    errors="strict",
                )
            )
        except ValueError:
            return _refusal(400, "The form cannot be read.", "Nothing was changed.")
        if not self._session.may_change(fields.get("form", "")):
            return _refusal(
                403,
                "The form is not from a page of this server, or the server was started again.",
                "Nothing was changed. Load the page again.",
            )
        request.scope["mlreg.form"] = fields
        return None


def form_of(request: Request) -> dict[str, Any]:
    """The fields of a form that was let through."""
    found: dict[str, Any] = request.scope.get("mlreg.form", {})
    return found


def _equal(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "backslashreplace"), right.encode())


def _refusal(status: int, what: str, remedy: str, more: str = "") -> Response:
    return _page(status, what, f"<p>{escape(remedy)}</p>{more}")


def _page(status: int, what: str, body: str, head: str = "") -> HTMLResponse:
    """A page without a style sheet, which would need a session."""
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"{head}<title>mlreg</title></head><body><main><h1>{escape(what)}</h1>{body}</main>"
        "</body></html>",
        status,
    )
