"""Bokeh figures of a study: cases, effect sizes, robustness, profiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twinlens.charts import FONT, PALETTES
from twinlens.studies.comparisons import Question, Verdict
from twinlens.studies.profiles import ProfilePoint, Profiles
from twinlens.studies.robustness import Outcome
from twinlens.studies.scoring import Score

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource
    from bokeh.models.ui.ui_element import UIElement
    from bokeh.plotting import figure

COLOURS = PALETTES["light"]
#: Colour, marker and words of each verdict; shape says it without colour.
VERDICTS: dict[Verdict, tuple[str, str, str]] = {
    "holds": ("#1f8577", "circle", "holds: second higher, p < 0.05"),
    "vanishes": ("#767c85", "diamond", "vanishes: p at least 0.05"),
    "turns": ("#9c2c77", "inverted_triangle", "turns: second lower, p < 0.05"),
    "unknown": ("#c9cdd3", "x", "cannot be tested"),
}
GROUP_MARKERS = ("circle", "triangle", "square", "diamond", "plus", "x", "star", "hex")
_GROUP_COLOURS = ("#7a4fa3", "#1f8577", "#a26a00", "#9c2c77", "#4b5563", "#0f6e8c")


def case_figures(base: Sequence[Score], tuned: Sequence[Score]) -> UIElement:
    """Two scatters of the cases that share one selection.

    Left: score of tuned against base. Right: their difference against the ratio of answer
    lengths. The source is named ``cases``; its rows are the prompts in order.
    """
    from bokeh.layouts import row
    from bokeh.models import BoxSelectTool, ColumnDataSource, LassoSelectTool, TapTool
    from bokeh.models.annotations import Slope, Span

    source = ColumnDataSource(
        {
            "base": [score.score for score in base],
            "tuned": [score.score for score in tuned],
            "difference": [b.score - a.score for a, b in zip(base, tuned, strict=True)],
            "ratio": [
                math.log2(max(b.answer_length, 1) / max(a.answer_length, 1))
                for a, b in zip(base, tuned, strict=True)
            ],
            "group": [score.group for score in tuned],
            "id": [score.id for score in tuned],
        },
        name="cases",
    )
    groups = list(dict.fromkeys(score.group for score in tuned))
    tools: list[Any] = [TapTool(), BoxSelectTool(), LassoSelectTool()]
    left = _figure("base_tuned", "score of base", "score of tuned", 460, 360, tools)
    left.add_layout(Slope(gradient=1, y_intercept=0, line_color=COLOURS.quiet, line_width=1))
    _points(left, source, "base", "tuned", groups)
    _legend_above(left)
    tools = [TapTool(), BoxSelectTool(), LassoSelectTool()]
    right = _figure(
        "length_difference",
        "log2 of answer length, tuned / base",
        "tuned − base",
        460,
        360,
        tools,
    )
    right.add_layout(Span(location=0, dimension="width", line_color=COLOURS.quiet))
    _points(right, source, "ratio", "difference", groups)
    _legend_above(right)
    return row(left, right)


def _points(fig: figure, source: ColumnDataSource, x: str, y: str, groups: Sequence[str]) -> None:
    from bokeh.models import CDSView, GroupFilter, HoverTool

    for i, group in enumerate(groups):
        points = fig.scatter(
            x,
            y,
            source=source,
            view=CDSView(filter=GroupFilter(column_name="group", group=group)),
            marker=GROUP_MARKERS[i % len(GROUP_MARKERS)],
            color=_GROUP_COLOURS[i % len(_GROUP_COLOURS)],
            size=7,
            fill_alpha=0.55,
            nonselection_fill_alpha=0.12,
            nonselection_line_alpha=0.2,
            legend_label=group,
        )
        tooltips = [("case", "@id"), ("base", "@base{0.0000}"), ("tuned", "@tuned{0.0000}")]
        fig.add_tools(HoverTool(renderers=[points], tooltips=tooltips, visible=False))


def _legend_above(fig: Any) -> None:
    """Put the legend out of the way of marks and of the mouse."""
    legend = fig.legend[0]
    legend.update(
        orientation="horizontal",
        label_text_font=FONT,
        label_text_font_size="12px",
        label_text_color=COLOURS.quiet,
        border_line_color=None,
        background_fill_color=None,
        padding=0,
        margin=0,
        spacing=14,
    )
    fig.add_layout(legend, "above")


def robustness_figure(outcomes: Sequence[Outcome], question: Question) -> UIElement:
    """Effect size and interval under each named variant, one column per group.

    What can be seen at a glance: where a conclusion holds, turns or vanishes.
    """
    from bokeh.layouts import row
    from bokeh.models import ColumnDataSource, FactorRange, HoverTool, Range1d
    from bokeh.models.annotations import Span

    shown = [o for o in outcomes if o.question == question and o.variant != "combination"]
    variants = list(dict.fromkeys(outcome.variant for outcome in shown))
    groups = list(dict.fromkeys(outcome.group for outcome in shown))
    labels = FactorRange(factors=variants[::-1])
    height = 24 * len(variants) + 78
    # One scale for all groups; intervals of tiny groups may run out of the picture.
    reach = 1.7 * max((abs(o.effect) for o in shown if math.isfinite(o.effect)), default=1.0)
    scale = Range1d(start=-reach, end=reach)
    figures = []
    for place, group in enumerate(groups):
        first = place == 0
        width = 480 if first else 205
        fig = _figure(f"robustness_{place}", "effect size", "", width, height, [], labels)
        fig.x_range = scale
        fig.xaxis.ticker.desired_num_ticks = 4
        fig.title.text = group
        fig.ygrid.grid_line_color = COLOURS.rule
        if not first:
            fig.yaxis.visible = False
        fig.add_layout(Span(location=0, dimension="height", line_color=COLOURS.ink))
        for verdict, (colour, marker, words) in VERDICTS.items():
            mine = [o for o in shown if o.group == group and o.verdict == verdict]
            if not mine:
                continue
            source = ColumnDataSource(
                {
                    "variant": [o.variant for o in mine],
                    "effect": [o.effect for o in mine],
                    "low": [o.effect_low for o in mine],
                    "high": [o.effect_high for o in mine],
                    "p": [o.p for o in mine],
                    "difference": [o.difference for o in mine],
                    "words": [words] * len(mine),
                }
            )
            fig.hbar(
                y="variant", left="low", right="high", height=0.12, source=source, color=colour
            )
            points = fig.scatter(
                "effect", "variant", source=source, marker=marker, color=colour, size=10
            )
            tooltips = [
                ("", "@variant: @words"),
                ("effect size", "@effect{0.000} (@low{0.000} to @high{0.000})"),
                ("difference of means", "@difference{0.0000}"),
                ("p, two-sided", "@p{0.0000}"),
            ]
            fig.add_tools(HoverTool(renderers=[points], tooltips=tooltips))
        figures.append(fig)
    return row(*figures)


def profile_figures(points: Sequence[ProfilePoint]) -> UIElement:
    """Density by position in the prompt, and share of driven answer tokens, both models."""
    from bokeh.layouts import row

    figures = [
        _profile(points, Profiles.POSITION, "tenth of the prompt", "mean density"),
        _profile(points, Profiles.LONG, "tenth of the prompt (60 tokens or more)", "mean density"),
        _profile(points, Profiles.ANSWER, "tenth of the answer", "share driven by instruction"),
    ]
    return row(*[fig for fig in figures if fig is not None])


def _profile(points: Sequence[ProfilePoint], profile: str, x_label: str, y_label: str) -> Any:
    from bokeh.models import ColumnDataSource, HoverTool

    mine = [point for point in points if point.profile == profile]
    if not mine:
        return None
    fig = _figure("profile", x_label, y_label, 320, 270, [])
    fig.y_range.start = 0
    for side, colour, marker in (
        ("base", COLOURS.base, "circle"),
        ("tuned", COLOURS.tuned, "square"),
    ):
        curve = [point for point in mine if point.side == side]
        if not curve:
            continue
        source = ColumnDataSource(
            {
                "part": [point.part for point in curve],
                "mean": [point.mean for point in curve],
                "low": [point.mean - point.standard_error for point in curve],
                "high": [point.mean + point.standard_error for point in curve],
                "n": [point.n for point in curve],
            }
        )
        fig.varea(x="part", y1="low", y2="high", source=source, color=colour, alpha=0.18)
        fig.line("part", "mean", source=source, color=colour, line_width=1.75)
        marks = fig.scatter(
            "part",
            "mean",
            source=source,
            marker=marker,
            size=7,
            color=colour,
            legend_label=f"{side} ({curve[0].n} prompts)",
        )
        tooltips = [
            (f"{side}, part @part", "@mean{0.000}"),
            ("± standard error", "@low{0.000} to @high{0.000}"),
        ]
        fig.add_tools(HoverTool(renderers=[marks], tooltips=tooltips))
    _legend_above(fig)
    return fig


def _figure(
    name: str,
    x_label: str,
    y_label: str,
    width: int,
    height: int,
    tools: list[Any],
    y_range: Any = None,
) -> Any:
    from bokeh.models import ResetTool, SaveTool
    from bokeh.plotting import figure

    fig: Any = figure(
        **({} if y_range is None else {"y_range": y_range}),
        name=name,
        width=width,
        height=height,
        tools=[*tools, ResetTool(), SaveTool()],
        toolbar_location="above" if tools else None,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
    )
    fig.toolbar.logo = None
    if tools:
        fig.toolbar.active_drag = tools[1]
    fig.title.text_font, fig.title.text_font_size = FONT, "13px"
    fig.title.text_color = COLOURS.ink
    fig.xaxis.axis_label, fig.yaxis.axis_label = x_label, y_label
    fig.grid.grid_line_color = COLOURS.rule
    for axis in (fig.xaxis, fig.yaxis):
        axis.update(
            axis_line_color=COLOURS.rule,
            major_tick_line_color=None,
            minor_tick_line_color=None,
            major_label_text_color=COLOURS.ink,
            major_label_text_font=FONT,
            major_label_text_font_size="12px",
            axis_label_text_color=COLOURS.quiet,
            axis_label_text_font=FONT,
            axis_label_text_font_size="12px",
            axis_label_text_font_style="normal",
        )
    return fig
