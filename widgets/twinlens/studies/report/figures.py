"""Bokeh figures of a study: cases, robustness, profiles. Each stands alone and takes any width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from bokeh.core.properties import value
from bokeh.models import (
    BasicTicker,
    BoxSelectTool,
    CDSView,
    ColumnDataSource,
    GroupFilter,
    LassoSelectTool,
    Range1d,
    ResetTool,
    TapTool,
)
from bokeh.models.annotations import Slope, Span
from bokeh.plotting import figure

from twinlens.contract.palette import PALETTES
from twinlens.contract.words import ChartTheme
from twinlens.figures.theme import FONT, empty_figure, hover
from twinlens.studies.analysis.comparisons import Comparison, Question, Verdict
from twinlens.studies.analysis.exact import READ, ExactComparison
from twinlens.studies.analysis.inference import Estimate
from twinlens.studies.analysis.profiles import ANSWER, LONG, POSITION, Profile
from twinlens.studies.analysis.scoring import Score
from twinlens.studies.analysis.study_finding import widest
from twinlens.studies.analysis.variants import VariantOutcome

#: Marker and words of each verdict; shape says it without colour.
VERDICTS: dict[Verdict, tuple[str, str]] = {
    "holds": ("circle", "second higher"),
    "no difference shown": ("diamond", "no difference shown"),
    "turns": ("inverted_triangle", "second lower"),
    "too few": ("x", "too few"),
    "confounded": ("square", "confounded"),
}
GROUP_MARKERS = ("circle", "triangle", "square", "diamond", "plus", "x", "star", "hex")
ROW_HEIGHT = 44
#: Name of the figure of what hiding segments costs.
EXACT = "exact"
#: The same of the instruction alone, on the first screen.
FIRST_EXACT = "first-exact"
#: In pixels, of 13 px letters and a mark for each entry.
LEGEND_WIDTH = 330
#: Names of the profile figures.
PROFILES = {
    "profile-prompt": POSITION,
    "profile-long": LONG,
    "profile-answer": ANSWER,
}


def case_figures(
    base: Sequence[Score], tuned: Sequence[Score], theme: ChartTheme = "light"
) -> dict[str, figure]:
    """Two scatters of the cases that share one selection.

    ``scores``: score of tuned against base. ``lengths``: their difference against the ratio of
    answer lengths. The source is named ``cases``; its rows are the prompts in order.
    """
    source = ColumnDataSource(
        {
            "base": [_shown(score) for score in base],
            "tuned": [_shown(score) for score in tuned],
            "difference": [_shown(b) - _shown(a) for a, b in zip(base, tuned, strict=True)],
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
    rule = PALETTES[theme].muted

    def tools() -> list[Any]:
        return [TapTool(), BoxSelectTool(), LassoSelectTool()]

    left = blank("scores", "score of base", "score of tuned", 380, theme, tools())
    left.add_layout(Slope(gradient=1, y_intercept=0, line_color=rule, line_width=1))
    _points(left, source, "base", "tuned", groups, theme)
    right = blank(
        "lengths", "log2 of answer length, tuned / base", "tuned − base", 380, theme, tools()
    )
    right.add_layout(Span(location=0, dimension="width", line_color=rule))
    _points(right, source, "ratio", "difference", groups, theme)
    return {"scores": left, "lengths": right}


def _shown(score: Score) -> float:
    """The score of a case; none without an instruction."""
    return score.score if score.instruction_length else math.nan


def _points(
    fig: figure,
    source: ColumnDataSource,
    x: str,
    y: str,
    groups: Sequence[str],
    theme: ChartTheme,
) -> None:
    colours = PALETTES[theme].groups
    for i, group in enumerate(groups):
        points = fig.scatter(
            x,
            y,
            source=source,
            view=CDSView(filter=GroupFilter(column_name="group", group=group)),
            marker=GROUP_MARKERS[i % len(GROUP_MARKERS)],
            color=colours[i % len(colours)],
            size=8,
            fill_alpha=0.55,
            nonselection_fill_alpha=0.12,
            nonselection_line_alpha=0.2,
            legend_label=group,
        )
        tooltips = [("case", "@id"), ("base", "@base{0.0000}"), ("tuned", "@tuned{0.0000}")]
        hover(fig, points, tooltips, visible=False)
    legend_in_lines(fig, theme)


def robustness_figure(
    outcomes: Sequence[VariantOutcome], question: Question, group: str, theme: ChartTheme = "light"
) -> figure:
    """Typical difference and interval of one group under each named variant, as published first.

    In units of the standard deviation, as variants differ in scale.

    The words stand above their mark, so that the figure reads at any width. The source is named
    ``variants``; its rows are the named variants in order.
    """
    shown = [
        o
        for o in outcomes
        if (o.question, o.group) == (question, group) and o.variant != "combination"
    ]
    height = ROW_HEIGHT * len(shown) + 96
    fig: Any = blank(
        robustness_name(question), "typical difference, in sd", "", height, theme, [TapTool()]
    )
    columns: dict[str, list[Any]] = {
        "variant": [o.variant for o in shown],
        "typical": [o.typical for o in shown],
        "low": [o.low for o in shown],
        "high": [o.high for o in shown],
        "p": [o.p for o in shown],
        "difference": [o.difference for o in shown],
        "words": [VERDICTS[o.verdict][1] for o in shown],
    }
    tooltips = [
        ("", "@variant: @words"),
        ("typical difference, in sd", "@typical{0.000} (@low{0.000} to @high{0.000})"),
        ("difference of means", "@difference{0.0000}"),
        ("p, two-sided", "@p{0.0000}"),
    ]
    verdicts = [o.verdict for o in shown]
    _intervals(fig, columns, ("variant", "typical"), verdicts, tooltips, theme, name="variants")
    return cast("figure", fig)


def first_name(question: Question) -> str:
    """Name of the figure of a question on the first screen."""
    return "first-" + question.replace(" ", "-")


def first_figures(
    comparisons: Sequence[Comparison], exact: Sequence[ExactComparison], theme: ChartTheme = "light"
) -> dict[str, figure]:
    """One picture for each question: what every group shows at equal answer length."""
    figures: dict[str, figure] = {}
    for question in dict.fromkeys(item.question for item in comparisons):
        rows = [
            (item.group, item.length.estimate, item.verdict)
            for item in comparisons
            if item.question == question and item.level != "category"
        ]
        label = "score, " + ("tuned − base" if "base" in question else "followed − unfollowed")
        figures[first_name(question)] = forest(first_name(question), label, rows, theme)
    rows = [
        (READ[row.answer], row.equal_length, row.verdict)
        for row in widest(exact)
        if row.segment == "instruction"
    ]
    if rows:
        figures[FIRST_EXACT] = forest(
            FIRST_EXACT, "nats per answer token, tuned − base", rows, theme
        )
    return figures


def exact_figure(rows: Sequence[ExactComparison], theme: ChartTheme = "light") -> figure:
    """Tuned less base of each segment and answer over all prompts, with its interval."""
    return forest(
        EXACT,
        "tuned − base, nats per answer token",
        [
            (f"{row.segment} hidden, {READ[row.answer]}", row.estimate, row.verdict)
            for row in widest(rows)
        ],
        theme,
    )


def forest(
    name: str,
    x_label: str,
    rows: Sequence[tuple[str, Estimate, Verdict]],
    theme: ChartTheme = "light",
) -> figure:
    """Differences with their intervals, one below the other; words stand above their mark."""
    fig: Any = blank(name, x_label, "", ROW_HEIGHT * len(rows) + 72, theme)
    estimates = [estimate for _, estimate, _ in rows]
    verdicts = [verdict for _, _, verdict in rows]
    columns: dict[str, list[Any]] = {
        "what": [
            what if math.isfinite(estimate.low) else f"{what}: {verdict}"
            for what, estimate, verdict in rows
        ],
        "difference": [estimate.difference for estimate in estimates],
        "low": [estimate.low for estimate in estimates],
        "high": [estimate.high for estimate in estimates],
        "p": [estimate.p for estimate in estimates],
        "verdict": verdicts,
    }
    tooltips = [
        ("", "@what: @verdict"),
        ("difference", "@difference{0.000} (@low{0.000} to @high{0.000})"),
        ("p, two-sided", "@p{0.0000}"),
    ]
    _intervals(fig, columns, ("what", "difference"), verdicts, tooltips, theme)
    return cast("figure", fig)


def _intervals(
    fig: Any,
    columns: dict[str, list[Any]],
    drawn: tuple[str, str],
    verdicts: Sequence[Verdict],
    tooltips: list[tuple[str, str]],
    theme: ChartTheme,
    name: str | None = None,
) -> None:
    """Rows of a text above a mark with its interval, in the colour of its verdict.

    `drawn` names the columns of text and mark; the interval is that of ``low`` and ``high``.
    """
    text, mark = drawn
    count = len(verdicts)
    ends = [abs(end) for column in (mark, "low", "high") for end in columns[column]]
    reach = 1.08 * max(filter(math.isfinite, ends), default=1.0) or 1.0
    _around_zero(fig, reach, count, theme)
    colours = verdict_colours(theme)
    places: dict[str, list[Any]] = {
        "place": [float(place) for place in range(count)],
        "above": [place - 0.4 for place in range(count)],
        "left": [-reach] * count,
        "colour": [colours[verdict] for verdict in verdicts],
        "marker": [VERDICTS[verdict][0] for verdict in verdicts],
    }
    source = ColumnDataSource({**places, **columns}, name=name)
    rows: dict[str, Any] = {"source": source, "nonselection_alpha": 1.0}
    fig.text(
        "left",
        "above",
        text,
        text_font=value(FONT),
        text_font_size="13px",
        text_color=PALETTES[theme].ink,
        text_baseline="middle",
        x_offset=4,
        **rows,
    )
    fig.hbar(y="place", left="low", right="high", height=0.09, color="colour", **rows)
    points = fig.scatter(mark, "place", marker="marker", size=12, color="colour", **rows)
    hover(fig, points, tooltips, visible=False)


def verdict_colours(theme: ChartTheme) -> dict[Verdict, str]:
    """Colour of each verdict's marks."""
    palette = PALETTES[theme]
    return {
        "holds": palette.holds,
        "no difference shown": palette.muted,
        "turns": palette.turns,
        "too few": palette.unknown,
        "confounded": palette.unknown,
    }


def profile_figures(profiles: Sequence[Profile], theme: ChartTheme = "light") -> dict[str, figure]:
    """Density by position in the prompt, and share of driven answer tokens, both models.

    The sources are named ``profile``; their column of that name holds the profile's number.
    """
    return {name: _profile(name, profiles, theme) for name in profile_names(profiles)}


def profile_names(profiles: Sequence[Profile]) -> list[str]:
    """Names of the profile figures that there is something for."""
    names = {profile.name for profile in profiles}
    return [name for name, profile in PROFILES.items() if profile in names]


def _profile(name: str, profiles: Sequence[Profile], theme: ChartTheme) -> figure:
    answer = name == "profile-answer"
    x_label = f"tenth of the {'answer' if answer else 'prompt'}"
    y_label = "share of answer tokens" if answer else "mean density"
    fig: Any = blank(name, x_label, y_label, 300, theme, [TapTool()])
    fig.y_range.start = 0
    fig.xaxis.ticker = BasicTicker(min_interval=1)
    looks = {
        "base": (PALETTES[theme].base, "circle"),
        "tuned": (PALETTES[theme].tuned, "square"),
    }
    for place, profile in enumerate(profiles):
        if profile.name != PROFILES[name]:
            continue
        side, curve = profile.side, profile.points
        colour, marker = looks[side]
        source = ColumnDataSource(
            {
                "profile": [place] * len(curve),
                "part": [point.part for point in curve],
                "mean": [point.mean for point in curve],
                "low": [point.mean - point.standard_error for point in curve],
                "high": [point.mean + point.standard_error for point in curve],
            },
            name="profile",
        )
        fig.varea(x="part", y1="low", y2="high", source=source, color=colour, alpha=0.18)
        fig.line("part", "mean", source=source, color=colour, line_width=2)
        marks = fig.scatter(
            "part",
            "mean",
            source=source,
            marker=marker,
            size=8,
            color=colour,
            nonselection_alpha=1.0,
            legend_label=f"{side} ({len(profile.ids)} prompts)",
        )
        tooltips = [
            (f"{side}, part @part", "@mean{0.000}"),
            ("± standard error", "@low{0.000} to @high{0.000}"),
        ]
        hover(fig, marks, tooltips, visible=False)
    legend_in_lines(fig, theme)
    return cast("figure", fig)


def robustness_name(question: Question) -> str:
    """Name of the robustness figure of a question."""
    return "robustness-" + question.replace(" ", "-")


def legend_in_lines(fig: Any, theme: ChartTheme) -> None:
    """Put the legend out of the way of marks and of the mouse, in lines that fit a narrow page."""
    legend = fig.legend[0]
    longest = max(len(item.label.value) for item in legend.items)
    legend.update(
        orientation="horizontal",
        ncols=max(1, min(len(legend.items), LEGEND_WIDTH // (7 * longest + 34))),
        location="left",
        label_text_font=FONT,
        label_text_font_size="13px",
        label_text_color=PALETTES[theme].ink,
        border_line_color=None,
        background_fill_color=None,
        padding=0,
        margin=4,
        spacing=14,
    )
    fig.add_layout(legend, "above")


def blank(
    name: str,
    x_label: str,
    y_label: str,
    height: int,
    theme: ChartTheme,
    tools: Sequence[Any] = (),
    **ranges: Any,
) -> Any:
    """An empty figure in the report's looks, as wide as its place."""
    colours = PALETTES[theme]
    brushes = len(tools) > 1
    fig: Any = empty_figure(
        colours,
        height,
        fill=colours.background,
        size=13,
        labels=colours.ink,
        **ranges,
        name=name,
        min_width=240,
        tools=[*tools, *([ResetTool()] if brushes else [])],
        toolbar_location="above" if brushes else None,
        min_border_right=16,
    )
    fig.toolbar.logo = None
    if brushes:
        fig.toolbar.active_drag = tools[1]
    fig.xaxis.axis_label, fig.yaxis.axis_label = x_label, y_label
    return fig


def _around_zero(fig: Any, reach: float, rows: int, theme: ChartTheme) -> None:
    """Rows of estimates from the top down, on both sides of a line at zero."""
    fig.x_range = Range1d(start=-reach, end=reach)
    fig.y_range = Range1d(start=rows - 0.5, end=-0.8)
    fig.yaxis.visible = False
    fig.ygrid.grid_line_color = None
    fig.add_layout(Span(location=0, dimension="height", line_color=PALETTES[theme].ink))
