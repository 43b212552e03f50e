"""The registry in a browser: pages over the verbs of `Registry`, and their JSON twins.

Starlette, Jinja2 and uvicorn are imported when an application is made: they come with an extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry_core.web.app import make_app as make_app
    from registry_core.web.serving import serve as serve

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "make_app":
            from registry_core.web.app import make_app

            return make_app
        if name == "serve":
            from registry_core.web.serving import serve

            return serve
        raise AttributeError(f"module 'registry_core.web' has no attribute {name!r}")
