"""A plain bar chart as SVG: one bar per server, with the spread of its runs; light and dark by the reader's choice."""

from __future__ import annotations

from html import escape
from typing import Final

from .question import Spread

__all__ = ["bars"]

_WIDTH: Final = 760
_LEFT: Final = 190
_RIGHT: Final = 150
_ROW: Final = 26
_STYLE: Final = (
    "<style>text{font:13px system-ui,sans-serif;fill:#24292f}.bar{fill:#8aa4af}.own{fill:#0b7285}.line{stroke:#24292f}"
    "@media(prefers-color-scheme:dark){text{fill:#d7dde2}.bar{fill:#546a75}.own{fill:#3bc9db}.line{stroke:#d7dde2}}</style>"
)


def bars(title: str, unit: str, rows: list[tuple[str, Spread]], own: str) -> str:
    """The chart.

    Args:
        title: what is measured, for who cannot see it.
        unit: behind each figure.
        rows: servers and their figures, in the order in which they are drawn.
        own: whose bar stands out.
    """
    most = max((spread.most for _, spread in rows), default=0.0) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {_WIDTH} {_ROW * len(rows) + 8}">',
        f"<title>{escape(title)}</title>",
        _STYLE,
    ]
    for number, (name, spread) in enumerate(rows):
        top = _ROW * number + 4
        middle = top + 9
        kind = "own" if name == own else "bar"
        end = _LEFT + spread.most * scale
        parts += [
            f'<text x="{_LEFT - 8}" y="{middle + 5}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{_LEFT}" y="{top}" width="{max(spread.median * scale, 1):.1f}" height="18"/>',
            f'<path class="line" d="M{_LEFT + spread.least * scale:.1f} {middle}H{end:.1f}"/>',
            f'<text x="{end + 8:.1f}" y="{middle + 5}">{escape(f"{spread.median:,.4g} {unit}")}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
