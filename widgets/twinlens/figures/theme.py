"""How every figure looks: its type, axes, lines and legend; and the form BokehJS embeds it in."""

from __future__ import annotations

from typing import Any

from bokeh.models import BasicTicker, ColumnDataSource, HoverTool, Range1d, TapTool
from bokeh.models.annotations import Title
from bokeh.models.renderers import GlyphRenderer
from bokeh.plotting import figure

from twinlens.contract.palette import Palette

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def empty_figure(
    colours: Palette,
    height: int,
    *,
    fill: str | None = None,
    size: int = 12,
    labels: str | None = None,
    **settings: Any,
) -> figure:
    """A figure with nothing in it, as wide as its place, with quiet axes and grid.

    Texts have `size` pixels, those at the ticks the colour `labels`; `settings` are those of
    Bokeh's figures.
    """
    looks: dict[str, Any] = {"sizing_mode": "stretch_width", "tools": [], "toolbar_location": None}
    looks |= dict.fromkeys(("background_fill_color", "border_fill_color"), fill)
    fig = figure(height=height, outline_line_color=None, **looks | settings)
    for axis in (fig.xaxis, fig.yaxis):
        axis.update(
            axis_line_color=colours.rule,
            major_tick_line_color=None,
            minor_tick_line_color=None,
            major_label_text_color=labels or colours.muted,
            major_label_text_font=FONT,
            major_label_text_font_size=f"{size}px",
            axis_label_text_color=colours.muted,
            axis_label_text_font=FONT,
            axis_label_text_font_size=f"{size}px",
            axis_label_text_font_style="normal",
        )
    fig.grid.grid_line_color = colours.rule
    return fig


def small_title(text: str, colours: Palette) -> Title:
    """A line of text at a figure that stands back."""
    return Title(
        text=text,
        text_color=colours.muted,
        text_font=FONT,
        text_font_size="12px",
        text_font_style="normal",
    )


def layer_figure(
    name: str, height: int, colours: Palette, marker: ColumnDataSource, layers: int
) -> figure:
    """An empty figure over the layers, in the dashboard's look; `marker` says which is selected."""
    x_range = Range1d(start=-0.4, end=layers - 0.6)
    fig = empty_figure(colours, height, name=name, tools=[TapTool()], x_range=x_range)
    fig.vspan(x="layer", source=marker, line_color=colours.marker, line_width=10, line_alpha=0.6)
    fig.xaxis.axis_label = "layer"
    fig.xaxis.ticker = BasicTicker(min_interval=1, desired_num_ticks=min(layers, 12))
    fig.xgrid.grid_line_color = None
    return fig


def layer_line(
    fig: figure,
    source: ColumnDataSource,
    column: str,
    title: str,
    colour: str,
    shape: str,
    dash: str = "solid",
) -> GlyphRenderer[Any]:
    """A line through one column with a mark at every layer; returns the marks."""
    fig.line(
        "layer",
        column,
        source=source,
        color=colour,
        line_width=1.75,
        line_dash=dash,
        legend_label=title,
    )
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


def hover(
    fig: figure, points: GlyphRenderer[Any], tooltips: list[tuple[str, str]], **settings: Any
) -> None:
    """Tell values of the mark the mouse is at; `settings` are those of Bokeh's tool."""
    fig.add_tools(HoverTool(renderers=[points], tooltips=tooltips, **settings))


def layer_hover(fig: figure, points: GlyphRenderer[Any], values: list[tuple[str, str]]) -> None:
    """Tell the values of the layer the mouse is at."""
    hover(fig, points, [("layer", "@layer"), *values], mode="vline")


def legend_above(fig: figure, colours: Palette) -> None:
    """Put the legend in one row above the figure."""
    legend = fig.legend[0]
    legend.update(
        orientation="horizontal",
        location="top_left",
        border_line_color=None,
        background_fill_color=None,
        label_text_color=colours.muted,
        label_text_font=FONT,
        label_text_font_size="12px",
        padding=0,
        margin=0,
        spacing=16,
    )
    fig.add_layout(legend, "above")


def numbered(document: Any) -> dict[str, Any]:
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

    return dict(renamed(document))
