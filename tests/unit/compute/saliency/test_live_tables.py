"""Saliency in a live trace: order, rivals, progress so far, agreement, recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.pair import Pair
from twinlens.compute.saliency import occlusion
from twinlens.compute.saliency.live_tables import stand_ins
from twinlens.contract.words import SIDES
from twinlens.errors import Interrupted, UnknownBlockError
from twinlens.measures.differences import faithfulness
from twinlens.measures.effect_shares import effect_shares
from twinlens.traces import recording
from twinlens.traces.marks import groups

from tests.support import tiny

KEY = "saliency/tuned/occlusion"


def stop_after(count: int):  # type: ignore[no-untyped-def]
    seen: list[int] = []

    def report(done: int, _total: int, _what: str) -> None:
        seen.append(done)
        if len(seen) == count:
            raise Interrupted("enough")

    return report


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occlusion, "_ON_CPU", (2, 256))


@pytest.mark.usefixtures("few_at_once")
def test_exact_cells_come_in_the_order_of_attention(trace: LiveTrace) -> None:
    by_token = trace.array("heads/received/tuned").astype(np.float32).sum(axis=(1, 2))
    assert np.isnan(trace.array(f"{KEY}/so_far")).all()
    with pytest.raises(Interrupted):
        trace.block(KEY, stop_after(2))
    so_far = trace.array(f"{KEY}/so_far")
    done = np.flatnonzero(np.isfinite(so_far).all(axis=1)).tolist()
    pairs = by_token[: len(by_token) // 2 * 2].reshape(-1, 2).max(axis=1)
    first, second = np.argsort(-pairs, kind="stable")[:2]
    assert done == sorted([2 * first, 2 * first + 1, 2 * second, 2 * second + 1])
    whole = trace.array(KEY)
    np.testing.assert_array_equal(whole[done], so_far[done])
    np.testing.assert_array_equal(trace.array(f"{KEY}/so_far"), whole)


@pytest.mark.usefixtures("few_at_once")
def test_agreement_grows_with_the_exact_cells(trace: LiveTrace) -> None:
    key = "faithfulness/tuned/attention_knockout"
    nothing = trace.block(key)
    assert (nothing["n"], nothing["spearman"]) == (0, None)
    json.dumps(nothing, allow_nan=False)
    with pytest.raises(Interrupted):
        trace.block(KEY, stop_after(3))
    some = trace.block(key)
    assert 0 < some["n"] < some["cells"]
    everything = trace.faithfulness("tuned", "attention_knockout")
    scored = trace.manifest.segment_positions("instruction", "context", "other")
    expected = faithfulness(trace.saliency("tuned", "attention_knockout"), trace.array(KEY), scored)
    assert everything.to_json() == expected.to_json()
    assert everything.n == everything.cells == trace.block(key)["n"]
    itself = trace.faithfulness("tuned", "occlusion")
    assert itself.spearman == pytest.approx(1)


def test_contrast_is_against_the_other_model(trace: LiveTrace) -> None:
    own, other = (trace.saliency_room.tables._subject.captures[side].logprobs for side in SIDES)
    rivals = trace.saliency_room.tables._rivals("base")
    assert rivals == other.argmax(dim=-1).tolist()
    assert rivals != own.argmax(dim=-1).tolist() or trace.manifest.response != "tuned"


def test_own_answers_have_no_common_rival(pair: Pair) -> None:
    trace = trace_pair(pair, tiny.PROMPT, response="own", max_new_tokens=3)
    assert trace.saliency_room.tables._rivals("base") is None
    assert np.isfinite(trace.array("saliency/base/gradient_x_input_contrast")).all()


def test_both_models_get_the_same_replacements(trace: LiveTrace) -> None:
    words = stand_ins(trace.pair, trace.manifest.prompt_length)
    assert words == stand_ins(trace.pair, trace.manifest.prompt_length)
    assert len(words) == trace.manifest.prompt_length
    assert max(words) < trace.pair.vocabulary


def test_a_group_has_one_effect(trace: LiveTrace) -> None:
    tokens = trace.manifest.prompt_tokens
    for unit in ("word", "sentence", "segment"):
        values = trace.array(f"saliency/tuned/occlusion_{unit}")
        listed = cast(list[list[int]], trace.block(f"groups/{unit}"))
        assert listed == groups(tokens, unit)
        assert 1 < len(listed) < len(tokens)
        for group in listed:
            assert (values[group] == values[group[0]]).all()
    shares = effect_shares(trace, "tuned", "occlusion_segment")
    assert sum(shares.overall.values()) == pytest.approx(1)
    by_segment = trace.array("saliency/tuned/occlusion_segment").clip(0)
    first = {token.segment: by_segment[i].sum() for i, token in enumerate(tokens)}
    expected = first["instruction"] / sum(first.values())
    assert shares.overall["instruction"] == pytest.approx(expected, rel=1e-5)


def test_deletion_curve_of_the_truth_is_above_its_reverse(trace: LiveTrace) -> None:
    curve = trace.deletion("tuned", "occlusion")
    assert (curve.share[0], curve.share[-1]) == (0, 1)
    assert len(curve.share) == len(curve.most) == len(curve.least)
    assert sum(curve.most) > sum(curve.least)
    assert curve.most[-1] == pytest.approx(curve.least[-1], rel=1e-5)
    assert trace.block("deletion/tuned/occlusion") == curve.to_json()


def test_recordings_keep_what_was_computed(trace: LiveTrace, tmp_path: Path) -> None:
    for side in ("base", "tuned"):
        trace.block(f"saliency/{side}/occlusion_word")
    blocks = ("saliency", "faithfulness", "deletion")
    listed = [key for key in list(trace.keys()) if key.split("/")[0] in blocks]
    kept = ["occlusion", "occlusion_word", "gradient_x_input", "attention_knockout"]
    assert listed == [
        f"{block}/{side}/{name}" for block in blocks for side in ("base", "tuned") for name in kept
    ]
    opened = recording.read(recording.write(trace, tmp_path / "trace.twl"))
    assert [m.name for m in opened.manifest.methods] == kept
    for name in kept:
        assert opened.faithfulness("base", name) == trace.faithfulness("base", name)
        assert opened.faithfulness("base", name).n > 0


@pytest.mark.parametrize(
    "key",
    [
        "saliency/tuned/occlusion/so_far/1",
        "saliency/tuned/occlusion/99",
        "faithfulness/tuned/magic",
        "faithfulness/both/occlusion",
        "groups/letter",
    ],
)
def test_unknown_keys(trace: LiveTrace, key: str) -> None:
    with pytest.raises(UnknownBlockError):
        trace.block(key)
