"""The settings, from environment variables: `MLREG_EARLY_STOPPING_PATIENCE=3 mlreg run …`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlreg import UsageError

PREFIX = "MLREG_EARLY_STOPPING_"

# what a run began with: for when it is resumed, and a file of its version
FILE = Path("kept") / "early_stopping.json"


class Settings(BaseModel):
    """When a run is stopped."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    monitor: str = Field(
        "auto", min_length=1, description="the metric; auto: val_loss, or loss without validation"
    )
    mode: Literal["auto", "min", "max"] = Field(
        "auto", description="whether less or more of it is better; auto: as Keras knows the metric"
    )
    patience: int = Field(
        5, ge=1, le=10_000, description="stop after this many epochs without an improvement"
    )
    min_delta: float = Field(0.0, ge=0, description="a smaller improvement does not count")
    start_from_epoch: int = Field(
        0, ge=0, le=1_000_000, description="epochs of warm-up, before the first is compared"
    )


def read_settings(run_dir: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of a run: those that it began with, or else those of the environment.

    Args:
        run_dir: the run's folder; a new run's settings are written into it, and a resumed run finds
            them there.
        environment: the variables.

    Raises:
        UsageError: a variable is unknown, or its value is not allowed.
    """
    kept = run_dir / FILE
    if kept.is_file():
        return Settings.model_validate_json(kept.read_bytes())
    values = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise _refused(error) from error
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(settings.model_dump_json(indent=2) + "\n", "utf-8")
    return settings


def _refused(error: ValidationError) -> UsageError:
    first = error.errors()[0]
    variable = PREFIX + str(first["loc"][0]).upper()
    known = ", ".join(f"{PREFIX}{name.upper()}" for name in Settings.model_fields)
    if first["type"] == "extra_forbidden":
        return UsageError(f"There is no setting {variable}.", f"There are {known}.")
    return UsageError(f"{variable} is {first['input']!r}: {first['msg'].lower()}.", "Correct it.")
