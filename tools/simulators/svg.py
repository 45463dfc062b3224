"""Plots as SVG, without a library: curves and bars that a browser or a document shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import accumulate
from typing import Final

WIDTH: Final = 560
HEIGHT: Final = 380
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 40, 50
COLOURS: Final = ("#1b6ca8", "#c1502e", "#3c8d40", "#7d4f9e", "#8a6d00", "#5b5b5b")


def lorenz(samples: Mapping[str, Sequence[int]], title: str) -> str:
    """Lorenz curves: the share of all earnings that the poorest part of the devices has."""
    curves = {}
    for name, values in samples.items():
        sums = [0, *accumulate(sorted(values))]
        total = max(1, sums[-1])
        curves[name] = [(index / (len(sums) - 1), value / total) for index, value in enumerate(sums)]
    return lines({**curves, "equal": [(0.0, 0.0), (1.0, 1.0)]}, title, ("share of devices", "share of earnings"))


def lines(curves: Mapping[str, Sequence[tuple[float, float]]], title: str, axes: tuple[str, str]) -> str:
    """Curves in one frame, which holds all their points; axes start at 0."""
    most_x = max((x for points in curves.values() for x, _ in points), default=1) or 1
    most_y = max((y for points in curves.values() for _, y in points), default=1) or 1
    parts = [_axes(axes, most_x, most_y)]
    for number, (name, points) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{_x(x / most_x):.1f},{_y(y / most_y):.1f}" for x, y in _thin(points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(LEFT + 12, TOP + 16 + 18 * number, name, colour))
    return _frame(parts, title)


def bars(values: Mapping[str, float], title: str) -> str:
    """One bar a name."""
    most = max(values.values(), default=1) or 1
    step = (WIDTH - LEFT - RIGHT) / max(1, len(values))
    parts = [_axes(("", ""), None, most)]
    for number, (name, value) in enumerate(values.items()):
        left, top = LEFT + step * number + step * 0.15, _y(value / most)
        colour = COLOURS[number % len(COLOURS)]
        size = f'width="{step * 0.7:.1f}" height="{HEIGHT - BOTTOM - top:.1f}"'
        parts.append(f'<rect x="{left:.1f}" y="{top:.1f}" {size} fill="{colour}"/>')
        parts.append(_text(left, HEIGHT - BOTTOM + 18, name, "#333"))
        parts.append(_text(left, top - 6, f"{value:g}", "#333"))
    return _frame(parts, title)


def _thin(points: Sequence[tuple[float, float]], most: int = 400) -> Sequence[tuple[float, float]]:
    step = max(1, len(points) // most)
    return [*points[::step], points[-1]] if points else points


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _axes(names: tuple[str, str], most_x: float | None, most_y: float) -> str:
    parts = [
        f'<path d="M{LEFT},{TOP} V{HEIGHT - BOTTOM} H{WIDTH - RIGHT}" fill="none" stroke="#333"/>',
        _text(8, TOP + 4, f"{most_y:g}", "#333"),
        _text(LEFT - 20, HEIGHT - BOTTOM + 4, "0", "#333"),
        _text(LEFT, HEIGHT - 12, names[0], "#333"),
        _text(8, TOP - 12, names[1], "#333"),
    ]
    if most_x is not None:
        parts.append(_text(WIDTH - RIGHT - 30, HEIGHT - BOTTOM + 18, f"{most_x:g}", "#333"))
    return "".join(parts)


def _text(x: float, y: float, text: str, colour: str) -> str:
    style = f'fill="{colour}" font-family="sans-serif" font-size="13"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _frame(parts: Sequence[str], title: str) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    name = f"<title>{escape(title)}</title>"
    shown = _text(LEFT, 20, title, "#000")
    return f'{head}{name}<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>{shown}{"".join(parts)}</svg>\n'
