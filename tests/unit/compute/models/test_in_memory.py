"""Models of the user's own: looked at as they are, and put back as they were."""

from __future__ import annotations

import copy
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import load_pair
from twinlens.errors import ArgumentError, Interrupted, ModelLoadError

from tests.support import tiny

KEYS = (
    "heads/change",
    "saliency/tuned/gradient_x_input",
    "heads/effect/tuned/answer",
    "neuron/1/3",
    "logprob/base",
)


def state(model: PreTrainedModel) -> object:
    """All that running a model could change."""
    return (
        model.config._attn_implementation,
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        [parameter.detach().clone() for parameter in model.parameters()],
    )


def same(first: object, second: object) -> bool:
    *facts, weights = first  # type: ignore[misc]
    *other_facts, others = second  # type: ignore[misc]
    return facts == other_facts and all(map(torch.equal, weights, others))


@pytest.fixture
def models() -> tuple[PreTrainedModel, PreTrainedModel]:
    """As they are while they are trained: the config is one object for both."""
    base = tiny.model("llama")
    tuned = tiny.tuned_copy(base)
    tuned.config = base.config
    base.set_attn_implementation("sdpa")
    base.train()
    tuned.model.layers[0].requires_grad_(False)
    tuned.model.layers[1].mlp.train()
    return base, tuned


def test_numbers_are_those_of_the_saved_pair(
    models: tuple[PreTrainedModel, PreTrainedModel], tmp_path: Path
) -> None:
    before = [state(model) for model in models]
    pair = load_pair(*models, tokenizer=tiny.tokenizer())
    for name, model in zip(("base", "tuned"), models, strict=True):
        model.save_pretrained(tmp_path / name)
        tiny.tokenizer().save_pretrained(tmp_path / name)
    pairs = pair, load_pair(tmp_path / "base", tmp_path / "tuned")
    kept, stored = (trace_pair(p, tiny.PROMPT, response="shared", max_new_tokens=3) for p in pairs)
    for key in KEYS:
        ours, theirs = kept.block(key), stored.block(key)
        if isinstance(ours, np.ndarray):
            np.testing.assert_allclose(ours, theirs, atol=1e-6, err_msg=key)
        else:
            assert ours == theirs, key
    assert pair.info.base.parameters == pairs[1].info.base.parameters
    for model, was in zip(models, before, strict=True):
        assert same(state(model), was)
    # Mixed with a folder, and the hash is of the weights alone.
    mixed = load_pair(tmp_path / "base", models[1])
    assert mixed.info.tuned.revision == pair.info.tuned.revision != pair.info.base.revision
    assert load_pair(copy.deepcopy(models[0]), models[1], tokenizer=tiny.tokenizer()).info == (
        pair.info
    )


def test_everything_is_put_back_after_an_interrupt(
    models: tuple[PreTrainedModel, PreTrainedModel],
) -> None:
    before = [state(model) for model in models]
    pair = load_pair(*models, tokenizer=tiny.tokenizer())
    trace = trace_pair(pair, tiny.PROMPT, response="shared", max_new_tokens=3)

    def stop(done: int, total: int, what: str) -> None:
        raise Interrupted("enough")

    with pytest.raises(Interrupted):
        trace.block("saliency/base/occlusion", stop)
    with suppress(KeyboardInterrupt), pair.model("tuned") as model:
        assert model is models[1]
        assert model.config._attn_implementation == "eager"
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
        raise KeyboardInterrupt
    for model, was in zip(models, before, strict=True):
        assert same(state(model), was)


def test_what_cannot_be_done_is_said(
    models: tuple[PreTrainedModel, PreTrainedModel], folders: tuple[Path, Path]
) -> None:
    with pytest.raises(ModelLoadError, match="bring no tokenizer: give load_pair tokenizer="):
        load_pair(*models)
    with pytest.raises(ModelLoadError, match="'LlamaModel' in memory is no causal language model"):
        load_pair(models[0].model, models[1])
    with pytest.raises(ModelLoadError, match=r"in memory in torch\.float32: convert it first"):
        load_pair(folders[0], models[1], dtype="bfloat16")
    with pytest.raises(ModelLoadError, match="not as dict"):
        load_pair({}, models[1])  # type: ignore[arg-type]
    with pytest.raises(ModelLoadError, match="lies in the memory of this one: save it"):
        pickle.dumps(load_pair(folders[0], models[1]))
    with pytest.raises(ArgumentError, match='memory is "both" or "sequential"'):
        load_pair(*models, memory="all")  # type: ignore[arg-type]


def test_compiled_and_wrapped_models(folders: tuple[Path, Path]) -> None:
    model = tiny.model("llama")
    wrapped = torch.nn.DataParallel(torch.compile(model))
    model.compile()
    pair = load_pair(folders[0], wrapped)  # type: ignore[arg-type]
    with pair.model("tuned") as inner:
        assert inner is model
        assert inner._compiled_call_impl is None
    assert model._compiled_call_impl is not None


def test_mixed_precision_is_of_the_training_alone() -> None:
    """Numbers are those of the weights, though accelerate or a caller asks for bfloat16."""
    accelerate = pytest.importorskip("accelerate")
    # Of a process there is one, which another test may have made for another precision.
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    base = tiny.model("llama")
    tuned = tiny.tuned_copy(base)
    pair = load_pair(base, tuned, tokenizer=tiny.tokenizer())
    plain = trace_pair(pair, tiny.PROMPT, response="shared", max_new_tokens=3)
    trained = accelerate.Accelerator(mixed_precision="bf16", cpu=True).prepare_model(
        copy.deepcopy(tuned)
    )
    wrapped, ids = trained.forward, torch.tensor([[5, 6, 7]])
    assert not torch.equal(trained(ids).logits, tuned(ids).logits)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = trace_pair(
            load_pair(base, trained, tokenizer=tiny.tokenizer()),
            tiny.PROMPT,
            response="shared",
            max_new_tokens=3,
        )
        for key in KEYS:
            np.testing.assert_equal(mixed.block(key), plain.block(key), err_msg=key)
        assert torch.is_autocast_enabled("cpu")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    assert trained.forward == wrapped
    assert not torch.equal(trained(ids).logits, tuned(ids).logits)


def test_a_model_that_was_changed_is_read_as_it_is_now() -> None:
    """Adapters put into it, and a patched block, count though it was read before."""
    peft = pytest.importorskip("peft")
    base = tiny.model("llama")

    def effects(tuned: PreTrainedModel) -> list[np.ndarray]:
        pair = load_pair(base, tuned, tokenizer=tiny.tokenizer())
        trace = trace_pair(pair, tiny.PROMPT, answer=" cat dog")
        methods = ("occlusion", "gradient_x_input", "occlusion_segment")
        return [trace.block(f"saliency/tuned/{method}") for method in methods]

    tuned = tiny.tuned_copy(base)
    plain = effects(tuned)
    wrapped = peft.get_peft_model(
        tuned,
        peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False),
    )
    adapted = effects(tuned)
    merged = effects(copy.deepcopy(wrapped).merge_and_unload())
    for values, expected, before in zip(adapted, merged, plain, strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-5)
        assert abs(values - before).max() > 1e-4
    patched = tiny.tuned_copy(base)
    effects(patched)
    without, block = tiny.tuned_copy(base), patched.model.layers[1].mlp
    without.model.layers[1].mlp.down_proj.weight.data.zero_()
    block.forward = lambda states: torch.zeros_like(states)
    for values, expected in zip(effects(patched), effects(without), strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-5)
