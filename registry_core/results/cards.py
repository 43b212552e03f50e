"""Documents about one version: its model card, its bill of materials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from registry_core.dataclass import dataclass


@dataclass(frozen=True)
class ModelCard:
    """A model card.

    Args:
        version: the reference of the version.
        text: the card, in Markdown, with the metadata of the Hugging Face Hub at the top.
    """

    version: str
    text: str

    def to_json(self) -> dict[str, Any]:
        return {"version": self.version, "card": self.text}


@dataclass(frozen=True)
class BillOfMaterials:
    """A bill of materials.

    Args:
        version: the reference of the version.
        content: the bill of materials as JSON, in the format CycloneDX 1.6.
    """

    version: str
    content: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The content as the text of a file."""
        return json.dumps(self.content, indent=2, ensure_ascii=False) + "\n"

    def to_json(self) -> dict[str, Any]:
        return {"version": self.version, "bom": dict(self.content)}
