"""A folder as the Hugging Face Hub has it, beside the model that Keras wrote into it.

Keras reads `config.json`, `metadata.json`, `model.weights.h5` and `assets/` from such a folder, and
from `hf://ACCOUNT/NAME`. People read `README.md`, the model card. Nothing is sent anywhere.
"""

from __future__ import annotations

from pathlib import Path

from registry_core.exports.figures import write_figures
from registry_core.records import FIGURES_FOLDER, Version
from registry_core.reports.card import render_card
from registry_core.reports.sources import read_version
from registry_core.store import Store


def add_documents(store: Store, version: Version, folder: Path) -> None:
    """Write the model card, and the figures, into a folder that has the model.

    Raises:
        IntegrityError: a file of the version is damaged.
        OSError: they cannot be written.
    """
    card = render_card(read_version(store, version), hub=True)
    (folder / "README.md").write_text(card, "utf-8")
    write_figures(store, version, folder / FIGURES_FOLDER)
