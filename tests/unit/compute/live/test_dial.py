"""The dial: traces of base with the update times a scale, beside models that stay as they are."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import twinlens as tl
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.pair import Pair, load_pair
from twinlens.errors import ArgumentError

from tests.support import tiny

PROMPT = "Make this sentence negative: The cat swims."


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base, a LoRA, the same with DoRA and norms trained whole, and both merged."""
    root = tmp_path_factory.mktemp("dial")
    tiny.model("llama", hidden_size=32, intermediate_size=48).save_pretrained(root / "base")
    tiny.tokenizer().save_pretrained(root / "base")
    kinds = {"lora": {}, "dora": {"use_dora": True, "modules_to_save": ["norm"]}}
    for name, more in kinds.items():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(root / "base")
        config = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], **more)
        adapted = get_peft_model(model, config)
        with torch.no_grad():
            for key, parameter in adapted.named_parameters():
                if "lora_B" in key or "modules_to_save" in key:
                    parameter.add_(0.2 * torch.randn_like(parameter))
        adapted.save_pretrained(root / name)
        adapted.merge_and_unload().save_pretrained(root / f"{name}-merged")
    return {path.name: path for path in root.iterdir()}


def between(folders: dict[str, Path], merged: str, scale: float) -> Pair:
    """The reference: base, and weights mixed one by one."""
    base = AutoModelForCausalLM.from_pretrained(folders["base"])
    tuned = AutoModelForCausalLM.from_pretrained(folders[merged])
    mixed = copy.deepcopy(base)
    mixed.load_state_dict(
        {
            name: ours + scale * (theirs - ours)
            for (name, ours), theirs in zip(
                base.state_dict().items(), tuned.state_dict().values(), strict=True
            )
        }
    )
    return load_pair(base, mixed, tokenizer=tiny.tokenizer())


@pytest.mark.parametrize("kind", ["lora", "dora", "lora-merged"])
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_it_reads_as_weights_between_do(folders, kind, scale):
    pair = load_pair(folders["base"], folders[kind], tokenizer=tiny.tokenizer())
    live = trace_pair(pair, "a b c", answer=" d e")
    before = {side: live.array(f"logprob/{side}") for side in ("base", "tuned")}
    turned = live.at(scale)
    merged = kind if kind.endswith("merged") else f"{kind}-merged"
    expected = trace_pair(between(folders, merged, scale), "a b c", answer=" d e")
    for key in ("logprob/tuned", "shift/residual", "heads/change"):
        np.testing.assert_allclose(turned.array(key), expected.array(key), atol=2e-4, err_msg=key)
    assert np.abs(turned.array("logprob/tuned") - before["tuned"]).max() > 1e-3
    again = trace_pair(pair, "a b c", answer=" d e")
    for side, values in before.items():
        np.testing.assert_array_equal(again.array(f"logprob/{side}"), values)


@pytest.fixture(scope="module")
def demo() -> LiveTrace:
    return trace_pair(tl.demo_pair(), PROMPT, template=True, response="shared", max_new_tokens=8)


def test_its_ends_are_base_and_tuned(demo):
    assert demo.at(1) is demo
    nothing = demo.at(0)
    np.testing.assert_array_equal(nothing.array("logprob/tuned"), demo.array("logprob/base"))
    assert nothing.own_answer("tuned") == demo.own_answer("base") != demo.own_answer("tuned")
    assert nothing.manifest.pair.tuned.name.endswith("× 0")


def test_it_agrees_with_the_curve(demo):
    (row,) = (
        demo.pair.update().on(PROMPT, template=True, max_new_tokens=8).dial([0.5], answers=True)
    )
    turned = demo.at(0.5)
    assert turned is demo.at(0.5)
    assert turned.array("logprob/tuned").sum() == pytest.approx(row["nats"], abs=1e-3)
    assert turned.own_answer("tuned").strip() == row["answer"].strip()


def test_weights_that_did_not_change_are_not_copied(folders):
    pair = load_pair(folders["base"], folders["lora"])
    turned = trace_pair(pair, "a b c", answer=" d").at(0.5).pair
    with pair.model("base") as model:
        own = {one.data_ptr() for one in model.parameters()}
    with turned.model("tuned") as model:
        assert {one.data_ptr() for one in model.parameters()} == own


@pytest.mark.parametrize("scale", [-1, 2.5, float("nan"), True, "1"])
def test_other_places_are_refused(demo, scale):
    with pytest.raises(ArgumentError, match="from 0, which is base, to 2"):
        demo.at(scale)


def test_it_takes_one_answer_and_both_models(demo, tmp_path):
    own = trace_pair(demo.pair, "The cat swims.", response="own", max_new_tokens=2)
    with pytest.raises(ArgumentError, match='response="shared"'):
        own.at(0.5)
    recorded = tl.open(tl.explore(demo.pair, "The cat", max_new_tokens=1).save(tmp_path / "a.twl"))
    with pytest.raises(ArgumentError, match="both models are loaded"):
        recorded.trace.at(0.5)
