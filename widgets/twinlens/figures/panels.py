"""Figures for papers of what panels show, drawn without a browser from the same blocks.

Each function gives a `Figure` with the numbers that the panel's own table has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from twinlens.contract import blocks
from twinlens.contract.forms import Carried
from twinlens.contract.wire import Array
from twinlens.contract.words import EXACT, SIDES, ChartTheme, Side, reading_position
from twinlens.errors import ArgumentError
from twinlens.figures.vector import (
    Bar,
    Cells,
    Column,
    Figure,
    Rows,
    bars_svg,
    grids_svg,
    token_name,
)
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

DIFFERENCE = "tuned − base"
#: Nats from which a cell of the lens is empty.
FLOOR = -12.0
#: What heads can be drawn by, with the unit.
MEASURES = {
    "instruction": ("attention to the instruction", ""),
    "sink": ("attention to the first token", ""),
    "received": ("attention received from the answer", ""),
    "previous": ("attention to the token before", ""),
    "entropy": ("entropy of the attention", " bit"),
    "change": ("change of the pattern", " bit"),
    "effect": ("effect on the answer, estimated", " nats"),
    "exact": ("effect on the answer, measured", " nats"),
}


def saliency_figure(
    trace: Trace,
    *,
    width: Column = "double",
    theme: ChartTheme = "light",
    method: str | None = None,
    report: Report | None = None,
    **_: Any,
) -> Figure:
    """Effects of prompt tokens (across) on answer tokens (down), template tokens left out."""
    manifest = trace.manifest
    method = method or manifest.first_method
    known = {method.name: method for method in manifest.methods}
    if method not in known:
        raise ArgumentError(
            f"there is no saliency method {method!r}: use one of {', '.join(known)}"
        )
    inside = manifest.segment_positions("instruction", "context", "other")
    columns = inside or list(range(manifest.prompt_length))
    values = {
        side: np.asarray(trace.array(blocks.saliency(side, method), report), np.float64)[columns].T
        for side in SIDES
    }
    third = values["tuned"] - values["base"] if manifest.shared else None
    unit = " nats" if method == EXACT else ""
    full = _largest(*values.values())
    prompt = [manifest.prompt_tokens[n].text for n in columns]
    answers = {side: [token.text for token in manifest.answers[side].tokens] for side in SIDES}
    names = [token_name(text) for text in prompt]
    grids = [
        Cells(side, side, values[side], [*map(token_name, answers[side])], names, full, unit)
        for side in SIDES
        if answers[side]
    ]
    if third is not None:
        rows = [*map(token_name, answers["tuned"])]
        grids.append(Cells(DIFFERENCE, "difference", third, rows, names, full, unit))
    title = "What each answer token rests on"
    what = known[method]
    svg = grids_svg(
        grids,
        title=title,
        caption=f"Prompt tokens across, answer tokens down. {what.title}: {what.measures} "
        "Hollow: negative.",
        width=width,
        theme=theme,
    )
    table: Rows = [["answer_token", "answer", "prompt_token", "prompt", *SIDES, "difference"]]
    longest = max(answers.values(), key=len)
    for m, answer in enumerate(longest):
        for k, n in enumerate(columns):
            sides = [_at(values[side], m, k) for side in SIDES]
            last = _at(third, m, k) if third is not None else float("nan")
            table.append([m, answer, n, prompt[k], *sides, last])
    return Figure(svg, table, title)


def heads_figure(
    trace: Trace,
    *,
    width: Column = "double",
    theme: ChartTheme = "light",
    token: int = -1,
    measure: str | None = None,
    report: Report | None = None,
    **_: Any,
) -> Figure:
    """Every head of both models, layers down and heads across.

    Parameters
    ----------
    measure : str, optional
        One of `MEASURES`; by default attention to the instruction, or to the first token where
        no instruction is marked, and to the selected token where that is one of the prompt.
    """
    manifest = trace.manifest
    natural = "instruction" if manifest.segment_positions("instruction") else "sink"
    in_prompt = 0 <= token < manifest.prompt_length
    measure = measure or ("received" if in_prompt else natural)
    if measure not in MEASURES:
        raise ArgumentError(
            f"there is no measure of heads {measure!r}: use one of {', '.join(MEASURES)}"
        )
    if measure == "received" and not in_prompt:
        raise ArgumentError(
            "attention received is that of one token of the prompt: select it with select(token=)"
        )
    name, unit = MEASURES[measure]
    if measure == "change":
        grids, values = _changed(trace, token, report), {}
        third = np.asarray(grids[0].values)
    else:
        values = {side: _head_numbers(trace, side, measure, token, report) for side in SIDES}
        third = values["tuned"] - values["base"]
        full = _largest(*values.values())
        grids = [Cells(side, side, values[side], full=full, unit=unit) for side in SIDES]
        grids.append(Cells(DIFFERENCE, "difference", third, full=_largest(third), unit=unit))
    layers = [str(layer) for layer in range(manifest.pair.layers)]
    at = f" at “{token_name(_text(trace, token))}”" if token >= 0 else ""
    title = f"Heads by {name}{at}"
    svg = grids_svg(
        [Cells(g.title, g.colour, g.values, layers, (), g.full, g.unit) for g in grids],
        title=title,
        caption="Layers down, heads across. Hollow: negative."
        + ("" if measure in ("effect", "exact") else " Attention is not attribution."),
        width=width,
        theme=theme,
    )
    last = "change" if measure == "change" else "difference"
    table: Rows = [["measure", "layer", "head", *SIDES, last]]
    for layer, head in np.ndindex(*third.shape):
        sides = [float(values[s][layer, head]) if values else float("nan") for s in SIDES]
        table.append([measure, int(layer), int(head), *sides, float(third[layer, head])])
    return Figure(svg, table, title)


def _changed(trace: Trace, token: int, report: Report | None) -> list[Cells]:
    manifest = trace.manifest
    change = np.asarray(trace.array(blocks.head_change(), report), np.float64)
    at = reading_position(token, manifest.prompt_length) if token >= 0 else -1
    shown = change[at] if 0 <= at < len(change) else change.mean(axis=0)
    return [Cells("change", "both", shown, full=_largest(shown), unit=MEASURES["change"][1])]


def _head_numbers(
    trace: Trace, side: Side, measure: str, token: int, report: Report | None
) -> Array:
    n = trace.manifest.prompt_length
    if measure in ("effect", "exact"):
        answer_token = token - n if token >= n else None
        exact = "zero" if measure == "exact" else None
        effect = trace.head_effect(side, answer_token, exact=exact, report=report)
        return np.asarray(effect, np.float64)
    values = trace.array(blocks.HEAD_MEASURES[measure](side), report)
    if token < 0:
        rows = np.asarray(values[max(n - 1, 0) : len(values) - 1], np.float64)
        return np.asarray(rows.mean(axis=0))
    at = token if measure == "received" else reading_position(token, n)
    if at >= len(values):
        return np.full(values.shape[1:], np.nan)
    return np.asarray(values[at], np.float64)


def maps_figure(
    trace: Trace,
    *,
    width: Column = "double",
    theme: ChartTheme = "light",
    layer: int = -1,
    head: int = -1,
    report: Report | None = None,
    **_: Any,
) -> Figure:
    """Attention of one head in both models: of tokens (down) to earlier tokens (across).

    The first token is set aside. By default the head whose pattern changed most, in the selected
    layer where there is one.
    """
    manifest = trace.manifest
    if head < 0:
        change = np.asarray(trace.head_change(), np.float64)
        first = max(layer, 0)
        shown = change[layer : layer + 1] if layer >= 0 else change
        at = np.unravel_index(int(np.argmax(np.nan_to_num(shown, nan=-1))), shown.shape)
        layer, head = first + int(at[0]), int(at[1])
    raw = {
        side: np.asarray(trace.array(blocks.attention(side, layer, head), report), np.float64)
        for side in SIDES
    }
    common = manifest.common_length
    third = raw["tuned"][:common, :common] - raw["base"][:common, :common]
    full = _largest(*(_causal(values) for values in raw.values()))
    texts = {side: [_text(trace, i, side) for i in range(len(raw[side]))] for side in SIDES}
    grids = []
    for title, side, values in (*((s, s, raw[s]) for s in SIDES), (DIFFERENCE, "tuned", third)):
        names = [token_name(text) for text in texts[side][: len(values)]]
        colour: Any = "difference" if title == DIFFERENCE else side
        most = _largest(_causal(third)) if title == DIFFERENCE else full
        grids.append(Cells(title, colour, _causal(values), names, names, most))
    title = f"Attention of head {head} in layer {layer}"
    svg = grids_svg(
        grids,
        title=title,
        caption="Attention of every token (down) to every earlier token (across); the first token "
        "is set aside. Attention is not attribution.",
        width=width,
        theme=theme,
        square=True,
    )
    table: Rows = [["layer", "head", "query", "query_token", "key", "key_token", *SIDES]]
    longest = max(SIDES, key=lambda side: len(raw[side]))
    for q, text in enumerate(texts[longest]):
        for k in range(q + 1):
            sides = [_at(raw[side], q, k) for side in SIDES]
            table.append([layer, head, q, text, k, texts[longest][k], *sides])
    return Figure(svg, table, title)


def lens_figure(
    trace: Trace,
    *,
    width: Column = "double",
    theme: ChartTheme = "light",
    report: Report | None = None,
    **_: Any,
) -> Figure:
    """Logit lens of the answer: layers (up) by answer tokens (across), in both models."""
    manifest = trace.manifest
    tables = {
        side: np.asarray(trace.array(blocks.lens_table(side, side), report), np.float64)
        for side in SIDES
    }
    layers = [*(str(layer) for layer in reversed(range(manifest.pair.layers))), "in"]
    grids = [
        Cells(
            side,
            side,
            np.clip(1 - tables[side][::-1, :, 0] / FLOOR, 0, None),
            layers,
            [token_name(token.text) for token in manifest.answers[side].tokens],
            ends=(f"≤ {FLOOR:g} nats".replace("-", "−"), "0"),
        )
        for side in SIDES
    ]
    title = "Where each answer token is decided"
    svg = grids_svg(
        grids,
        title=title,
        caption="Log-probability of each answer token if the residual stream is read after a layer "
        f"(logit lens): full colour is 0 nats, none {FLOOR:g} nats or less.".replace("-12", "−12"),
        width=width,
        theme=theme,
    )
    rows: Rows = [["side", "layer", "answer_token", "answer", "nats", "rank"]]
    for side in SIDES:
        texts = [token.text for token in manifest.answers[side].tokens]
        for layer, m in np.ndindex(*tables[side].shape[:2]):
            nats, rank = tables[side][layer, m]
            rows.append([side, int(layer) - 1, int(m), texts[m], float(nats), int(rank)])
    return Figure(svg, rows, title)


def carried_figure(
    trace: Trace,
    *,
    width: Column = "double",
    theme: ChartTheme = "light",
    token: int = -1,
    report: Report | None = None,
    **_: Any,
) -> Figure:
    """Which parts of tuned carry its difference from base, beside as many random ones."""
    n = trace.manifest.prompt_length
    answer_token = token - n if token >= n else None
    carried = cast(Carried, trace.block(blocks.carried(answer_token), report))
    parts = carried["parts"]
    reaches = [
        min(
            part["together_share"], part["together"] / carried["shift"] if carried["shift"] else 0.0
        )
        for part in parts
    ]
    most = max(1.0, *reaches) if reaches else 1.0
    shares = [min(max(reach / most, 0.0), 1.0) for reach in reaches]
    names = [("+ " if i else "") + _part_name(part) for i, part in enumerate(parts)]
    bars = [
        Bar(name, f"{part['together']:.3g}", start, end)
        for name, part, start, end in zip(names, parts, [0.0, *shares], shares, strict=False)
    ]
    if carried["random"]:
        mean = float(np.mean(carried["random"]))
        bars.append(
            Bar(
                f"{len(parts)} random parts",
                f"{100 * mean:.0f} %",
                0.0,
                max(mean, 0) / most,
                "both",
            )
        )
    title = "What carries the difference of the predictions"
    svg = bars_svg(
        bars,
        mark=(carried["goal"] / most, f"{100 * carried['goal']:.0f} %"),
        title=title,
        caption=f"{len(parts)} of {carried['count']} parts of tuned, measured as a set: nats of "
        f"the {carried['shift']:.3g} by which the models differ that are gone once base's parts "
        "are in place.",
        width=width,
        theme=theme,
    )
    columns = ["nats_with_those_above", "share_with_those_above", "nats_alone", "share_alone"]
    rows: Rows = [["part", *columns]]
    for part in parts:
        numbers = [part["together"], part["together_share"], part["nats"], part["share"]]
        rows.append([_part_name(part), *numbers])
    return Figure(svg, rows, title)


#: Figures by name: what is drawn here.
FIGURES: Mapping[str, Callable[..., Figure]] = {
    "saliency": saliency_figure,
    "heads": heads_figure,
    "maps": maps_figure,
    "lens": lens_figure,
    "carried": carried_figure,
}


def _part_name(part: Mapping[str, Any]) -> str:
    word = str(part["kind"]).replace("_", "-")
    if part["head"] >= 0:
        return f"{word} {part['layer']}.{part['head']}"
    return f"{word} {part['layer']}" if part["layer"] >= 0 else word


def _text(trace: Trace, position: int, side: Side = "tuned") -> str:
    manifest = trace.manifest
    tokens = (*manifest.prompt_tokens, *manifest.answers[side].tokens)
    return tokens[position].text if position < len(tokens) else ""


def _causal(values: Array) -> Array:
    """Without later tokens, and without the first column."""
    shown = np.where(np.tril(np.ones_like(values, bool)), values, np.nan)
    shown[:, 0] = np.nan
    return shown


def _largest(*arrays: Array) -> float:
    return max((float(np.nanmax(np.abs(a), initial=0.0)) for a in arrays), default=0.0)


def _at(values: Array, i: int, j: int) -> float:
    inside = i < values.shape[0] and j < values.shape[1]
    return float(values[i, j]) if inside else float("nan")
