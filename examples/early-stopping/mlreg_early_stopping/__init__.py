"""Stop a run that no longer improves, and keep its best weights."""

from mlreg import hookimpl


@hookimpl
def mlreg_callbacks(run_dir):
    """Stop a run that no longer improves, and keep its best weights."""
    from mlreg_early_stopping.settings import read_settings

    settings = read_settings(run_dir)

    from mlreg_early_stopping.callback import EarlyStopping  # Keras loads here

    return [EarlyStopping(settings)]
