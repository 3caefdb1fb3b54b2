"""A plain bar chart as SVG: one bar per server, with the spread of its runs.

It brings its own ground, so that it can be read on a page of any colour; dark where the reader's system is.
"""

from __future__ import annotations

from html import escape
from typing import Final

from .question import Spread

__all__ = ["bars", "short"]

_WIDTH: Final = 760
_LEFT: Final = 200
_RIGHT: Final = 170
_ROW: Final = 26
_EDGE: Final = 12
_STYLE: Final = (
    "<style>.ground{fill:#fbfcfd;stroke:#d5dde2}text{font:13px system-ui,sans-serif;fill:#24292f}.bar{fill:#8aa4af}"
    ".own{fill:#0b7285}.line{stroke:#24292f;stroke-width:1.5}"
    "@media(prefers-color-scheme:dark){.ground{fill:#1b2126;stroke:#39444b}text{fill:#d7dde2}.bar{fill:#5d7581}"
    ".own{fill:#22b8cf}.line{stroke:#f1f4f6}}</style>"
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
    height = _ROW * len(rows) + 2 * _EDGE - 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}">',
        f"<title>{escape(title)}</title>",
        _STYLE,
        f'<rect class="ground" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="6"/>',
    ]
    for number, (name, spread) in enumerate(rows):
        top = _ROW * number + _EDGE
        middle = top + 9
        kind = "own" if name == own else "bar"
        end = _LEFT + spread.most * scale
        parts += [
            f'<text x="{_LEFT - 8}" y="{middle + 5}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{_LEFT}" y="{top}" width="{max(spread.median * scale, 1):.1f}" height="18"/>',
            f'<path class="line" d="M{_LEFT + spread.least * scale:.1f} {middle}H{end:.1f}"/>',
            f'<text x="{end + 8:.1f}" y="{middle + 5}">{escape(f"{short(spread.median)} {unit}")}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def short(figure: float) -> str:
    """Three digits and what they count: 0.124, 8.36, 9,120, 97.2 k, 7.96 M."""
    for above, letter in ((1e6, "M"), (1e4, "k")):
        if abs(figure) >= above * 0.9995:
            return f"{figure / (1e6 if letter == 'M' else 1e3):.3g} {letter}"
    return f"{figure:,.0f}" if abs(figure) >= 999.5 else f"{figure:.3g}"
