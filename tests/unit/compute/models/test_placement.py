"""Arguments as users of transformers give them: what is meant, or one sentence."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import load_pair
from twinlens.errors import ArgumentError

from tests.support import tiny


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("bfloat16", "bfloat16"),
        ("torch.float16", "float16"),
        (torch.bfloat16, "bfloat16"),
        ("auto", "float32"),
        (None, "float32"),
    ],
)
def test_dtype(folders: tuple[Path, Path], given: Any, meant: str) -> None:
    assert load_pair(*folders, dtype=given, memory="sequential").info.base.dtype == meant


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"dtype": "half-ish"}, 'dtype is one of "auto", "float32", .* not \'half-ish\''),
        ({"dtype": torch.int8}, r"dtype is one of .* not torch\.int8"),
        ({"device": "gpu"}, "device is one of \"cpu\".* on this machine, not 'gpu'"),
        ({"device": "cuda:97"}, "device is one of \"cpu\".* not 'cuda:97'"),
        ({"attn_implementation": "sdpa"}, "attn_implementation is \"eager\", not 'sdpa'"),
    ],
)
def test_what_is_none_of_the_choices(
    folders: tuple[Path, Path], argument: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        load_pair(*folders, **argument)


def test_the_attention_that_is_used_may_be_asked_for(folders: tuple[Path, Path]) -> None:
    load_pair(*folders, attn_implementation="eager", device=torch.device("cpu"))


def test_a_folder_of_a_tokenizer_alone(folders: tuple[Path, Path], tmp_path: Path) -> None:
    tiny.tokenizer().save_pretrained(tmp_path)
    pair = load_pair(*folders, tokenizer=tmp_path)
    assert pair.tokenizers["base"] is pair.tokenizers["tuned"]
    assert load_pair(*folders, tokenizer=tiny.tokenizer()).vocabulary == pair.vocabulary
    with pytest.raises(ArgumentError, match="not of type object"):
        load_pair(*folders, tokenizer=object())  # type: ignore[arg-type]


def test_double_precision_in_blocks_about_words(folders: tuple[Path, Path]) -> None:
    pairs = [load_pair(*folders, dtype=dtype) for dtype in ("float64", "float32")]
    traces = [trace_pair(pair, tiny.PROMPT, response=" plain") for pair in pairs]
    keys = ("neuron/1/3", "components/1", "components/1/ends", "heads/write/base/1/neuron:3")
    for key in keys:
        double, single = (trace.block(key) for trace in traces)
        assert type(double) is type(single), key
        if isinstance(double, np.ndarray):
            np.testing.assert_allclose(double, single, rtol=1e-3, atol=1e-5)
    for pair in pairs:
        pair.word_pairs(top=2, cache=False)
        assert pair.concepts.find("plain")["base"]


def test_one_source_is_held_once(folders: tuple[Path, Path]) -> None:
    pair = load_pair(folders[0], folders[0])
    with pair.model("base") as base, pair.model("tuned") as tuned:
        assert base is tuned
    one, two = load_pair(*folders), load_pair(folders[0], folders[0], memory="sequential")
    assert one._resident["base"] is not one._resident["tuned"]
    for side in ("base", "tuned"):
        with two.model(side):  # type: ignore[arg-type]
            pass
    assert two._resident["base"] is two._resident["tuned"]


def test_a_pair_pickles_after_its_panels_were_used(folders: tuple[Path, Path]) -> None:
    pair = load_pair(*folders)
    trace = trace_pair(pair, tiny.PROMPT, response=" plain")
    for key in ("word_pairs/info", "heads/circuits", "components/0", "rotation"):
        trace.block(key)
    again = pickle.loads(pickle.dumps(pair))
    assert again.info == pair.info
    np.testing.assert_array_equal(
        trace_pair(again, tiny.PROMPT, response=" plain").array("heads/circuits"),
        trace.array("heads/circuits"),
    )
