"""Everything of a pair that a page needs to run it: tokenizer, chat template, plain weights."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from twinlens.compute.exchange.null import changed_blocks, update_of
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.models import architectures
from twinlens.compute.models.architectures import sizes
from twinlens.compute.pair import Pair
from twinlens.compute.passes.decoding import settings_are_plain
from twinlens.compute.text.answers import stop_tokens
from twinlens.compute.text.chat import rendered
from twinlens.compute.text.cutting import in_front
from twinlens.compute.text.other_text import other_text
from twinlens.contract.wire import Value
from twinlens.contract.words import EXACT, SIDES, Side
from twinlens.errors import PromptError, UnsupportedArchitectureError

#: Saliency methods that a page computes.
METHODS_IN_PAGE = (EXACT,)
#: What byte-level tokenizers cut texts with that name no pattern of their own (GPT-2's).
_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
#: Texts that tell whether a template leaves a message as it is.
_PROBES = ("Word", "  two words \n", "\n{{ word }} <b>'\"\\ 字🦊\n\n- x", "x" * 300)
#: Parameters of a model up to which it runs in a page.
MOST_PARAMETERS = 10_000_000
#: Families whose attention and feed-forward layers are the plain ones, where nothing is added.
_FAMILIES = ("llama", "mistral")
_LAYER = (
    "input_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "post_attention_layernorm",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


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


def packed_tokenizer(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """A byte-level tokenizer as plain JSON values.

    Raises
    ------
    UnsupportedArchitectureError
        If it is of another kind.
    """
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    model, added = described["model"], described["added_tokens"]
    patterns = _patterns(described)
    joined = [model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix")]
    plain = (
        patterns is not None
        and model["type"] == "BPE"
        and described["normalizer"] is None
        and not (model["dropout"] or model["byte_fallback"] or any(joined))
        and not any(t["single_word"] or t["lstrip"] or t["rstrip"] for t in added)
    )
    if not plain:
        raise UnsupportedArchitectureError(
            "this tokenizer cannot run in a page, which runs byte-level BPE without normalisation: "
            "export what you want to show with to_html"
        )
    tokens = [""] * (1 + max(model["vocab"].values(), default=-1))
    for token, identifier in model["vocab"].items():
        tokens[identifier] = token
    for token in added:
        tokens.extend([""] * (token["id"] + 1 - len(tokens)))
        tokens[token["id"]] = token["content"]
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    return {
        "tokens": tokens,
        "merges": merges,
        "whole": bool(model.get("ignore_merges")),
        "patterns": patterns,
        "added": [token["id"] for token in added],
        "special": sorted(tokenizer.all_special_ids),
        "front": in_front(tokenizer),
        "other_text": other_text(tokenizer),
    }


def _patterns(described: dict[str, Any]) -> list[str] | None:
    """Patterns that a text is cut with; None where it is done in another way."""
    outer = described["pre_tokenizer"] or {}
    parts = outer.get("pretokenizers", [outer])
    *before, last = parts
    if last.get("type") != "ByteLevel" or last["add_prefix_space"]:
        return None
    patterns = []
    for part in before:
        if part.get("type") != "Split" or part["behavior"] != "Isolated" or part["invert"]:
            return None
        pattern = part["pattern"]
        patterns.append(pattern.get("Regex") or re.escape(pattern["String"]))
    if last["use_regex"]:
        patterns.append(_PATTERN)
    # Blanks are Unicode's there; JavaScript has a list of its own.
    blank = {r"\s": r"\p{White_Space}", r"\S": r"\P{White_Space}"}
    return [re.sub(r"\\.", lambda m: blank.get(m[0], m[0]), pattern) for pattern in patterns]


def packed_template(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any] | None:
    """What a chat template puts around one message; None without one, or where it does more."""

    def render(text: str) -> Any:
        return rendered(tokenizer, [{"role": "user", "content": text}], whose="tuned")

    try:
        made = render("x")
        (part,) = made.parts
        (place,) = part.places
    except (PromptError, ValueError):
        return None
    before, behind = made.text[:place], made.text[place + 1 :]
    for trims in (False, True):
        texts = [probe.strip() if trims else probe for probe in _PROBES]
        pairs = zip(_PROBES, texts, strict=True)
        if all(render(probe).text == before + text + behind for probe, text in pairs):
            source = made.settings["chat_template"]
            return {"before": before, "behind": behind, "trims": trims, "source": source}
    return None


def model_sizes(model: PreTrainedModel, name: str) -> dict[str, Any]:
    """Sizes of a model, and what else a pass in a page has to know.

    Parameters
    ----------
    name : str
        What the model is called, for messages of errors.

    Raises
    ------
    UnsupportedArchitectureError
        If it is not plain or too large; says why.
    """
    config = model.config
    reason = _reason(model)
    if reason:
        raise UnsupportedArchitectureError(
            f"{name} cannot run in a page, because {reason}: a page runs models like Llama of up "
            f"to {MOST_PARAMETERS / 1e6:.0f} million parameters; export what you want to show "
            "with to_html"
        )
    shape = sizes(config)
    rotary: Any = model.model.rotary_emb
    return {
        "layers": shape.layers,
        "heads": shape.heads,
        "kvHeads": shape.kv_heads,
        "headSize": head_size(config),
        "hidden": shape.hidden,
        "intermediate": shape.intermediate,
        "vocabulary": shape.vocabulary,
        "positions": shape.positions,
        "eps": float(config.rms_norm_eps),
        "frequencies": rotary.inv_freq.float().tolist(),
        "wave": float(rotary.attention_scaling),
        "tied": _tied(model),
        "small": shape.small,
    }


def draws_of(model: PreTrainedModel) -> list[int]:
    """What the signs of each weight are drawn from, in the order of `packed_weights`."""
    return [zlib.crc32(name.encode()) for name in _names(model)]


def packed_weights(model: PreTrainedModel) -> bytes:
    """Weights in half precision: first all low bytes, then all high ones, which gzip well.

    In the order in which a page reads them: the embedding, of each layer the two norms in front of
    query, key, value, output weights and of gate, up, down weights, the final norm, and an
    unembedding of its own.
    """
    state = model.state_dict()
    values = [state[name].detach().cpu().float().numpy().ravel() for name in _names(model)]
    halves = np.concatenate([value.astype("<f2") for value in values])
    return halves.view(np.uint8).reshape(-1, 2).T.tobytes()


def head_size(config: PretrainedConfig) -> int:
    """Numbers of one head."""
    size = getattr(config, "head_dim", None)
    return int(size or config.hidden_size // config.num_attention_heads)


def _names(model: PreTrainedModel) -> list[str]:
    layers = [
        f"model.layers.{layer}.{part}.weight"
        for layer in range(sizes(model.config).layers)
        for part in _LAYER
    ]
    last = [] if _tied(model) else ["lm_head.weight"]
    return ["model.embed_tokens.weight", *layers, "model.norm.weight", *last]


def _tied(model: PreTrainedModel) -> bool:
    return architectures.output_embeddings(model).weight is model.get_input_embeddings().weight


def _reason(model: PreTrainedModel) -> str:
    """Why a model cannot run in a page; "" where it can."""
    config: Any = model.config
    parameters = sum(weight.numel() for weight in model.parameters())
    rope = getattr(config, "rope_parameters", None) or {}
    if config.model_type not in _FAMILIES:
        return f"its family is {config.model_type!r}"
    if parameters > MOST_PARAMETERS:
        return f"it has {parameters / 1e6:.1f} million parameters"
    if getattr(config, "sliding_window", None):
        return "its attention has a sliding window"
    if config.hidden_act != "silu":
        return f"its feed-forward layers use {config.hidden_act!r}"
    if rope.get("rope_type", "default") not in ("default", "linear", "llama3"):
        return f"its rotary positions are of the kind {rope['rope_type']!r}"
    tied = {"lm_head.weight"} if _tied(model) else set()
    others = set(model.state_dict()) - set(_names(model)) - tied
    if others:
        return f"it has other weights, such as {min(others)}"
    shape = sizes(config)
    widths = (shape.hidden, shape.intermediate, shape.heads * head_size(config))
    if any(width % 8 for width in widths) or head_size(config) % 16:
        return "its sizes are no multiples of 8, or those of its heads of 16"
    if shape.positions is None:
        return "nothing says how long its texts may be"
    largest = max(float(weight.detach().abs().max()) for weight in model.parameters())
    if not largest <= torch.finfo(torch.float16).max:
        return "its weights do not fit into half precision"
    return ""
