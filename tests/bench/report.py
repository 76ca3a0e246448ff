"""Prints figures as a Markdown table, ready for the README. Called by every benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a heading and a table; the first column is text, the others are figures."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(head))]
    lines = ["| " + " | ".join(_fit(row, widths)) + " |" for row in cells]
    rule = "| " + " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]) + " |"
    print(f"\n### {title}\n", lines[0], rule, *lines[1:], sep="\n", flush=True)


def seconds(value: float) -> str:
    """`0.012` -> `12.0 ms`, `32.1` -> `32.1 s`."""
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def megabytes(value: float) -> str:
    """Bytes as millions."""
    return f"{value / 1e6:,.0f} MB"


def times(value: float) -> str:
    """A ratio."""
    return f"{value:.2f} x" if value < 10 else f"{value:.0f} x"


def _fit(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))]
