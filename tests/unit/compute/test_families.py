"""Every family of the table, read through twinlens and by plain passes of the model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import twinlens as tl
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    PreTrainedModel,
)
from twinlens.compute.concepts.neurons import neuron_ablation
from twinlens.compute.exchange.passes import Exchange
from twinlens.compute.heads.effects import without_heads
from twinlens.compute.live.live import trace_pair
from twinlens.compute.models import architectures
from twinlens.compute.models.weights import Weights
from twinlens.compute.passes.capture import capture
from twinlens.compute.passes.gates import gate_gradients
from twinlens.compute.saliency import estimates, gradients
from twinlens.compute.saliency.batch import attribute_prompts
from twinlens.compute.text.prompt import read_prompt
from twinlens.contract import blocks
from twinlens.contract.wire import Array
from twinlens.contract.words import PUBLISHED, SIDES
from twinlens.errors import HeadIndexError, UnsupportedArchitectureError
from twinlens.traces import recording

from tests.support import tiny
from tests.support.saliency import (
    ANSWER,
    IDS,
    PROMPT,
    answer_logits,
    embed,
    of_answer,
    reading,
    table,
)

_SMALL_GEMMA4 = {
    "num_hidden_layers": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "num_kv_shared_layers": 2,
    "hidden_size_per_layer_input": 4,
    "vocab_size_per_layer_input": 340,
    "attention_k_eq_v": False,
}
#: Other forms of a family than its usual one.
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "falcon_multi_query": ("falcon", {"new_decoder_architecture": False, "multi_query": True}),
    "falcon_alibi": (
        "falcon",
        {
            "new_decoder_architecture": False,
            "multi_query": False,
            "num_kv_heads": 4,
            "alibi": True,
            "parallel_attn": False,
            "bias": True,
        },
    ),
    "stablelm_parallel": ("stablelm", {"use_parallel_residual": True, "qk_layernorm": True}),
    "qwen2_moe_mixed": ("qwen2_moe", {"mlp_only_layers": [0]}),
    "gemma4_small": ("gemma4_text", _SMALL_GEMMA4),
    "gemma4_wide": ("gemma4_text", _SMALL_GEMMA4 | {"use_double_wide_mlp": True}),
    "gemma4_experts": (
        "gemma4_text",
        {
            "enable_moe_block": True,
            "num_experts": 4,
            "top_k_experts": 2,
            "moe_intermediate_size": 16,
        },
    ),
}
#: Those that no other test of passes goes through.
OTHERS = [name for name in tiny.FAMILIES if name not in tiny.ALL]


@cache
def _model(name: str) -> PreTrainedModel:
    architecture, changes = FORMS.get(name, (name, {}))
    return tiny.model(architecture, **{"num_hidden_layers": 2} | changes).requires_grad_(False)


@pytest.fixture(params=[*OTHERS, *FORMS])
def family(request: pytest.FixtureRequest) -> PreTrainedModel:
    return _model(request.param)


def plain_logprobs(model: PreTrainedModel, embedded: Tensor) -> Array:
    """Of the answer, shape [M]."""
    with torch.no_grad():
        return of_answer(answer_logits(model, embedded).log_softmax(dim=-1))[0].numpy()


def mixes(model: PreTrainedModel) -> bool:
    """Whether some layers carry a state along the text in place of attention."""
    return "linear_attention" in (getattr(model.config, "layer_types", None) or ())


def changed(module: torch.nn.Module, change: Callable[[Tensor], None]) -> Any:
    """Change what goes into a module, in place of a copy."""

    def hook(_: torch.nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        into = arguments[0].clone()
        change(into)
        return (into, *arguments[1:])

    return module.register_forward_pre_hook(hook)


def test_one_pass_is_the_models_own(family: PreTrainedModel) -> None:
    kept = capture(family, IDS, PROMPT, side="base", attention_dtype=torch.float32)
    with torch.no_grad():
        plain = family(torch.tensor([IDS]), output_attentions=True, output_hidden_states=True)
        lens = architectures.logits(family, kept.residual[-1])
    for layer, theirs in zip(kept.attending, plain.attentions, strict=True):
        torch.testing.assert_close(kept.attention[layer], theirs[0], atol=1e-6, rtol=0)
    for ours, theirs in zip(kept.residual[:-1], plain.hidden_states[:-1], strict=True):
        torch.testing.assert_close(ours, theirs[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(lens, plain.logits[0], atol=1e-5, rtol=1e-4)
    expected = plain.logits[0, PROMPT - 1 : -1].log_softmax(dim=-1)
    torch.testing.assert_close(kept.logprobs, expected, atol=1e-5, rtol=0)


def test_gradient_equals_plain_autograd(
    family: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = embed(family).requires_grad_()
    scores = of_answer(answer_logits(family, embedded).log_softmax(dim=-1))[0]
    slopes = [torch.autograd.grad(score, embedded, retain_graph=True)[0] for score in scores]
    expected = (torch.stack(slopes, dim=-1) * embedded[..., None]).sum(dim=-2)[0, :PROMPT]
    expected = expected.detach().numpy()
    for ratio in (1e-9, 1e9):  # forward mode, reverse mode
        monkeypatch.setattr(gradients, "FORWARD_OVER_REVERSE", ratio)
        ours = table("gradient_x_input_logprob", family)
        np.testing.assert_allclose(ours, expected, atol=1e-4 * np.abs(expected).max())
    monkeypatch.setattr(gradients, "fits", lambda *_: False)  # layer by layer
    if getattr(family.config, "hidden_size_per_layer_input", 0):
        with pytest.raises(UnsupportedArchitectureError, match="more than the residual stream"):
            table("gradient_x_input_logprob", family)
        return
    ours = table("gradient_x_input_logprob", family)
    np.testing.assert_allclose(ours, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["occlusion", "occlusion_zero", "occlusion_remove"])
def test_occlusion_equals_reading_again(
    family: PreTrainedModel, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    intact = plain_logprobs(family, embed(family))
    expected = np.empty((PROMPT, ANSWER))
    # A mask that is written out knows no sliding window.
    windows = "sliding_attention" in (getattr(family.config, "layer_types", None) or ())
    if kind == "occlusion" and windows:
        return
    for n in range(PROMPT):
        embedded = embed(family)
        if kind == "occlusion":
            allowed = torch.ones(len(IDS), len(IDS)).tril().bool()
            allowed[:, n] = False
            allowed |= torch.eye(len(IDS)).bool()
            mask = torch.zeros(1, 1, len(IDS), len(IDS)).masked_fill(~allowed, -3e38)
            with monkeypatch.context() as patch, torch.no_grad():
                for name in ("create_causal_mask", "create_chunked_causal_mask"):
                    own = sys.modules[type(family).__module__]
                    patch.setattr(own, name, lambda *_, mask=mask, **__: mask, raising=False)
                padding = None
                if mixes(family):  # as the model itself hides padding
                    patch.undo()
                    padding = torch.ones(1, len(IDS), dtype=torch.long)
                    padding[0, n] = 0
                places = {"position_ids": torch.arange(len(IDS))[None]} if mixes(family) else {}
                logits = family(
                    torch.tensor([IDS]), attention_mask=padding, use_cache=False, **places
                ).logits[:, PROMPT - 1 : -1]
            without = of_answer(logits.log_softmax(dim=-1))[0].numpy()
        elif kind == "occlusion_zero":
            embedded[0, n] = 0
            without = plain_logprobs(family, embedded)
        else:
            kept = [place for place in range(len(IDS)) if place != n]
            with torch.no_grad():
                logits = answer_logits(family, embedded[:, kept], PROMPT - 1)
            without = of_answer(logits.log_softmax(dim=-1))[0].numpy()
        expected[n] = intact - without
    ours = table(kind, family)
    if kind == "occlusion" and mixes(family):
        assert ours[-1, 0] == pytest.approx(0, abs=1e-6)  # it predicts this token, and sees itself
        expected[-1, 0] = 0
    np.testing.assert_allclose(ours, expected, atol=2e-5)


@pytest.mark.parametrize("name", ["falcon", "falcon_alibi", "bloom", "gptj"])
def test_patterns_of_a_family_with_its_own_attention(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Knock-out and rollout, from the patterns that the model itself gives out."""
    model = _model(name)
    embedded = embed(model).requires_grad_()
    norm = getattr(model.base_model, "word_embeddings_layernorm", None)
    if norm is not None:  # what is given is normed already
        model.base_model.word_embeddings_layernorm = torch.nn.Identity()
    out = model(inputs_embeds=embedded, use_cache=False, output_attentions=True)
    if norm is not None:
        model.base_model.word_embeddings_layernorm = norm
    scores = of_answer(out.logits[:, PROMPT - 1 : -1].log_softmax(dim=-1))[0]
    drop = np.zeros((PROMPT, ANSWER))
    flow = np.eye(len(IDS))
    for pattern in out.attentions:
        flow = (pattern[0].mean(dim=0).detach().numpy() + np.eye(len(IDS))) / 2 @ flow
        for m, score in enumerate(scores):
            (slope,) = torch.autograd.grad(score, pattern, retain_graph=True)
            for n in range(PROMPT):
                # The weight of a key moves to the other keys of its row, in their proportion.
                a, g = pattern[0, :, n + 1 :].detach(), slope[0, :, n + 1 :]
                to_others = a / (1 - a[..., n : n + 1])
                to_others[..., n] = 0
                drop[n, m] += float((g * (a - to_others)).sum())
    np.testing.assert_allclose(
        table("attention_rollout", model), flow[PROMPT - 1 : -1, :PROMPT].T, atol=1e-6
    )
    scale = np.abs(drop).max()
    np.testing.assert_allclose(table("attention_knockout", model), drop, atol=1e-4 * scale)
    monkeypatch.setattr(estimates, "fits", lambda *_: False)  # layer by layer
    np.testing.assert_allclose(table("attention_knockout", model), drop, atol=1e-4 * scale)


def test_effects_of_heads_equal_own_hooks(family: PreTrainedModel) -> None:
    shape = architectures.sizes(family.config)
    layer, head = shape.layers - 1, 2
    module = architectures.attention_out(family, layer)
    size = module.weight.shape[1] // shape.heads
    place = slice(head * size, (head + 1) * size)

    def silent(into: Tensor) -> None:
        into[..., place] = 0

    handle = changed(module, silent)
    expected = plain_logprobs(family, embed(family))
    handle.remove()
    kept = capture(family, IDS, PROMPT, side="base")
    # Of several, and alone: a layer may be given one text or more.
    for heads in ([0, head], [head]):
        ours = without_heads(reading(family), kept, layer, heads, [torch.zeros(size)] * len(heads))
        np.testing.assert_allclose(ours[-1].numpy(), expected, atol=1e-5)
    assert not np.allclose(expected, plain_logprobs(family, embed(family)), atol=1e-3)

    gate = torch.ones((), requires_grad=True)

    def gated(into: Tensor) -> None:
        into[..., place] *= gate

    handle = changed(module, gated)
    total = of_answer(answer_logits(family, embed(family)).log_softmax(dim=-1)).sum()
    handle.remove()
    (slope,) = torch.autograd.grad(total, gate)
    estimated = gate_gradients(reading(family)).heads[0, layer, head]
    assert estimated == pytest.approx(float(slope), rel=1e-3)


def test_weights_are_those_the_model_uses(family: PreTrainedModel) -> None:
    """What the modules give for single inputs, against what twinlens says they are made of."""
    shape = architectures.sizes(family.config)
    weights = Weights(family).layer(1)
    block = architectures.layers(family)[1]
    norm = architectures.attention_norm(family, 1)
    out = architectures.attention_out(family, 1)
    kept = capture(family, IDS, PROMPT, side="base", attention_dtype=torch.float32)
    seen: list[Tensor] = []
    attended = architectures.attention(family, 1).register_forward_pre_hook(
        lambda _, arguments, named: seen.append((arguments or (named["hidden_states"],))[0][0]),
        with_kwargs=True,
    )
    bias = [p for n, p in block.named_parameters() if "bias" in n]
    before = [p.clone() for p in bias]
    for parameter in bias:
        parameter.zero_()
    kept = capture(family, IDS, PROMPT, side="base", attention_dtype=torch.float32)
    attended.remove()
    # Heads are patterns times values; a norm behind them (BitNet) is left out of this.
    value = weights.value.repeat_interleave(shape.heads // len(weights.value), dim=0)
    values = torch.einsum("td,hkd->htk", seen[0], value)
    if value_norm := getattr(architectures.attention(family, 1), "v_norm", None):
        values = value_norm(values)
    mixed = (kept.attention[1] @ values).transpose(0, 1)
    if architectures.architecture_of(family.config).gated:
        projected = block.self_attn.q_proj(seen[0]).view(len(IDS), shape.heads, 2, -1)
        mixed = mixed * projected[:, :, 1].sigmoid()
        queries = torch.einsum("td,hkd->thk", seen[0], weights.query)
        torch.testing.assert_close(queries, projected[:, :, 0], atol=1e-5, rtol=1e-4)
    heads = mixed.flatten(1)
    if not hasattr(architectures.attention(family, 1), "attn_sub_norm"):
        torch.testing.assert_close(kept.heads[1], heads, atol=1e-5, rtol=1e-4)
    side_by_side = kept.heads[1].unflatten(-1, (shape.heads, -1))
    written = torch.einsum("thk,hdk->td", side_by_side, weights.output)
    torch.testing.assert_close(kept.attention_out[1], written, atol=1e-5, rtol=1e-4)
    assert out.weight.shape[0] == shape.hidden
    if norm is not None:
        # A norm multiplies by its gain: what it gives over what it gives with gain 1.
        torch.testing.assert_close(norm(kept.residual[1]), seen[0], atol=1e-5, rtol=1e-4)
        rows = kept.residual[1]
        rows = rows - rows.mean(dim=-1, keepdim=True) if _centres(norm) else rows
        gained = rows * weights.norm
        cosines = torch.cosine_similarity(gained, seen[0], dim=-1)
        torch.testing.assert_close(cosines, torch.ones_like(cosines), atol=1e-5, rtol=0)
    if architectures.has_neurons(family.config):
        rebuilt = kept.neurons[1] @ architectures.value_vectors(family, 1)
        torch.testing.assert_close(kept.feed_forward_out[1], rebuilt, atol=1e-5, rtol=1e-4)
    for parameter, value_before in zip(bias, before, strict=True):
        parameter.copy_(value_before)


def test_embeddings_are_those_that_enter_the_first_block(tmp_path: Path) -> None:
    """Of BLOOM normed, from the loaded model and from its files."""
    model = _model("bloom")
    model.save_pretrained(tmp_path)
    expected = embed(model, range(340))[0]
    for source in (model, tmp_path):
        torch.testing.assert_close(Weights(source).input_embeddings(), expected)


def _centres(norm: torch.nn.Module) -> bool:
    rows = torch.randn(1, 32)
    return bool(torch.allclose(norm(rows), norm(rows + 1), atol=1e-4))


def test_neurons_equal_own_hooks_or_are_refused(family: PreTrainedModel) -> None:
    layer, neuron = 0, 5
    if not architectures.has_neurons(family.config):
        assert gate_gradients(reading(family)).neurons is None
        with pytest.raises(UnsupportedArchitectureError, match=r"of experts|twice as many"):
            neuron_ablation(reading(family), layer, neuron, range(ANSWER))
        return

    def silent(into: Tensor) -> None:
        into[..., neuron] = 0

    before = plain_logprobs(family, embed(family))
    handle = changed(architectures.feed_forward_out(family, layer), silent)
    expected = (before - plain_logprobs(family, embed(family))).sum()
    handle.remove()
    ours = neuron_ablation(reading(family), layer, neuron, range(ANSWER))
    assert ours == pytest.approx(expected, abs=1e-5)


def test_experts_have_all_but_neurons_and_recordings_do_without(tmp_path: Path) -> None:
    pair = tl.load_pair(*tiny.save_pair(tmp_path, "mixtral", num_hidden_layers=2))
    trace = trace_pair(pair, tiny.PROMPT, response="shared", max_new_tokens=3)
    for key in (
        blocks.components(0),
        blocks.component_change(),
        blocks.rotation(),
        blocks.neurons(None, None),
        blocks.neuron_activations("base", 0, 0),
        blocks.head_write("base", 0, "neuron:0"),
    ):
        with pytest.raises(UnsupportedArchitectureError, match="are mixtures of experts"):
            trace.block(key)
    recorded = recording.read(recording.write(trace, tmp_path / "a.twl"))
    kept = set(recorded.keys())
    assert kept >= {blocks.lens("tuned", trace.manifest.prompt_length), blocks.shift_residual()}
    assert not any(key.startswith(("neuron", "component", "rotation")) for key in kept)


@pytest.mark.parametrize(
    ("family", "why"),
    [
        ("gemma3n", "several residual streams"),
        ("mamba", "none of their layers has attention"),
        ("deepseek_v3", "not linear maps of the text"),
    ],
)
def test_a_family_that_cannot_be_shown_says_why(family: str, why: str) -> None:
    config = AutoConfig.for_model(family)
    with pytest.raises(UnsupportedArchitectureError, match=why) as refused:
        architectures.architecture_of(architectures.text_part(config))
    assert "register_architecture" not in str(refused.value)


def test_sizes_that_differ_by_layer_are_refused() -> None:
    config = AutoConfig.for_model("gemma4_text", per_layer_config={0: {"intermediate_size": 8}})
    with pytest.raises(UnsupportedArchitectureError, match="gives no one size of all layers"):
        architectures.sizes(config)


def test_small_gemma4_shows_all_but_what_its_layers_share(tmp_path: Path) -> None:
    """Its files hold keys that no layer reads, too."""
    architecture, changes = FORMS["gemma4_wide"]
    folders = tiny.save_pair(tmp_path, architecture, **changes)
    for folder in folders:
        stored = load_file(folder / "model.safetensors")
        for layer in (2, 3):
            own = f"model.layers.{layer - 2}.self_attn.k_proj.weight"
            stored[f"model.layers.{layer}.self_attn.k_proj.weight"] = stored[own].clone()
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    trace = trace_pair(tl.load_pair(*folders), tiny.PROMPT, response="shared", max_new_tokens=3)
    for key, why in (
        (blocks.carried(None), "its parts are not exchanged"),
        (blocks.components(0), "twice as many neurons"),
        (blocks.handover("tuned"), "above those of the other"),
        (blocks.word_pairs(3, 0), "heads of layer 3 have no key and value weights.* layers 0, 1$"),
    ):
        with pytest.raises((HeadIndexError, UnsupportedArchitectureError), match=why):
            trace.block(key)
    circuits = trace.array(blocks.head_circuits())
    assert np.isfinite(circuits[:2]).all()
    assert np.isnan(circuits[2:]).all()
    assert np.isfinite(trace.array(blocks.head_ablation("tuned", "other", None))).all()
    assert "its parts are not exchanged" in trace.manifest.pair.note


def test_layers_without_attention_have_no_heads_and_the_others_have(tmp_path: Path) -> None:
    pair = tl.load_pair(*tiny.save_pair(tmp_path, "qwen3_5_text", num_hidden_layers=2))
    trace = trace_pair(pair, tiny.PROMPT, response="shared", max_new_tokens=3)
    for key in (
        blocks.head_change(),
        blocks.head_sink("tuned"),
        blocks.head_effect("tuned", None),
        blocks.head_ablation("tuned", "other", None),
        blocks.head_circuits(),
        blocks.head_write("base", 0, "component:0"),
        blocks.word_pair_counts(),
    ):
        values = trace.array(key)
        values = np.moveaxis(values, values.shape.index(2), 0)
        assert np.isnan(values[0]).all()
        assert np.isfinite(values[1]).all()
    for key in (
        blocks.attention("base", 0, 0),
        blocks.head_ablation_one("tuned", "zero", None, 0, 0),
        blocks.word_pairs(0, 1),
    ):
        with pytest.raises(HeadIndexError, match=r"layer 0 has no heads.*one of the layers 1$"):
            trace.block(key)
    for key in (blocks.exchanged("tuned", None, None), blocks.carried(None)):
        with pytest.raises(UnsupportedArchitectureError, match="their parts are not exchanged"):
            trace.block(key)
    recorded = recording.read(recording.write(trace, tmp_path / "a.twl"))
    assert "so that their parts are not exchanged" in recorded.manifest.pair.note
    kept = set(recorded.keys())
    patterns = {blocks.attention(side, 1, head) for side in SIDES for head in range(4)}
    assert {key for key in kept if key.startswith("attention/")} == patterns
    assert kept >= {blocks.head_change(), blocks.word_pairs(1, 0), blocks.findings()}
    assert not any(key.startswith(("exchange", "carried")) for key in kept)


@pytest.mark.parametrize("architecture", ["gpt_oss", "opt", "gemma4_text", "gemma4_experts"])
def test_parts_of_the_other_model_add_up_to_its_change(tmp_path: Path, architecture: str) -> None:
    """With every part exchanged tuned predicts what base predicts."""
    family, changes = FORMS.get(architecture, (architecture, {}))
    pair = tl.load_pair(*tiny.save_pair(tmp_path, family, num_hidden_layers=2, **changes))
    with pair.model("base") as base, pair.model("tuned") as tuned:
        captured = capture(base, IDS, PROMPT, side="base")
        exchange = Exchange(reading(tuned), base, captured, nullcontext(), nullcontext())
        everything = exchange.logprobs(torch.ones(2, exchange.layout.count))
    expected = captured.logprobs.double().log_softmax(dim=-1)
    for row in everything:
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["bloom", "opt", "mixtral", "cohere", "gemma4_text"])
def test_texts_together_equal_texts_alone(tmp_path: Path, architecture: str) -> None:
    pair = tl.load_pair(*tiny.save_pair(tmp_path, architecture, num_hidden_layers=2))
    prompts = [read_prompt(pair, text) for text in (tiny.PROMPT, "DOG in the garden", "The dog")]
    together = attribute_prompts(pair, prompts, max_new_tokens=4)
    for one, prompt in zip(together, prompts, strict=True):
        (alone,) = attribute_prompts(pair, [prompt], max_new_tokens=4)
        for side in SIDES:
            assert one.answers[side].tokens == alone.answers[side].tokens
            scale = np.abs(alone.values[side][PUBLISHED]).max()
            np.testing.assert_allclose(
                one.values[side][PUBLISHED], alone.values[side][PUBLISHED], atol=1e-4 * scale
            )


_TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "vocab_size": 340,
}
_VISION = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 28,
    "patch_size": 14,
}
_GEMMA4 = {
    "global_head_dim": 16,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
    "hidden_size_per_layer_input": 0,
}
PICTURES = {
    "gemma3": ({"sliding_window": 8, "query_pre_attn_scalar": 8}, {}),
    "mistral3": ({"model_type": "mistral"}, {"model_type": "pixtral", "head_dim": 8}),
    "qwen3_5": (
        {
            "full_attention_interval": 2,
            "linear_key_head_dim": 4,
            "linear_value_head_dim": 6,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
        },
        {"depth": 1, "num_heads": 2, "out_hidden_size": 32},
    ),
    "llama4": ({"intermediate_size_mlp": 48, "num_local_experts": 2}, {}),
    "gemma4": (_GEMMA4, {"head_dim": 8}),
    "gemma4_small": (_GEMMA4 | _SMALL_GEMMA4, {"head_dim": 8}),
    "gemma4_unified": (_GEMMA4, {}),
}


@pytest.mark.parametrize("architecture", PICTURES)
def test_text_part_of_a_model_that_reads_pictures(tmp_path: Path, architecture: str) -> None:
    of_text, vision = PICTURES[architecture]
    config = AutoConfig.for_model(
        architecture.removesuffix("_small"),
        text_config=_TEXT | of_text,
        vision_config=_VISION | vision,
    )
    torch.manual_seed(0)
    whole = AutoModelForImageTextToText.from_config(config).eval()
    for side in SIDES:
        whole.save_pretrained(tmp_path / side)
        tiny.tokenizer().save_pretrained(tmp_path / side)
    pair = tl.load_pair(tmp_path / "base", tmp_path / "tuned")
    with pair.model("base") as model, torch.no_grad():
        text = getattr(whole, "language_model", whole)
        expected = text(input_ids=torch.tensor([IDS])).logits
        torch.testing.assert_close(model(torch.tensor([IDS])).logits, expected, atol=1e-6, rtol=0)
        assert not any("vision" in name for name, _ in model.named_modules())
        loaded, stored = Weights(model), Weights(tmp_path / "base")
        torch.testing.assert_close(stored.output_embeddings(), loaded.output_embeddings())
        torch.testing.assert_close(stored.layer(1).query, loaded.layer(1).query)
