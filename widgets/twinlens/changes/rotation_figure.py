"""Bokeh figure of how far tuning turned the feed-forward concepts.

Bokeh is imported where it is used: it takes seconds to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinlens.changes.rotation import Rotation
from twinlens.charts import PALETTES

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource
    from bokeh.models.ui.ui_element import UIElement
    from bokeh.plotting import figure

_CAPTION = (
    "Mean of the {k} principal angles between the {k} leading components of base and of tuned; "
    "share of base's variance that these of either model hold; norm of the weight difference "
    "divided by that of base. Grey: random rotations of base's components, mean and range over "
    "the draws. Angles can be large without much change where neighbouring components explain "
    "about equally much; the share of variance is not misled by that."
)


def rotation_figure(rotation: Rotation, k: int | None = None) -> UIElement:
    """Bokeh layout by layer: mean principal angle, share of variance, relative difference.

    Parameters
    ----------
    rotation : Rotation
    k : int, optional
        Number of leading components. By default K, but at most a quarter of the rank: subspaces
        that nearly fill the space agree whatever they are.

    Raises
    ------
    HeadIndexError
        If k is not between 1 and K.
    """
    from bokeh.layouts import column
    from bokeh.models import ColumnDataSource
    from bokeh.models.widgets import Div

    if k is None:
        k = max(1, min(rotation.components, rotation.parameters["rank"] // 4))
    rows, null = rotation.rows([k]), rotation.null_means(k)
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    inside = [layer.null_inside[:, k - 1] for layer in rotation.layers]
    columns |= {
        "angle_low": [null.min()] * len(rows),
        "angle_high": [null.max()] * len(rows),
        "inside_low": [draws.min() for draws in inside],
        "inside_high": [draws.max() for draws in inside],
    }
    source = ColumnDataSource(columns)
    grey, ink = PALETTES["light"].quiet, PALETTES["light"].ink
    base, tuned = PALETTES["light"].base, PALETTES["light"].tuned
    angle = _panel("mean angle, degrees", "mean", 90, source)
    _band(angle, "angle_low", "angle_high", source)
    _line(angle, "null_mean", "random rotation", grey, source)
    _line(angle, "mean", "base to tuned", ink, source)
    share = _panel("share of variance", "inside", 1, source)
    _band(share, "inside_low", "inside_high", source)
    _line(share, "null_inside", "random rotation", grey, source)
    _line(share, "own", "of base", base, source)
    _line(share, "inside", "of tuned", tuned, source)
    norm = _panel("norm of difference", "difference", None, source)
    _line(norm, "difference", "base to tuned", ink, source)
    figures = [angle, share, norm]
    for fig in figures:
        fig.legend[0].update(orientation="horizontal", border_line_color=None, padding=0)
        fig.add_layout(fig.legend[0], "above")
    return column(*figures, Div(text=_CAPTION.format(k=k)), sizing_mode="stretch_width")


def _panel(title: str, measured: str, end: float | None, source: ColumnDataSource) -> figure:
    """An empty figure; the mouse finds the values of the column `measured`."""
    from bokeh.models import BasicTicker, DataRange1d, HoverTool, Range1d
    from bokeh.plotting import figure

    fig = figure(
        height=240,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="",
        x_axis_label="layer",
        y_axis_label=title,
        y_range=DataRange1d(start=0) if end is None else Range1d(start=0, end=end),
    )
    fig.xaxis.ticker = BasicTicker(min_interval=1)
    fig.xgrid.grid_line_color = None
    names = ("mean", "null_mean", "inside", "own", "null_inside", "difference")
    tooltips = [("layer", "@layer"), *((name, f"@{name}{{0.0000}}") for name in names)]
    points = fig.scatter("layer", measured, source=source, size=10, alpha=0)
    fig.add_tools(HoverTool(renderers=[points], mode="vline", tooltips=tooltips))
    return fig


def _line(fig: figure, column: str, title: str, colour: str, source: ColumnDataSource) -> None:
    options: dict[str, Any] = {"source": source, "color": colour, "legend_label": title}
    fig.line("layer", column, line_width=1.75, **options)
    fig.scatter("layer", column, size=6, **options)


def _band(fig: figure, low: str, high: str, source: ColumnDataSource) -> None:
    colour = PALETTES["light"].marker
    fig.varea(x="layer", y1=low, y2=high, source=source, color=colour, alpha=0.6)
