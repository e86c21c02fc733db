"""Everything of a pair that a page needs to run it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twinlens.compute.exchange.null import changed_blocks, update_of
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.packed.packed_weights import draws_of, model_sizes, packed_weights
from twinlens.compute.packed.text import packed_template, packed_tokenizer
from twinlens.compute.pair import Pair
from twinlens.compute.passes.decoding import settings_are_plain
from twinlens.compute.text.answers import stop_tokens
from twinlens.contract.wire import Value
from twinlens.contract.words import EXACT, SIDES, Side
from twinlens.errors import UnsupportedArchitectureError

#: Saliency methods that a page computes.
METHODS_IN_PAGE = (EXACT,)


@dataclass(frozen=True)
class PackedPair:
    """A pair as a page runs it.

    Attributes
    ----------
    state : dict
        Plain JSON values: pair, sizes, tokenizer, template, methods, parameters.
    weights : dict of Side to bytes
        See `packed_weights`.
    known : dict of str to array or JSON
        By side and layer, float32 [K, hidden]: the components of feed-forward layers, in the order
        of base's; behind ``own/`` in the order and with the signs of each model. And ``changed``,
        see `twinlens.contract.forms.Null`.
    trace : LiveTrace
        Of a short text: blocks that follow from the weights alone.
    """

    state: dict[str, Any]
    weights: dict[Side, bytes]
    known: dict[str, Value]
    trace: LiveTrace


def pack_pair(pair: Pair, max_new_tokens: int = 64) -> PackedPair:
    """Pack a pair; nothing is left out that its passes need.

    Raises
    ------
    UnsupportedArchitectureError
        If a page cannot run it; says why.
    """
    sizes: dict[Side, dict[str, Any]] = {}
    draws: list[int] = []
    stop: dict[Side, list[int]] = {}
    weights: dict[Side, bytes] = {}
    for side in SIDES:
        with pair.model(side) as model:
            sizes[side] = model_sizes(model, pair.names[side])
            stop[side] = sorted(stop_tokens(pair, side, model.generation_config))
            if not settings_are_plain(model):
                raise UnsupportedArchitectureError(
                    f"{pair.names[side]} cannot run in a page, because its generation settings "
                    "change what it answers: export what you want to show with to_html"
                )
            weights[side] = packed_weights(model)
            draws = draws_of(model)
    texts = {side: packed_tokenizer(pair.tokenizers[side]) for side in SIDES}
    if sizes["base"] != sizes["tuned"] or texts["base"] != texts["tuned"]:
        raise UnsupportedArchitectureError(
            "a page runs two models of one shape and one tokenizer, and these differ: export what "
            "you want to show with to_html"
        )
    trace = trace_pair(pair, "a", answer="a")
    layers = range(pair.sizes.layers)
    known: dict[str, Value] = {"changed": _changed(pair)}
    for side in SIDES:
        for layer in layers:
            own = pair.concepts.basis(side, layer).directions
            known[f"{side}/{layer}"] = pair.concepts.directions(side, layer).astype("float32")
            known[f"own/{side}/{layer}"] = np.asarray(own, np.float32)
    manifest = trace.manifest.to_json()
    state = {
        "pair": manifest["pair"],
        "setup": {
            "sizes": sizes["tuned"],
            "stop": stop,
            "draws": draws,
            "known": {side: pair.known_ids(side) for side in SIDES},
        },
        "tokenizer": texts["tuned"],
        "template": packed_template(pair.tokenizers["tuned"]),
        "methods": [method for method in manifest["methods"] if method["name"] in METHODS_IN_PAGE],
        "parameters": {**_parameters(manifest), "attention": "float32"},
        "longest": max_new_tokens,
    }
    return PackedPair(state, weights, known, trace)


def _changed(pair: Pair) -> Value:
    """How far each block was moved."""
    held = {side: pair.held(side) for side in SIDES}
    with pair.pieces("base") as base, pair.pieces("tuned") as tuned:
        return changed_blocks(base, tuned, update_of(base, tuned, held), held["base"])


def _parameters(manifest: dict[str, Any]) -> dict[str, Any]:
    """Settings that do not depend on the prompt."""
    names: Sequence[str] = ("decoding", "components", "words", "vocabulary")
    return {name: manifest["parameters"][name] for name in names}
