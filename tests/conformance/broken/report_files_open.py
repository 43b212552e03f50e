"""Breaks the rule report-files-open."""

from sound_plugin import *


@hookimpl
def mlreg_report(out_dir):
    figure = out_dir / "loss.png"
    figure.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return [figure]
