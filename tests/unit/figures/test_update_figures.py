"""Figures of an update show its numbers, in the looks of the panel."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from bokeh.models import ColumnDataSource
from twinlens.contract.palette import PALETTES
from twinlens.errors import ArgumentError
from twinlens.figures.update_figures import dial_figure, energy_figure, kept_figure


def columns(fig: Any, glyph: str) -> list[dict[str, list[Any]]]:
    """Data behind the glyphs of a kind."""
    return [one.data_source.data for one in fig.renderers if type(one.glyph).__name__ == glyph]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_curves_are_drawn_over_the_share_of_directions(theme: Any) -> None:
    rows = [
        {"order": order, "directions": count, "kept": count / 200 + place / 10}
        for place, order in enumerate(("effect", "size", "first order", "random"))
        for count in (0, 2, 20, 200)
    ]
    fig = kept_figure(pd.DataFrame(rows), 0.8, theme)
    drawn = columns(fig, "Line")
    assert [one["share"] for one in drawn] == [[0.01, 0.1, 1.0]] * 4
    assert drawn[1]["kept"] == pytest.approx([0.11, 0.2, 1.1])
    names = [item.label.value for item in fig.legend[0].items]
    assert names == ["by effect", "by size", "by first order", "at random"]
    lines = [one.glyph for one in fig.renderers if type(one.glyph).__name__ == "Line"]
    assert lines[0].line_color == PALETTES[theme].tuned
    assert [line.line_dash for line in lines[:3]] == [[], [], [6]]
    assert 0.8 in [one.location for one in fig.center if hasattr(one, "location")]


def test_the_dial_marks_both_models() -> None:
    fig = dial_figure([{"scale": s / 2, "nats": -9.0 + s} for s in range(5)])
    line, *_ = columns(fig, "Line")
    assert (line["scale"], line["nats"]) == ([0, 0.5, 1, 1.5, 2], [-9, -8, -7, -6, -5])
    assert [item.label.value for item in fig.legend[0].items] == ["base", "tuned"]
    assert not dial_figure([{"scale": 0.5, "nats": -1.0}]).legend


def test_energy_is_drawn_by_layer_and_kind() -> None:
    rows = [
        {"layer": layer, "kind": kind, "share": 0.1 * layer, "reuse": 0.5, "reuse_of_random": 0.02}
        | {"effective_rank": 3.0}
        for kind in ("q_proj", "o_proj")
        for layer in range(3)
    ]
    layout: Any = energy_figure(rows)
    source = layout.select_one({"type": ColumnDataSource, "name": "share o_proj"})
    assert source.data["share"] == pytest.approx([0, 0.1, 0.2])
    reuse = layout.children[1]
    assert 0.02 in [one.location for one in reuse.center if hasattr(one, "location")]
    with pytest.raises(ArgumentError, match="none to draw"):
        energy_figure([])
