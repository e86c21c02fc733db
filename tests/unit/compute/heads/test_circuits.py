"""Change of the heads' circuits, against matrices that are written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from twinlens.compute.heads.search import circuit_change
from twinlens.compute.models.weights import Weights
from twinlens.errors import PairMismatchError

from tests.support import tiny


def _explicit(model, layer: int, head: int) -> tuple[np.ndarray, np.ndarray]:
    """W_QK and W_OV of one head of a tiny Llama, hidden x hidden."""
    block = model.model.layers[layer]
    size, group = 8, head // 2  # 4 heads share 2 key heads
    part = {
        name: getattr(block.self_attn, f"{name}_proj").weight.detach().double() for name in "qkvo"
    }
    gain = block.input_layernorm.weight.detach().double()
    query = part["q"][head * size : (head + 1) * size] * gain
    key = part["k"][group * size : (group + 1) * size] * gain
    value = part["v"][group * size : (group + 1) * size] * gain
    output = part["o"][:, head * size : (head + 1) * size]
    return (query.T @ key).numpy(), (output @ value).numpy()


def test_equals_the_matrices_written_out() -> None:
    base = tiny.model("llama")
    tuned = tiny.tuned_copy(base)
    change = circuit_change(Weights(base), Weights(tuned))
    for layer in range(3):
        for head in range(4):
            pairs = zip(_explicit(base, layer, head), _explicit(tuned, layer, head), strict=True)
            for circuit, (before, after) in enumerate(pairs):
                difference = np.linalg.norm(after - before) / np.linalg.norm(before)
                cosine = (before * after).sum() / np.linalg.norm(before) / np.linalg.norm(after)
                got = change[layer, head, 2 * circuit : 2 * circuit + 2]
                np.testing.assert_allclose(got, [difference, cosine], rtol=1e-12)


@pytest.mark.parametrize("architecture", tiny.ALL)
def test_equal_models_did_not_change_and_files_give_the_same(
    tmp_path: Path, architecture: str
) -> None:
    model = tiny.model(architecture)
    same = circuit_change(Weights(model), Weights(model))
    assert same.shape == (3, 4, 4)
    np.testing.assert_array_equal(same[..., ::2], 0.0)
    np.testing.assert_allclose(same[..., 1::2], 1.0, rtol=1e-12)
    tuned = tiny.tuned_copy(model)
    model.save_pretrained(tmp_path / "base")
    tuned.save_pretrained(tmp_path / "tuned")
    loaded = circuit_change(Weights(model), Weights(tuned))
    stored = circuit_change(Weights(tmp_path / "base"), Weights(tmp_path / "tuned"))
    np.testing.assert_allclose(stored, loaded)
    assert (loaded[..., 0] > 0).all()


def test_small_changes_are_exact() -> None:
    """Query weights times 1 + 1e-9 move their circuit by 1e-9: too little for two norms to show."""
    base = tiny.model("llama").double()
    tuned = tiny.tuned_copy(base, size=0.0)
    with torch.no_grad():
        tuned.model.layers[1].self_attn.q_proj.weight[8:16] *= 1 + 1e-9
    change = circuit_change(Weights(base), Weights(tuned))
    expected = np.zeros((3, 4))
    expected[1, 1] = 1e-9
    np.testing.assert_allclose(change[..., 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(change[..., 2], 0.0)


def test_a_change_of_basis_within_a_head_is_no_change() -> None:
    """Queries and keys may be rotated together: the circuit does not see it, weights do."""
    base = tiny.model("llama", num_key_value_heads=4)
    tuned = tiny.tuned_copy(base, size=0.0)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))[0]
    attention = tuned.model.layers[0].self_attn
    with torch.no_grad():
        for module in (attention.q_proj, attention.k_proj):
            module.weight[:8] = turn @ module.weight[:8]
    assert circuit_change(Weights(base), Weights(tuned))[..., 0].max() < 1e-6


def test_models_of_another_shape_are_refused() -> None:
    base = tiny.model("llama")
    with pytest.raises(PairMismatchError, match=r"has 3 layers and .* has 2"):
        circuit_change(Weights(base), Weights(tiny.model("llama", num_hidden_layers=2)))
    with pytest.raises(PairMismatchError, match="shapes differ"):
        circuit_change(Weights(base), Weights(tiny.model("llama", num_attention_heads=8)))


def test_progress_is_reported() -> None:
    model, calls = tiny.model("llama"), []
    circuit_change(Weights(model), Weights(model), lambda *now: calls.append(now[:2]))
    assert calls == [(0, 3), (1, 3), (2, 3)]
