"""The settings, from environment variables: `MLREG_TENSORBOARD_DIR=logs mlreg run …`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mlreg import UsageError

PREFIX = "MLREG_TENSORBOARD_"

# in the run's folder: what a run began with, for when it is resumed
FILE = "mlreg_tensorboard.json"


class Settings(BaseModel):
    """What is logged, and where."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dir: str = Field(
        "", description="folder for a log of each run; empty: the log is a file of the version"
    )
    update: Literal["epoch", "batch"] = Field(
        "epoch", description="how often the loss and the metrics are written"
    )
    histograms: int = Field(
        0, ge=0, le=10_000, description="epochs between histograms of the weights; 0: none"
    )
    graph: bool = Field(False, description="whether the model's graph is written")

    @field_validator("dir")
    @classmethod
    def _absolute(cls, value: str) -> str:
        """The same folder when the run is resumed from elsewhere."""
        return str(Path(value).expanduser().absolute()) if value else ""


def read_settings(run_dir: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of a run: those that it began with, or else those of the environment.

    Args:
        run_dir: the run's folder; a new run's settings are written into it, and a resumed run finds
            them there.
        environment: the variables.

    Raises:
        UsageError: a variable is unknown, or its value is not allowed.
    """
    begun = run_dir / FILE
    if begun.is_file():
        return Settings.model_validate_json(begun.read_bytes())
    values = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        variable = PREFIX + str(first["loc"][0]).upper()
        if first["type"] == "extra_forbidden":
            known = ", ".join(f"{PREFIX}{name.upper()}" for name in Settings.model_fields)
            raise UsageError(f"There is no setting {variable}.", f"There are {known}.") from error
        raise UsageError(
            f"{variable} is {first['input']!r}: {first['msg'].lower()}.", "Correct it."
        ) from error
    begun.write_text(settings.model_dump_json(), "utf-8")
    return settings
