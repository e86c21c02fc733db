"""Live traces: every key, every mode, errors, interruption and threads."""

from __future__ import annotations

import gc
import json
import re
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.models import architectures
from twinlens.compute.pair import Pair, load_pair
from twinlens.compute.saliency.batch import attribute_prompts
from twinlens.compute.text.prompt import read_prompt
from twinlens.compute.words.word_rows import LOOKED_UP_TOGETHER
from twinlens.contract import blocks, lookup, wire
from twinlens.contract.manifest import manifest_from_json
from twinlens.contract.words import SIDES, Side
from twinlens.errors import AnswerError, Interrupted, PromptError, UnknownBlockError

from tests.support import tiny
from tests.support.forms import alike, has_form


def check_all(trace: LiveTrace) -> list[str]:
    keys = list(trace.keys())
    assert len(keys) == len(set(keys))
    for key in keys:
        value = trace.block(key)
        asked = lookup.read(key, trace.manifest)
        if asked.block.dtype is None:
            assert json.loads(json.dumps(value, allow_nan=False)) == value, key
            assert has_form(value, asked.block.form), (key, value)
        else:
            assert isinstance(value, np.ndarray), key
            assert value.shape == lookup.shape(asked, trace.manifest), key
            assert str(value.dtype) == asked.block.dtype, key
            assert np.isfinite(value).all(), key
        header, buffer = wire.encode(value, causal=lookup.is_causal(key))
        again = wire.decode(header, buffer)
        assert np.array_equal(again, value) if asked.block.dtype else again == value, key
    return keys


def test_every_key_has_the_promised_shape(trace: LiveTrace) -> None:
    keys = check_all(trace)
    assert keys[0] == "findings"
    kinds = {key.split("/")[0] for key in keys}
    recorded = {made.parts[0] for made in blocks.BLOCKS.values() if made.recorded}
    # This prompt has no template, and the update is recorded once it was looked at.
    assert kinds == recorded - {"template", "update"}
    assert sum(key.startswith("attention/") for key in keys) == 2 * 3 * 4


def test_a_trace_is_freed_with_its_last_reference(pair: Pair) -> None:
    made = trace_pair(pair, tiny.PROMPT, max_new_tokens=4)
    for key in list(made.keys()):
        made.block(key)
    gc.collect()
    gc.disable()  # arrays in a cycle would stay until the collector comes
    try:
        trace = weakref.ref(made)
        del made
        assert trace() is None
    finally:
        gc.enable()


def test_manifest(trace: LiveTrace) -> None:
    m = trace.manifest
    assert manifest_from_json(json.loads(json.dumps(m.to_json()))) == m
    assert (m.response, m.shared) == ("tuned", True)
    assert m.answers["base"].tokens == m.answers["tuned"].tokens
    assert m.answers["tuned"].own_text == m.answers["tuned"].text
    assert m.answers["base"].own_text is None
    assert trace.own_answer("base") not in ("", m.answers["base"].text)
    assert next(m.prompt_tokens[i].text for i in m.segment_positions("instruction")) == "Rewrite"


def test_own_answers(pair: Pair) -> None:
    trace = trace_pair(pair, tiny.PROMPT, response="own", max_new_tokens=5)
    assert not trace.manifest.shared
    assert trace.manifest.common_length == trace.manifest.prompt_length
    for side in SIDES:
        assert trace.manifest.answers[side].text == trace.manifest.answers[side].own_text
    assert "disagreement" not in check_all(trace)
    with pytest.raises(UnknownBlockError, match="needs one answer read by both"):
        trace.block("disagreement")


def test_answers_of_different_length(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = iter((3, 5))
    from twinlens.compute.text import answers

    greedy = answers.greedy_answers
    monkeypatch.setattr(
        answers,
        "greedy_answers",
        lambda *a, **k: greedy(*a, **{**k, "limit": next(lengths)}),
    )
    trace = trace_pair(pair, tiny.PROMPT, response="own")
    check_all(trace)
    beyond = trace.manifest.length("base")
    for entry in trace.block(f"neurons/0/{beyond}"):
        assert entry["base"] is None
        assert isinstance(entry["tuned"], float)


def test_given_and_base_answers(pair: Pair) -> None:
    given = trace_pair(pair, tiny.PROMPT, response=" The committee")
    assert given.manifest.response == "given"
    assert [a.text for a in given.manifest.answers.values()] == [" The committee"] * 2
    base = trace_pair(pair, tiny.PROMPT, response="base", max_new_tokens=4)
    assert base.manifest.answers["tuned"].text == base.manifest.answers["base"].own_text


@pytest.mark.parametrize(
    ("response", "generated"),
    [
        ("own", ["base", "tuned"]),
        ("shared", ["tuned"]),
        ("tuned", ["tuned"]),
        ("base", ["base"]),
        (" The committee", []),
    ],
)
def test_only_what_is_read_is_generated(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, response: str, generated: list[Side]
) -> None:
    from twinlens.compute.text import answers

    asked: list[Side] = []
    greedy = answers.greedy_answers

    def counted(*arguments: Any, **options: Any) -> list[list[int]]:
        asked.append(options["side"])
        return greedy(*arguments, **options)

    monkeypatch.setattr(answers, "greedy_answers", counted)
    trace = trace_pair(pair, tiny.PROMPT, response=response, max_new_tokens=3)
    assert asked == generated
    attribute_prompts(pair, [read_prompt(pair, tiny.PROMPT)], responses=response, max_new_tokens=3)
    assert asked == generated * 2
    m = trace.manifest
    assert [side for side in SIDES if m.answers[side].own_text is not None] == generated
    assert manifest_from_json(json.loads(json.dumps(m.to_json()))) == m
    recorded = [key for key in list(trace.keys()) if key.startswith("answer/own")]
    assert recorded == [f"answer/own/{side}" for side in SIDES if side not in generated]
    own = trace_pair(pair, tiny.PROMPT, response="own", max_new_tokens=3).manifest.answers
    for side in SIDES:
        assert trace.own_answer(side) == own[side].text
        trace.block(f"answer/own/{side}")
    assert len(asked) == 2 * len(generated) + 2 + len(recorded), "each is generated once"


def plain_logprobs(trace: LiveTrace, side: Side) -> torch.Tensor:
    ids = [t.id for t in (*trace.manifest.prompt_tokens, *trace.manifest.answers[side].tokens)]
    with trace.pair.model(side) as model, torch.no_grad():
        scores = model(torch.tensor([ids])).logits[0]
    return scores[trace.manifest.prompt_length - 1 : -1].log_softmax(dim=-1)


def test_outputs_against_the_plain_models(trace: LiveTrace) -> None:
    logprobs = {side: plain_logprobs(trace, side) for side in SIDES}
    answer = [t.id for t in trace.manifest.answers["tuned"].tokens]
    for side in SIDES:
        expected = logprobs[side][range(len(answer)), answer]
        np.testing.assert_allclose(trace.array(f"logprob/{side}"), expected, atol=1e-5)
    kl = torch.nn.functional.kl_div(
        logprobs["base"], logprobs["tuned"], log_target=True, reduction="none"
    ).sum(dim=-1)
    np.testing.assert_allclose(trace.array("disagreement"), kl, atol=1e-5)
    # The answer is tuned's own greedy one, so every rival is less likely.
    for rivals, own in zip(trace.block("alternatives/tuned"), logprobs["tuned"], strict=True):
        assert len(rivals) == 5
        assert max(p for _, p in rivals) <= float(own.max().exp()) + 1e-6


def test_lens_reads_where_the_token_is_predicted(trace: LiveTrace) -> None:
    n = trace.manifest.prompt_length
    for m, own in enumerate(trace.array("logprob/tuned")):
        block = trace.block(f"lens/tuned/{n + m}")
        assert block["target"] == trace.manifest.answers["tuned"].tokens[m].text
        assert block["layers"][-1]["logprob"] == pytest.approx(own, abs=1e-5)
        assert block["layers"][-1]["rank"] == 1
    # A prompt token is read where it stands: the lens there answers the token that follows it.
    assert trace.block("lens/base/1")["target"] == trace.manifest.prompt_tokens[2].text
    assert trace.block(f"lens/tuned/{n - 1}") == trace.block(f"lens/tuned/{n}")


def test_shift_and_activations_against_hidden_states(trace: LiveTrace) -> None:
    ids = [t.id for t in (*trace.manifest.prompt_tokens, *trace.manifest.answers["tuned"].tokens)]
    states = {}
    for side in SIDES:
        with trace.pair.model(side) as model, torch.no_grad():
            states[side] = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    for layer in range(3):
        a, b = (states[side][layer][0].numpy() for side in SIDES)
        norms = (np.linalg.norm(a, axis=1) + np.linalg.norm(b, axis=1)) / 2
        np.testing.assert_allclose(
            trace.array("shift/residual")[:, layer],
            np.linalg.norm(b - a, axis=1) / norms,
            rtol=1e-4,
        )
    outputs: list[torch.Tensor] = []
    with trace.pair.model("tuned") as model, torch.no_grad():
        handle = architectures.feed_forward_out(model, 1).register_forward_hook(
            lambda _, inputs, output: outputs.extend((inputs[0][0], output[0]))
        )
        model(torch.tensor([ids]))
        handle.remove()
    neurons, output = outputs
    np.testing.assert_allclose(
        trace.array("activations/tuned/1/neuron/5"), neurons[:, 5], rtol=1e-3, atol=1e-5
    )
    expected = output.numpy() @ trace.pair.concepts.directions("tuned", 1).T
    np.testing.assert_allclose(
        trace.array("activations/tuned/1/components"), expected, rtol=1e-3, atol=1e-4
    )


def test_neurons_list_the_most_active_and_most_changed(trace: LiveTrace) -> None:
    at = trace.manifest.prompt_length + 2
    listed = trace.block(f"neurons/1/{at}")
    activity = {}
    for side in SIDES:
        values = [trace.array(f"activations/{side}/1/neuron/{n}")[at - 1] for n in range(48)]
        activity[side] = np.array(values, np.float32) * trace.pair.concepts.value_norms(side, 1)
    names = [entry["neuron"] for entry in listed]
    for strength in (
        np.abs(activity["base"]),
        np.abs(activity["tuned"]),
        np.abs(activity["tuned"] - activity["base"]),
    ):
        assert set(np.argsort(-strength)[:4].tolist()) <= set(names)
    for entry in listed:
        for side in SIDES:
            stored = trace.array(f"activations/{side}/1/neuron/{entry['neuron']}")[at - 1]
            assert entry[side] == pytest.approx(float(stored), rel=2e-3, abs=1e-5)


def test_heads_write_into_units(trace: LiveTrace) -> None:
    written = trace.array("heads/write/base/1/component:2").astype(np.float32)
    direction = trace.pair.concepts.directions("base", 1)[2]
    np.testing.assert_allclose(
        written.sum(axis=-1).T,
        trace.head_room._subject.captures["base"].attention_out.numpy() @ direction,
        atol=5e-3,
    )
    neuron = trace.array("heads/write/tuned/1/neuron:3")
    assert neuron.shape == (trace.manifest.length("tuned"), 3, 4)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "saliency",
        "saliency/base",
        "saliency/middle/gradient_x_input",
        "saliency/base/magic",
        "saliency/base/occlusion/6",
        "saliency/base/occlusion/-1",
        "saliency/base/occlusion/1/2",
        "attention/base/3/0",
        "attention/base/0/4",
        "attention/base/0/x",
        "attention/base/\u0663/0",
        "heads/magic/base",
        "heads/write/base/0/component:32",
        "heads/write/base/0/neuron:48",
        "heads/write/base/0/magic:1",
        "shift/magic",
        "lens/base/9999",
        "components/3",
        "activations/base/0/neuron/48",
        "neurons/0/9999",
        "neuron/0/48",
        "__proto__",
    ],
)
def test_unknown_keys(trace: LiveTrace, key: str) -> None:
    with pytest.raises(UnknownBlockError) as caught:
        trace.block(key)
    sentence = str(caught.value)
    assert sentence.startswith("there is no ")
    assert "\n" not in sentence
    assert any(repr(part) in sentence or f" {part}" in sentence for part in (key, *key.split("/")))


def test_an_error_names_the_choices(trace: LiveTrace) -> None:
    for key, sentence in (
        ("attention/base/2/12", "there is no head 12 in layer 2: 0 to 3"),
        ("attention/Base/2/1", "there is no model 'Base': one of base, tuned"),
        ("saliency/base/occlusion/9", "there is no answer token 9 of base: 0 to 5"),
    ):
        with pytest.raises(UnknownBlockError) as caught:
            trace.block(key)
        assert str(caught.value) == sentence
    with pytest.raises(UnknownBlockError, match=r"no method 'gradient': one of occlusion, "):
        trace.saliency("base", "gradient")


def test_a_model_that_stops_at_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    from twinlens.compute.text import answers

    given = iter([[1], [5, 6], [5, 6], [1], [1], [1]])
    monkeypatch.setattr(answers, "greedy_answers", lambda *_, **__: [next(given)])
    with pytest.raises(AnswerError, match=r"base model stopped at once.*response=.*template=True"):
        trace_pair(pair, tiny.PROMPT, response="own")
    shared = trace_pair(pair, tiny.PROMPT, response="shared")
    assert shared.block("answer/own/base") == {"text": "", "stopped": True}
    with pytest.raises(AnswerError, match="base model stopped at once"):
        trace_pair(pair, tiny.PROMPT, response="base")
    with pytest.raises(AnswerError, match="tuned model stopped at once"):
        trace_pair(pair, tiny.PROMPT, response="shared")


def test_answers_that_cannot_be_read(pair: Pair) -> None:
    with pytest.raises(AnswerError, match="given response is empty"):
        trace_pair(pair, tiny.PROMPT, response="", max_new_tokens=2)
    with pytest.raises(AnswerError, match="read at most 128: shorten the response to"):
        trace_pair(pair, tiny.PROMPT, response="x" * 200, max_new_tokens=2)
    with pytest.raises(PromptError, match="prompt is empty"):
        trace_pair(pair, "")


def test_stop_tokens_come_from_generation_settings_and_tokenizer(pair: Pair) -> None:
    from twinlens.compute.text.answers import stop_tokens

    class Settings:
        eos_token_id: Any = None

    settings = Settings()
    assert stop_tokens(pair, "base", settings) == {1}
    settings.eos_token_id = 7
    assert stop_tokens(pair, "base", settings) == {1, 7}
    settings.eos_token_id = [7, 8]
    assert stop_tokens(pair, "base", settings) == {1, 7, 8}


def test_end_of_text_is_the_last_answer_token(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    from twinlens.compute.text import answers

    monkeypatch.setattr(answers, "greedy_answers", lambda *_, **__: [[300, 1]])
    answer = trace_pair(pair, tiny.PROMPT).manifest.answers["tuned"]
    last = answer.tokens[-1]
    assert (last.text, last.segment, last.start, last.end) == (
        "</s>",
        "special",
        len(answer.text),
        len(answer.text),
    )
    assert "</s>" not in answer.text
    assert answer.stopped


def test_values_that_overflow_half_precision_stay_exact() -> None:
    from twinlens.contract.wire import half

    assert half(np.array([1e5, 1.0])).dtype == np.float32
    assert half(np.array([6e4, 1.0])).dtype == np.float16


def test_interrupted_saliency_goes_on_where_it_stopped(
    trace: LiveTrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinlens.compute.saliency.gradients.COLUMNS_AT_ONCE", 1)
    key = "saliency/tuned/gradient_x_input"
    calls: list[tuple[int, int]] = []

    def stop(done: int, total: int, _what: str) -> None:
        calls.append((done, total))
        raise Interrupted("something newer")

    with pytest.raises(Interrupted):
        trace.block(key, stop)
    n, m = trace.manifest.prompt_length, trace.manifest.answer_length("tuned")
    [(done, total)] = calls
    assert total == n * m
    assert 0 < done < total
    calls.clear()
    whole = trace.array(key, lambda done, total, _: calls.append((done, total)))
    assert calls[-1] == (n * m - done, n * m - done)
    fresh = LiveTrace(trace.pair, trace.manifest, trace.head_room._subject.captures)
    np.testing.assert_allclose(whole, fresh.array(key), rtol=1e-5, atol=1e-9)
    calls.clear()
    trace.block(f"{key}/3", lambda done, total, _: calls.append((done, total)))
    assert calls == []


def test_one_column_computes_one_column(trace: LiveTrace) -> None:
    calls: list[int] = []
    column = trace.array(
        "saliency/base/gradient_x_input/2", lambda done, total, _: calls.append(total)
    )
    assert calls == [trace.manifest.prompt_length]
    whole = trace.array("saliency/base/gradient_x_input")
    np.testing.assert_allclose(column, whole[:, 2], rtol=1e-5, atol=1e-9)


def test_worker_threads_get_the_same_blocks(trace: LiveTrace) -> None:
    # Agreement depends on how much is exact so far, so on the order of the requests.
    left_out = ("neuron/", "activations/", "faithfulness/")
    keys = [k for k in list(trace.keys()) if not k.startswith(left_out)]
    expected = LiveTrace(trace.pair, trace.manifest, trace.head_room._subject.captures)
    with ThreadPoolExecutor(4) as pool, torch.inference_mode():
        found = list(pool.map(trace.block, keys))
        here = [expected.block(key) for key in keys]
    for key, value, other in zip(keys, found, here, strict=True):
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-6, err_msg=key)
        elif key.startswith("carried/"):
            # What was measured before runs in no batch again, and sums round as a batch is large.
            alike(value, other, rtol=1e-4, atol=1e-5)
        else:
            assert value == other, key


def test_only_what_was_asked_for_is_known(pair: Pair) -> None:
    trace = trace_pair(pair, tiny.PROMPT, max_new_tokens=2)
    assert trace.known("heads/change") is None
    asked = trace.block("heads/change")
    assert trace.known("heads/change") is asked


def test_what_takes_longest_is_computed_once_however_much_is_asked_for(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinlens.compute.live.live._CACHE_BYTES", 1)
    trace = trace_pair(pair, tiny.PROMPT, max_new_tokens=2, response="tuned")
    keys = blocks.findings(), blocks.null(), blocks.carried(None)
    first = [trace.block(key) for key in keys]
    other = blocks.neuron_words(0, 1)
    assert trace.block(other) is trace.block(other)
    trace.block(blocks.neuron_words(0, 2))
    assert trace.known(other) is None
    assert all(trace.block(key) is value for key, value in zip(keys, first, strict=True))


def test_cached_blocks_do_not_wait_for_a_model(trace: LiveTrace) -> None:
    ready = ["heads/change", "components/0", "saliency/base/gradient_x_input", "attention/base/0/0"]
    for key in ready:
        trace.block(key)
    with trace.pair.lock:
        with ThreadPoolExecutor(1) as pool:
            waiting = [pool.submit(trace.block, key) for key in ready]
            assert all(future.result(timeout=5) is not None for future in waiting)
        blocked = threading.Thread(target=trace.block, args=["lens/base/3"], daemon=True)
        blocked.start()
        blocked.join(0.2)
        assert blocked.is_alive()
    blocked.join(5)
    assert not blocked.is_alive()


def test_a_recording_looks_up_neurons_together_and_finds_the_same(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, alone = (trace_pair(pair, tiny.PROMPT, max_new_tokens=3) for _ in range(2))
    calls: list[int] = []
    neurons = pair.concepts.neurons

    def counted(places: list[tuple[int, int]]) -> list[dict[str, Any]]:
        calls.append(len(places))
        return neurons(places)

    monkeypatch.setattr(pair.concepts, "neurons", counted)
    keys = [key for key in list(recorded.keys()) if re.fullmatch(r"neuron/\d+/\d+", key)]
    # Whoever looks at one does not wait for the others.
    recorded.block(keys[-1])
    assert calls == [1]
    together = [recorded.block(key) for key in keys]
    assert sum(calls) == len(keys)
    assert len(calls) == 1 + -(-(len(keys) - 1) // (LOOKED_UP_TOGETHER // 2))
    assert [alone.block(key) for key in keys] == together


def test_recordings_of_small_models_hold_what_the_panels_reach_in_every_layer(
    trace: LiveTrace,
) -> None:
    keys, m = set(trace.keys()), trace.manifest
    for layer in range(m.pair.layers):
        for token in range(m.answer_length("tuned")):
            at = m.prompt_length + token
            assert blocks.unit_effects(layer, at) in keys
            for side in SIDES:
                assert blocks.exchanged_heads(side, None, token, layer) in keys
                assert blocks.exchanged_heads(side, at, token, layer) in keys


def test_arrays_cannot_be_changed_by_their_reader(trace: LiveTrace) -> None:
    for key in ("heads/change", "attention/base/0/0", "saliency/base/gradient_x_input"):
        with pytest.raises(ValueError, match="read-only"):
            trace.array(key)[0] = 0


def test_sequential_memory_gives_the_same_numbers(
    folders: tuple[Path, Path], trace: LiveTrace
) -> None:
    alone = trace_pair(
        load_pair(*folders, memory="sequential"),
        tiny.PROMPT,
        instruction=tiny.INSTRUCTION,
        context="The committee concurred.",
        response="shared",
        max_new_tokens=6,
    )
    assert alone.manifest == trace.manifest
    # What needs both models at once says so; the rest is the same.
    keys = [key for key in list(alone.keys()) if key != "findings"]
    assert alone.block("findings")[0]["text"][0][1].endswith('load the pair with memory="both"')
    assert not any(key.startswith("neuron/") for key in keys)
    for key in keys:
        value, other = alone.block(key), trace.block(key)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, other, err_msg=key)
        else:
            # What stands in front of a token is kept while both are loaded: it was read in a longer
            # text, where products round otherwise. Four digits are given.
            alike(value, other, rtol=1.1e-3, atol=2e-6)
        assert len(alone.pair._resident) == 1


def test_models_in_inference_mode_callers_still_give_gradients(trace: LiveTrace) -> None:
    with torch.inference_mode():
        inside = trace.array("saliency/base/gradient_x_input/0")
    fresh = LiveTrace(trace.pair, trace.manifest, trace.head_room._subject.captures)
    np.testing.assert_allclose(
        inside, fresh.array("saliency/base/gradient_x_input/0"), rtol=1e-5, atol=1e-9
    )


def test_trace_reports_its_steps(pair: Pair) -> None:
    said: list[str] = []
    trace_pair(pair, tiny.PROMPT, max_new_tokens=2, report=lambda _d, _t, what: said.append(what))
    assert set(said) == {
        "answer of base",
        "answer of tuned",
        "reading with tuned",
        "reading with base",
    }
