"""The page that thinks: one offline file in which a small pair runs on what the reader types.

Weights, tokenizer and chat template lie in the page, packed; a worker computes. Its policy allows
what every page of twinlens may do, and beside it a worker made from the page itself and
WebAssembly, whose bytes are in that worker. Nothing from outside is allowed. Its reader may begin
with the prompts that come with the embedded pair.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, cast

from twinlens.contract import blocks, lookup, wire
from twinlens.contract.blocks import BLOCKS
from twinlens.contract.wire import Value
from twinlens.contract.words import PUBLISHED, SIDES, THEMES, Side
from twinlens.errors import ArgumentError, UnsupportedArchitectureError
from twinlens.pages.bokehjs import SCRIPT_END, bokeh_in_pieces
from twinlens.pages.html import document, front_end, inline_json, inline_script, packed85, policy
from twinlens.pages.page import pack_blocks, packed_blocks
from twinlens.pages.values import page_value
from twinlens.support.progress import Report, told
from twinlens.traces.trace import Trace

#: Characters of a piece of a packed part: each is handed over by itself, so that the page stays
#: quick. Four of them are three bytes.
_PIECE = 2**20
#: Blocks that follow from the weights alone, as their rows are called.
_OF_WEIGHTS = (
    "component_change",
    "components",
    "component_ends",
    "rotation",
    "head_circuits",
    "word_pair_info",
    "word_pair_counts",
    "word_pairs",
)
#: Charts whose numbers the panels fill in, or which are of the weights alone.
_CHARTS = ("handover", "rotation")


def live_html(
    state: Mapping[str, Any],
    weights: Mapping[Side, bytes],
    known: Mapping[str, Value],
    trace: Trace,
    *,
    title: str,
    recorded: Sequence[Trace] = (),
    report: Report | None = None,
) -> bytes:
    """The complete page.

    Parameters
    ----------
    state : mapping
        What the form and the workers read, plain JSON values.
    known : mapping of str to array or JSON
        What follows from the weights and the workers use.
    trace : Trace
        That gives the blocks which follow from the weights alone.
    recorded : sequence of Trace
        Of the first examples: what a page does not compute is recorded for them.
    """
    script, worker = inline_script(front_end("live.js")), packed85(front_end("worker.js").encode())
    rules = f"{policy(script, *bokeh_in_pieces(), wasm=True)}; worker-src blob:"
    encoded = {key: wire.encode(value) for key, value in known.items()}
    parts: dict[str, bytes] = {"known": gzip.compress(pack_blocks(encoded), 9, mtime=0)}
    parts |= {side: gzip.compress(data, 9, mtime=0) for side, data in weights.items()}
    pieces = "".join(_pieces(name, data) for name, data in parts.items())
    constant = _constant(trace, report)
    for place, example in enumerate(recorded):
        constant |= _recorded(example, place, report)
    style = front_end("twinlens.css") + front_end("live.css")
    body = f"""<script type="application/json" id="twinlens-live">{inline_json(state)}</script>
<script type="text/plain" id="twinlens-worker">{worker}</script>
<script>{script}</script>
<script type="text/plain" id="twinlens-blocks">{packed_blocks(constant)}</script>
{pieces}"""
    return document(title, style, rules, body).encode(errors="replace")


def viewer_html() -> bytes:
    """A page without models that shows recordings, read where they are dropped onto it."""
    script = inline_script(front_end("viewer.js"))
    style = front_end("twinlens.css") + front_end("live.css")
    body = f"<script>{script}</script>\n"
    return document("twinlens viewer", style, policy(script), body).encode()


def _pieces(name: str, data: bytes) -> str:
    """Elements that hold a part, each base64 by itself."""
    text = base64.b64encode(data).decode()
    return "".join(
        f'<script type="text/plain" data-part="{name}">{text[place : place + _PIECE]}</script>\n'
        for place in range(0, len(text), _PIECE)
    )


def _constant(trace: Trace, report: Report | None) -> dict[str, tuple[wire.Header, bytes]]:
    """Blocks that are the same whatever is asked."""
    keys = [key for name in _OF_WEIGHTS for key in BLOCKS[name].every(trace.manifest)]
    keys += [blocks.chart(chart, theme) for chart in _CHARTS for theme in THEMES]
    encoded = {blocks.bokeh_script(): wire.encode(SCRIPT_END.join(bokeh_in_pieces()))}
    for key in told(keys, "what follows from the weights", report):
        try:
            value = page_value(trace, key)
        except UnsupportedArchitectureError:
            continue  # models that do not have it have a page without it
        encoded[key] = wire.encode(value, causal=lookup.is_causal(key))
    return encoded


def _recorded(
    trace: Trace, place: int, report: Report | None
) -> dict[str, tuple[wire.Header, bytes]]:
    """Blocks of an example that need gradients, under its number."""
    keys = [blocks.findings(), blocks.carried(None), blocks.update()]
    for side in SIDES:
        keys += [blocks.saliency(side, PUBLISHED)]
        keys += [blocks.head_effect(side, None), blocks.neuron_effect(side, None)]
    encoded = {}
    for key in told(keys, f"example {place + 1}", report):
        encoded[f"example/{place}/{key}"] = wire.encode(trace.block(key))
    return encoded


def check_examples(examples: Any) -> Sequence[Mapping[str, str]]:
    """Examples as they are given, once they are what they should be."""
    if examples is None:
        return ()
    listed = list(examples) if isinstance(examples, Iterable) else [examples]
    known = ("title", "prompt", "instruction", "context")
    for number, example in enumerate(listed):
        if not isinstance(example, Mapping) or not isinstance(example.get("prompt"), str):
            raise ArgumentError(
                f"example {number} is {example!r}: examples= is a list of mappings with a prompt, "
                "and title, instruction and context"
            )
        for name, text in example.items():
            if name not in known:
                raise ArgumentError(
                    f"example {number} has no {name!r}: known are {', '.join(known)}"
                )
            if not isinstance(text, str | None):
                raise ArgumentError(f"the {name} of example {number} is no text, but {text!r}")
    return listed


def demo_prompts() -> list[dict[str, str]]:
    """Prompts prepared for the embedded pair: ``title``, ``prompt`` and its marked parts."""
    text = (files("twinlens") / "demo" / "prompts.json").read_text(encoding="utf-8")
    return cast("list[dict[str, str]]", json.loads(text))
