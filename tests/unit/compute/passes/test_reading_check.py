"""A model that twinlens would misread is refused when it is loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import twinlens as tl
from transformers import PreTrainedModel
from twinlens.compute.models import architectures, families
from twinlens.compute.models.families import ARCHITECTURES, Architecture
from twinlens.compute.passes.reading_check import check_reading
from twinlens.errors import UnsupportedArchitectureError

from tests.support import tiny


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, Architecture]:
    """The table, put back as it was."""
    changed = dict(ARCHITECTURES)
    for module in (architectures, families):
        monkeypatch.setattr(module, "ARCHITECTURES", changed)
    return changed


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_families_of_the_table_pass(architecture: str) -> None:
    model = tiny.model(architecture, num_hidden_layers=2)
    for dtype in (torch.float32, torch.bfloat16):
        check_reading(model.to(dtype), architecture, "base")


def refused(model: PreTrainedModel, what: str) -> None:
    with pytest.raises(UnsupportedArchitectureError, match=what) as raised:
        check_reading(model, "mine", "base")
    assert str(raised.value).startswith("'mine' cannot be shown because twinlens would misread it")


@pytest.mark.parametrize(
    ("architecture", "wrong", "what"),
    [
        ("gpt_neox", {"fused": "stacked"}, "the values of layer 0 do not give its heads"),
        ("phi3", {"fused": "interleaved"}, "the values of layer 0 do not give its heads"),
        ("llama", {"norm_offset": 1.0}, "norm of layer 0 does not multiply by its weight"),
        ("gemma", {"norm_offset": 0.0}, "norm of layer 0 does not multiply by its weight"),
        ("llama", {"attention_norm": "post_attention_layernorm"}, "not its residual stream"),
        ("llama", {"attention_norm": ""}, "not its residual stream"),
        ("llama", {"attention_out": "self_attn.out"}, "no attribute `?'?out"),
        (
            "llama",
            {"feed_forward_out": "mlp.up_proj"},
            "48 numbers in its feed-forward output, not 32",
        ),
        ("llama", {"layers": "model.blocks"}, "no attribute `?'?blocks"),
        ("llama", {"final_norm": "model.layers.2.input_layernorm"}, "does not give its logits"),
        ("mixtral", {"experts": False, "feed_forward_out": "mlp"}, "numbers for its neurons"),
    ],
)
def test_wrong_entry_is_refused(
    table: dict[str, Architecture], architecture: str, wrong: dict[str, Any], what: str
) -> None:
    model = tiny.model(architecture)
    table[architecture] = replace(table[architecture], **wrong)
    refused(model, what)


def test_what_a_family_does_to_its_logits_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("granite")
    plain = architectures.output_embeddings
    monkeypatch.setattr(architectures, "scores", lambda model, normed: plain(model)(normed))
    refused(model, "behind its last layer does not give its logits")


def test_layers_without_attention_are_noticed() -> None:
    model = tiny.model("llama")
    handle = model.model.layers[1].self_attn.register_forward_hook(
        lambda *_: (torch.zeros(32), None)
    )
    check_reading(model, "mine", "base")
    handle.remove()
    block = model.model.layers[1].self_attn
    block.forward = lambda hidden_states, **_: (block.o_proj(hidden_states), None)
    refused(model, "the attention patterns of layer 2 do not sum to 1")


def test_registered_family_is_read_and_a_wrong_one_is_refused(
    table: dict[str, Architecture], tmp_path: Path
) -> None:
    folders = tiny.save_pair(tmp_path, "starcoder2")
    right = table.pop("starcoder2")
    with pytest.raises(UnsupportedArchitectureError, match="register_architecture"):
        tl.load_pair(*folders)
    tl.register_architecture("starcoder2", tl.Architecture(feed_forward_out="mlp.c_fc"))
    with pytest.raises(UnsupportedArchitectureError, match="in its feed-forward output"):
        tl.load_pair(*folders)
    tl.register_architecture("starcoder2", right)
    assert tl.load_pair(*folders).sizes.layers == 3


def test_modules_of_a_fused_entry_are_counted() -> None:
    with pytest.raises(ValueError, match="names 1 modules, not 3"):
        Architecture(fused="stacked")


def test_each_model_is_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import twinlens.compute.pair as pair_module

    seen: list[str] = []
    monkeypatch.setattr(pair_module, "check_reading", lambda _m, _n, side: seen.append(side))
    pair = tl.load_pair(*tiny.save_pair(tmp_path), memory="sequential")
    for side in ("base", "tuned", "base"):
        with pair.model(side):
            pass
    assert seen == ["base", "tuned"]
