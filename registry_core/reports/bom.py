"""A bill of materials of a version: CycloneDX 1.6, with the model's card, as JSON.

It depends on the manifest and the version's files alone, so it is the same whenever it is made.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from registry_core.formatting import as_typed, copy_of, parent_of
from registry_core.records import MODEL_FILE
from registry_core.reports.sources import VersionSource
from registry_core.reports.wording import output_line, signature_lines
from registry_core.tasks import Other

SPEC_VERSION = "1.6"
_SCHEMA = f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json"

# Environment of a version from before libraries were listed: key -> distribution
_FEW_LIBRARIES = ("tensorflow", "keras", "numpy", "mlreg")


def render_bom(source: VersionSource) -> dict[str, Any]:
    """The bill of materials as JSON.

    Args:
        source: the version, and what is recorded of it.
    """
    version, environment = source.version, source.manifest.get("environment", {})
    model, data = _model(source), _data(source)
    libraries = [_library(name, number) for name, number in _libraries(environment).items()]
    plugins = [_plugin(each) for each in source.manifest.get("plugins", ())]
    parts = [*data, *plugins, *libraries]
    tool = {"type": "application", "name": "mlreg", **_version_of(environment.get("mlreg"))}
    return {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, version.digest)}",
        "version": 1,
        "metadata": {
            "timestamp": version.created,
            "tools": {"components": [tool]},
            "component": model,
        },
        "components": parts,
        "dependencies": [
            {"ref": model["bom-ref"], "dependsOn": [each["bom-ref"] for each in parts]},
            *({"ref": each["bom-ref"]} for each in parts),
        ],
    }


def _model(source: VersionSource) -> dict[str, Any]:
    version, manifest = source.version, source.manifest
    files = [
        {"type": "file", "name": each.path, "hashes": _sha256(each.sha256)}
        for each in version.files
    ]
    stored = version.file(MODEL_FILE)
    facts = {
        "preset": version.preset,
        "seed": str(version.seed),
        "run": version.run,
        "manifest-sha256": version.digest,
        "copy-of": copy_of(version.origin) if version.origin else None,
        "weights": manifest.get("weights"),
        "starts-from": parent_of(manifest) or None,
        "device": manifest.get("environment", {}).get("device"),
        "python": manifest.get("environment", {}).get("python"),
        "platform": manifest.get("environment", {}).get("platform"),
        **{f"config:{key}": as_typed(value) for key, value in manifest["config"].items()},
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{version.ref}",
        "name": version.model,
        "version": str(version.version),
        **({"hashes": _sha256(stored.sha256)} if stored else {}),
        "modelCard": _model_card(source),
        "components": files,
        "properties": _properties(facts),
    }


def _model_card(source: VersionSource) -> dict[str, Any]:
    task, test = source.task, source.splits.get("test", {})
    parameters: dict[str, Any] = {
        "datasets": [{"ref": _data_ref(source, name)} for name in source.splits],
    }
    if task is not None and not isinstance(task, Other):
        parameters["task"] = task.kind
        if not source.imported:  # it was trained on inputs with targets
            parameters["approach"] = {"type": "supervised"}
    if inputs := signature_lines(test.get("inputs")):
        parameters["inputs"] = [{"format": line} for line in inputs]
    if output := output_line(task):
        parameters["outputs"] = [{"format": output}]
    intervals = source.intervals
    measured = []
    for name, value in source.version.metrics.items():
        metric: dict[str, Any] = {
            "type": name.removeprefix("test_"),
            "value": repr(value),
            "slice": "test split",
        }
        if interval := intervals.get(name):
            metric["confidenceInterval"] = {
                "lowerBound": repr(interval.low),
                "upperBound": repr(interval.high),
            }
        measured.append(metric)
    return {
        "modelParameters": parameters,
        "quantitativeAnalysis": {"performanceMetrics": measured},
    }


def _data(source: VersionSource) -> list[dict[str, Any]]:
    """A component for each split."""
    origin = source.manifest.get("data", {}).get("source")
    found = []
    for name, split in source.splits.items():
        facts = {
            "examples": str(split["examples"]),
            "fingerprint": split["fingerprint"],
            "inputs": "; ".join(signature_lines(split.get("inputs"))) or None,
            "targets": "; ".join(signature_lines(split.get("targets"))) or None,
        }
        digest = re.fullmatch(r"sha256:([0-9a-f]{64})", split["fingerprint"])
        found.append(
            {
                "type": "data",
                "bom-ref": _data_ref(source, name),
                "name": f"{source.version.dataset}, {name} split",
                **({"description": origin} if origin else {}),
                **({"hashes": _sha256(digest[1])} if digest else {}),
                "data": [
                    {
                        "type": "dataset",
                        "name": name,
                        "contents": {"properties": _properties(facts)},
                    }
                ],
            }
        )
    return found


def _data_ref(source: VersionSource, split: str) -> str:
    return f"data:{source.version.dataset}/{split}"


def _libraries(environment: Mapping[str, Any]) -> dict[str, str]:
    """Distribution -> version; of an older record, the few libraries that it names."""
    few = {name: environment[name] for name in _FEW_LIBRARIES if name in environment}
    found: dict[str, str] = environment.get("libraries") or few
    return dict(sorted(found.items()))


def _library(name: str, number: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{quote(_normal(name))}@{quote(number, safe='')}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        **_version_of(number),
        "purl": purl,
    }


def _normal(name: str) -> str:
    """A distribution's name as package URLs have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _plugin(recorded: Mapping[str, Any]) -> dict[str, Any]:
    facts = {
        "module": recorded["module"],
        "kind": recorded["kind"],
        "distribution": recorded.get("distribution"),
        "code-sha256": recorded.get("code_sha256"),
    }
    return {
        "type": "library",
        "bom-ref": f"plugin:{recorded['name']}",
        "name": recorded["name"],
        "description": "A plugin of mlreg.",
        "properties": _properties(facts),
    }


def _version_of(number: str | None) -> dict[str, str]:
    return {"version": number} if number else {}


def _sha256(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]


def _properties(facts: Mapping[str, str | None]) -> list[dict[str, str]]:
    return [{"name": f"mlreg:{k}", "value": v} for k, v in facts.items() if v is not None]
