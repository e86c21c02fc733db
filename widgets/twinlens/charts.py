"""Bokeh charts of a trace, and everything else the page asks for that is no block of a trace.

The page finds the models in a chart by name and fills them as the selection changes:
``ColumnDataSource`` ``shift`` (columns layer, attention, feed_forward, residual), ``lens`` (layer,
base, tuned) and ``marker`` (layer); figures ``shift_figure`` and ``lens_figure``.
Bokeh is imported where it is used: it takes seconds to load.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from twinlens.contract.wire import Json, Value
from twinlens.errors import UnknownBlockError
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

if TYPE_CHECKING:
    from bokeh.models.renderers import GlyphRenderer
    from bokeh.models.sources import ColumnDataSource
    from bokeh.models.ui.ui_element import UIElement
    from bokeh.plotting import figure

ChartTheme: TypeAlias = Literal["light", "dark"]

BOKEH_KEY = "asset/bokehjs"
CHART_KEYS: tuple[str, ...] = ("chart/overview/light", "chart/overview/dark")
#: Charts of single panels, which a page asks for when they are opened.
PANEL_CHART_KEYS: tuple[str, ...] = (
    "chart/heads/light",
    "chart/heads/dark",
    "chart/rotation/light",
    "chart/rotation/dark",
)

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
SHIFT_HEIGHT = 230
LENS_HEIGHT = 210


@dataclass(frozen=True)
class Palette:
    """Colours of one theme; every mark keeps a contrast of 3:1 to the background."""

    ink: str
    quiet: str
    rule: str
    base: str
    tuned: str
    attention: str
    feed_forward: str
    marker: str


PALETTES: dict[ChartTheme, Palette] = {
    "light": Palette(
        ink="#1a1c1f",
        quiet="#636870",
        rule="#e4e6e9",
        base="#2f6cb5",
        tuned="#d2601a",
        attention="#7a4fa3",
        feed_forward="#1f8577",
        marker="#c9cdd3",
    ),
    "dark": Palette(
        ink="#eceef1",
        quiet="#a0a6ae",
        rule="#33373d",
        base="#6fa8ec",
        tuned="#f0955a",
        attention="#bb98e0",
        feed_forward="#58bfae",
        marker="#565c65",
    ),
}


def page_value(trace: Trace, key: str, report: Report | None = None) -> Value:
    """Whatever the page may ask for: a block of the trace, a chart, or BokehJS.

    Raises
    ------
    UnknownBlockError
        If it is none of them.
    """
    if key == BOKEH_KEY:
        return bokeh_script()
    if key.startswith("chart/"):
        known = (*CHART_KEYS, *PANEL_CHART_KEYS)
        if key not in known:
            raise UnknownBlockError(f"there is no chart {key}: known are {', '.join(known)}")
        theme: ChartTheme = "dark" if key.endswith("/dark") else "light"
        if key.startswith("chart/heads/"):
            from twinlens import head_chart

            return head_chart.heads_json(trace, theme, report)
        if key.startswith("chart/rotation/"):
            from twinlens import rotation_chart

            return rotation_chart.rotation_json(trace, theme, report)
        return overview_json(trace, theme, report)
    return trace.block(key, report)


def panel_chart_keys(keys: Collection[str]) -> list[str]:
    """Charts of single panels that can be made from the blocks behind some keys."""
    needed = {"heads": {"heads/circuits", "heads/change"}, "rotation": {"rotation"}}
    return [key for key in PANEL_CHART_KEYS if needed[key.split("/")[1]] <= set(keys)]


def bokeh_script() -> str:
    """BokehJS of the installed Bokeh, so that both halves have one version."""
    from bokeh.util.paths import bokehjs_path

    return (Path(bokehjs_path()) / "js" / "bokeh.min.js").read_text(encoding="utf-8")


def overview(trace: Trace, theme: ChartTheme = "light", report: Report | None = None) -> UIElement:
    """How far the two models are apart, layer by layer, as a Bokeh layout.

    Above, the relative difference of attention outputs, feed-forward outputs and the residual
    stream after each layer, averaged over the positions both models share. Below, the logit lens
    of a selected token, which the page fills and shows.
    """
    from bokeh.layouts import column
    from bokeh.models import ColumnDataSource

    colours = PALETTES[theme]
    marker = ColumnDataSource({"layer": []}, name="marker")
    layers = trace.manifest.pair.layers
    columns: dict[str, Any] = dict(shift_columns(trace, report))
    shift = _shift_figure(ColumnDataSource(columns, name="shift"), colours, marker, layers)
    lens = _lens_figure(colours, marker, layers)
    return column(shift, lens, sizing_mode="stretch_width")


def shift_columns(trace: Trace, report: Report | None = None) -> dict[str, Sequence[float]]:
    """Shift per layer, averaged over the positions both models share; each list has L entries."""
    # One memory order, so that a live trace and its recording give the same digits.
    means = {
        name: np.array(trace.array(f"shift/{name}", report), np.float64, order="C").mean(axis=0)
        for name in ("attention", "feed_forward", "residual")
    }
    means["residual"] = means["residual"][1:]
    layers = [float(layer) for layer in range(trace.manifest.pair.layers)]
    return {"layer": layers, **{name: mean.tolist() for name, mean in means.items()}}


def overview_json(trace: Trace, theme: ChartTheme = "light", report: Report | None = None) -> Json:
    """`overview` as BokehJS embeds it; the same trace gives the same text."""
    from bokeh.embed import json_item

    return numbered(dict(json_item(overview(trace, theme, report))))


def _shift_figure(
    source: ColumnDataSource, colours: Palette, marker: ColumnDataSource, layers: int
) -> figure:
    from bokeh.models import DataRange1d

    fig = layer_figure("shift_figure", SHIFT_HEIGHT, colours, marker, layers)
    fig.y_range = DataRange1d(start=0)
    fig.yaxis.axis_label = "relative difference"
    parts = (
        ("attention", "attention", colours.attention, "circle"),
        ("feed_forward", "feed-forward", colours.feed_forward, "square"),
        ("residual", "residual", colours.ink, "triangle"),
    )
    points = [layer_line(fig, source, *part) for part in parts]
    hover(fig, points[0], [(title, f"@{name}{{0.0000}}") for name, title, *_ in parts])
    legend_above(fig, colours)
    return fig


def _lens_figure(colours: Palette, marker: ColumnDataSource, layers: int) -> figure:
    from bokeh.models import ColumnDataSource

    source = ColumnDataSource({"layer": [], "base": [], "tuned": []}, name="lens")
    # The embedding, where the lens starts, stands at -1.
    fig = layer_figure("lens_figure", LENS_HEIGHT, colours, marker, layers, first=-1)
    fig.yaxis.axis_label = "log-probability, nats"
    fig.visible = False
    points = layer_line(fig, source, "base", "base", colours.base, "circle")
    layer_line(fig, source, "tuned", "tuned", colours.tuned, "square")
    hover(fig, points, [("base", "@base{0.000} nats"), ("tuned", "@tuned{0.000} nats")])
    legend_above(fig, colours)
    return fig


def layer_figure(
    name: str,
    height: int,
    colours: Palette,
    marker: ColumnDataSource,
    layers: int,
    first: int = 0,
) -> figure:
    """An empty figure over the layers, in the dashboard's look; `marker` says which is selected."""
    from bokeh.models import BasicTicker, Range1d, TapTool
    from bokeh.plotting import figure

    fig = figure(
        name=name,
        height=height,
        sizing_mode="stretch_width",
        tools=[TapTool()],
        toolbar_location=None,
        x_range=Range1d(start=first - 0.4, end=layers - 0.6),
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
    )
    fig.vspan(x="layer", source=marker, line_color=colours.marker, line_width=10, line_alpha=0.6)
    fig.xaxis.axis_label = "layer"
    fig.xaxis.ticker = BasicTicker(min_interval=1, desired_num_ticks=min(layers, 12))
    fig.xgrid.grid_line_color = None
    fig.ygrid.grid_line_color = colours.rule
    for axis in (fig.xaxis, fig.yaxis):
        axis.axis_line_color = colours.rule
        axis.major_tick_line_color = None
        axis.minor_tick_line_color = None
        axis.major_label_text_color = colours.quiet
        axis.major_label_text_font = FONT
        axis.major_label_text_font_size = "12px"
        axis.axis_label_text_color = colours.quiet
        axis.axis_label_text_font = FONT
        axis.axis_label_text_font_size = "12px"
        axis.axis_label_text_font_style = "normal"
    return fig


def layer_line(
    fig: figure, source: ColumnDataSource, column: str, title: str, colour: str, shape: str
) -> GlyphRenderer[Any]:
    """A line through one column with a mark at every layer; returns the marks."""
    fig.line("layer", column, source=source, color=colour, line_width=1.75, legend_label=title)
    return fig.scatter(
        "layer",
        column,
        source=source,
        marker=shape,
        size=8,
        color=colour,
        nonselection_color=colour,
        nonselection_alpha=1.0,
        selection_color=colour,
        legend_label=title,
    )


def hover(fig: figure, points: GlyphRenderer[Any], values: list[tuple[str, str]]) -> None:
    """Tell the values of the layer the mouse is at."""
    from bokeh.models import HoverTool

    tooltips = [("layer", "@layer"), *values]
    fig.add_tools(HoverTool(renderers=[points], mode="vline", tooltips=tooltips))


def legend_above(fig: figure, colours: Palette) -> None:
    """Put the legend in one row above the figure."""
    legend = fig.legend[0]
    legend.update(
        orientation="horizontal",
        location="top_left",
        border_line_color=None,
        background_fill_color=None,
        label_text_color=colours.quiet,
        label_text_font=FONT,
        label_text_font_size="12px",
        padding=0,
        margin=0,
        spacing=16,
    )
    fig.add_layout(legend, "above")


def numbered(item: dict[str, Any]) -> dict[str, Any]:
    """Rename Bokeh's identifiers in order of appearance: they count up within a process."""
    names: dict[str, str] = {}

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: names.setdefault(inner, f"p{len(names)}")
                if key == "id" and isinstance(inner, str)
                else renamed(inner)
                for key, inner in value.items()
            }
        return [renamed(inner) for inner in value] if isinstance(value, list | tuple) else value

    document = renamed(item["doc"])
    return {**item, "doc": document, "root_id": names[item["root_id"]], "target_id": None}
