"""Colours of the product, in light and dark: of panels, charts, pages and reports.

The front end has them from here, see `twinlens.contract.generate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twinlens.contract.words import THEMES, ChartTheme


@dataclass(frozen=True)
class Palette:
    """Colours of one theme.

    Every mark keeps a contrast of 3:1 to the background, and every text one of 4.5:1 to the
    background and to ``shade``.

    Attributes
    ----------
    background, shade, chosen : str
        Behind everything, behind what is apart or under the mouse, and behind a chosen row.
    ink, muted : str
        Text and marks; text and marks that stand back, such as captions and what is not shown.
    rule, marker : str
        Lines of tables and axes; the selected layer of a chart and other pale areas.
    absent, neutral : str
        Behind values that do not exist, such as attention to later tokens; the middle of the
        diverging scale and the zero of the others.
    base, tuned, both : str
        Marks of each model, and of what is about both.
    base_text, tuned_text : str
        The same hues, dark or light enough for words.
    attention, feed_forward : str
        Marks of the parts of a layer.
    holds, holds_text, turns, unknown : str
        Verdicts: marks of a claim that holds and words about it, marks and words of one that
        turns, marks of what cannot be tested.
    groups : tuple of str
        Marks of groups, in order; none is the colour of a model.
    """

    background: str
    shade: str
    chosen: str
    ink: str
    muted: str
    rule: str
    marker: str
    absent: str
    neutral: str
    base: str
    tuned: str
    both: str
    base_text: str
    tuned_text: str
    attention: str
    feed_forward: str
    holds: str
    holds_text: str
    turns: str
    unknown: str
    groups: tuple[str, ...]


#: Each colour in light and in dark.
_COLOURS: dict[str, tuple[Any, Any]] = {
    "background": ("#ffffff", "#15171b"),
    "shade": ("#f1f4f8", "#20252b"),
    "chosen": ("#fff1e4", "#3a2a1c"),
    "ink": ("#16181d", "#eef0f3"),
    "muted": ("#626973", "#9ba2ac"),
    "rule": ("#e2e5e9", "#2d3138"),
    "marker": ("#c9cdd3", "#565c65"),
    "absent": ("#f3f5f7", "#1d2126"),
    "neutral": ("#fafbfc", "#15171b"),
    "base": ("#2f6cb5", "#6fa8ec"),
    "tuned": ("#d2601a", "#f0955a"),
    "both": ("#626973", "#a3a9b2"),
    "base_text": ("#2866b1", "#6fa8ec"),
    "tuned_text": ("#b54f0e", "#f0955a"),
    "attention": ("#7a4fa3", "#bb98e0"),
    "feed_forward": ("#1f8577", "#58bfae"),
    "holds": ("#1f8577", "#58bfae"),
    "holds_text": ("#166b5f", "#58bfae"),
    "turns": ("#9c2c77", "#ec8fc8"),
    "unknown": ("#8a9099", "#767c85"),
    "groups": (
        ("#7a4fa3", "#1f8577", "#a26a00", "#9c2c77", "#4b5563", "#0f6e8c"),
        ("#bb98e0", "#58bfae", "#e0b04c", "#ec8fc8", "#b6bcc5", "#6cc4e0"),
    ),
}

PALETTES: dict[ChartTheme, Palette] = {
    theme: Palette(**{name: both[place] for name, both in _COLOURS.items()})
    for place, theme in enumerate(THEMES)
}
