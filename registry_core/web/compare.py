"""The pages on which versions stand side by side: any two or more, and those of a group."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from registry_core.errors import MlregError, UsageError
from registry_core.refs import check_model_name, parse_ref
from registry_core.web.site import Malformed, View, attempt, parsed

if TYPE_CHECKING:
    from starlette.requests import Request

    from registry_core.web.site import Site

# the most versions that are compared on one page
_MOST = 8

_GROUP = re.compile(r"[0-9A-Za-z_-]{1,64}")


def compare(site: Site, request: Request) -> View:
    """Two or more versions, compared with the first one."""
    words = list(dict.fromkeys(request.query_params.getlist("ref")))
    if not 2 <= len(words) <= _MOST:
        raise Malformed(
            UsageError(
                f"Between 2 and {_MOST} versions can be compared; {len(words)} were named.",
                "Mark them in the table of versions.",
            )
        )
    versions = [site.registry.version(parsed(parse_ref, word)) for word in words]
    alerts: list[MlregError] = []
    report = attempt(lambda: site.registry.report(*versions), alerts)
    found = attempt(lambda: site.registry.compare(versions), alerts)
    content: dict[str, Any] = found.to_json() if found else {}
    if report:
        content["report"] = report.to_json()
    if alerts:
        content["errors"] = [error.to_json() for error in alerts]
    return View(
        "compare.html",
        {
            "title": " and ".join(version.ref for version in versions),
            "versions": versions,
            "report": report,
            "alerts": list({str(error): error for error in alerts}.values()),
        },
        content,
    )


def show_group(site: Site, request: Request) -> View:
    """The versions of one run over several seeds: mean and deviation of each metric."""
    name = parsed(check_model_name, request.path_params["name"])
    group = request.path_params["group"]
    if not _GROUP.fullmatch(group):
        raise Malformed(UsageError("That cannot be the id of a group.", "Use the page's links."))
    found = site.registry.group(name, group)
    return View(
        "group.html",
        {"title": f"Group of {name}", "model": name, "group": group, "found": found},
        found.to_json(),
    )
