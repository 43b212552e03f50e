"""Draws a view on the last lines of a terminal again and again, without flicker.

A terminal that became narrower has wrapped the lines of the last frame; Rich counts those that it
drew. Knows nothing of what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult
from rich.control import Control
from rich.live import Live
from rich.live_render import LiveRender
from rich.segment import ControlType, Segment
from rich.text import Text

# Erase from the cursor to the end of the line, and to the end of the screen.
_ERASE_REST = Segment("\x1b[K", None, [(ControlType.ERASE_IN_LINE, 0)])
_ERASE_BELOW = Segment("\x1b[J", None, [(ControlType.ERASE_IN_LINE, 0)])


def redrawn(view: ConsoleRenderable, console: Console) -> OverwritingLive:
    """What draws a view four times a second once it is started, and removes it when it stops."""
    live = OverwritingLive(
        console=console,
        refresh_per_second=4,
        transient=True,
        get_renderable=lambda: view,
    )
    live._live_render = RewrappedRender(view, console)
    return live


class OverwritingLive(Live):
    """Draws each frame over the last one, so that no line is blank in between.

    Only where a message takes the place of the view is the view erased first.
    """

    def print_above(self, text: Text) -> None:
        """Print above the view, wrapped between words, from any thread.

        No frame is drawn in between: it would take this text's place.
        """
        with self._lock:
            self.console.print(text, soft_wrap=False, overflow="fold")

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        if isinstance(self._live_render, RewrappedRender):
            self._live_render.erases = not all(isinstance(each, Control) for each in renderables)
        return super().process_renderables(renderables)


class RewrappedRender(LiveRender):
    """Draws over the last frame, also after the terminal became narrower and wrapped its lines.

    Args:
        view: the view to draw.
        console: the terminal.
    """

    def __init__(self, view: ConsoleRenderable, console: Console) -> None:
        super().__init__(view, vertical_overflow="crop")
        self._console = console
        self._line_widths: Sequence[int] = ()
        self.erases = True

    def position_cursor(self) -> Control:
        self._count_wrapped_rows()
        if self.erases or self._shape is None:
            return super().position_cursor()
        up = [(ControlType.CURSOR_UP, self._shape[1] - 1)] if self._shape[1] > 1 else []
        return Control(ControlType.CARRIAGE_RETURN, *up)

    def restore_cursor(self) -> Control:
        self._count_wrapped_rows()
        return super().restore_cursor()

    def _count_wrapped_rows(self) -> None:
        if self._shape is not None:
            width = max(self._console.width, 1)
            rows = sum(max(1, -(-cells // width)) for cells in self._line_widths)
            self._shape = width, max(rows, 1)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        before = 0 if self._shape is None or self.erases else self._shape[1]
        lines = console.render_lines(self.renderable, options, pad=False)[: options.size.height]
        self._line_widths = [Segment.get_line_length(line) for line in lines]
        self._shape = Segment.get_shape(lines)
        for place, (line, width) in enumerate(zip(lines, self._line_widths, strict=True)):
            if place:
                yield Segment.line()
            if place + 1 == len(lines) < before:
                yield _ERASE_BELOW
            yield from line
            if width < options.max_width:  # at the edge it would erase the last character
                yield _ERASE_REST
