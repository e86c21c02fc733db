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
from twinlens.contract import blocks
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


PARTS = {
    "layer": ({"layer": 1}, lambda name: ".1." in name),
    "kind": ({"kind": "down_proj"}, lambda name: "down_proj" in name),
    "both": ({"layer": 0, "kind": "q_proj"}, lambda name: ".0." in name and "q_proj" in name),
}


@pytest.mark.parametrize("kind", ["lora", "dora", "lora-merged"])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_alone_is_turned(folders, kind, part):
    """Beside tuned in which the tensors of that part were mixed by hand."""
    pair = load_pair(folders["base"], folders[kind], tokenizer=tiny.tokenizer())
    merged = folders[kind if kind.endswith("merged") else f"{kind}-merged"]
    asked, inside = PARTS[part]
    turned = trace_pair(pair, "a b c", answer=" d e").at(0.5, **asked)
    base = AutoModelForCausalLM.from_pretrained(folders["base"]).state_dict()
    mixed = AutoModelForCausalLM.from_pretrained(merged)
    with torch.no_grad():
        for name, tensor in mixed.state_dict().items():
            if inside(name):
                tensor.lerp_(base[name], 0.5)
    compare_with(turned, folders["base"], mixed)


@pytest.mark.parametrize("kind", ["lora", "lora-merged"])
def test_a_direction_alone_is_turned(folders, kind):
    pair = load_pair(folders["base"], folders[kind], tokenizer=tiny.tokenizer())
    turned = trace_pair(pair, "a b c", answer=" d e").at(0.25, direction=3)
    matrix, k = pair.update().place(3)
    base = AutoModelForCausalLM.from_pretrained(folders["base"]).state_dict()
    mixed = AutoModelForCausalLM.from_pretrained(folders["lora-merged"])
    weight = mixed.state_dict()[matrix.name]
    left, sizes, right = torch.linalg.svd(weight - base[matrix.name])
    with torch.no_grad():
        weight -= 0.75 * sizes[k] * torch.outer(left[:, k], right[k])
    compare_with(turned, folders["base"], mixed)


def test_a_direction_of_conv1d_lies_the_other_way_round():
    torch.manual_seed(0)
    base = tiny.model("gpt2")
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        for name, tensor in tuned.named_parameters():
            if "c_attn.weight" in name:
                tensor.add_(0.3 * torch.randn_like(tensor))
    trace = trace_pair(load_pair(base, tuned, tokenizer=tiny.tokenizer()), "a b", answer=" d")
    (at,) = trace.pair.update().on("a b", answer=" d").dial([0.5], direction=0)
    turned = trace.at(0.5, direction=0).array("logprob/tuned")
    assert turned.sum() == pytest.approx(at["nats"], abs=1e-4)


def compare_with(turned: LiveTrace, base: Path, mixed: torch.nn.Module) -> None:
    expected = trace_pair(
        load_pair(base, mixed, tokenizer=tiny.tokenizer()), "a b c", answer=" d e"
    )
    assert np.abs(expected.array("shift/residual")).max() > 1e-3
    for key in ("logprob/tuned", "shift/residual", "heads/change"):
        np.testing.assert_allclose(turned.array(key), expected.array(key), atol=2e-4, err_msg=key)


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


@pytest.mark.parametrize(
    ("key", "part", "name"),
    [
        ("layer:2", {"layer": 2}, "layer 2"),
        ("kind:o_proj", {"kind": "o_proj"}, "o_proj"),
        ("direction:40", {"direction": 40}, "direction 40"),
    ],
)
def test_a_part_agrees_with_its_curve(demo, key, part, name):
    curve = demo.block(blocks.update_dial(key))
    turned = demo.at(0.5, **part)
    assert dict(curve["dial"])[0.5] == pytest.approx(
        float(turned.array("logprob/tuned").sum()), abs=1e-3
    )
    assert turned.own_answer("tuned") == curve["dial_answers"][2]
    assert turned.manifest.pair.tuned.name.endswith(f", {name} × 0.5")
    whole = demo.array("logprob/tuned").sum()
    assert dict(curve["dial"])[1.0] == pytest.approx(float(whole), abs=1e-3)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"layer": 99}, "changes nothing in layer 99"),
        ({"kind": "nothing"}, "changes nothing in nothing"),
        ({"direction": 10**6}, "there is no direction"),
        ({"layer": -1}, "counts from 0"),
        ({"kind": 3}, "kind of matrix"),
        ({"layer": 1, "direction": 1}, "alone"),
    ],
)
def test_other_parts_are_refused(demo, part, said):
    with pytest.raises(ArgumentError, match=said):
        demo.at(0.5, **part)


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
