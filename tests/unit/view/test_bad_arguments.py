"""What `explore` cannot use is refused in one line that says what can be, before a model runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import twinlens as tl
from twinlens.compute.models.models import Models
from twinlens.compute.pair import Pair
from twinlens.errors import (
    AnswerError,
    ArgumentError,
    PromptError,
    TwinlensError,
    UnknownBlockError,
)

TEXT = "Name the opposite. hot"
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": TEXT}]
CHOICES = 'use "shared", "own", "base", "tuned"'
LONE = "half \ud83d of it"


@pytest.fixture(scope="module")
def demo() -> Pair:
    return tl.demo_pair()


PROMPTS: list[tuple[Any, str]] = [
    (None, "the prompt is None: write a text"),
    (3, "the prompt is of type int"),
    (2.5, "the prompt is of type float"),
    (True, "the prompt is of type bool"),
    (b"hot", "the prompt is of type bytes"),
    ({"role": "user", "content": "hot"}, "the prompt is of type dict"),
    (iter("hot"), "write a text"),
    (np.array([1, 2, 3]), "the prompt is of type ndarray"),
    (object(), "the prompt is of type object"),
    ("", "the prompt is empty"),
    (" \n\t", "the prompt is empty"),
    (LONE, r"half a character at place 5 .*\\ud83d.*remove it"),
    ("\udcff", "half a character at place 0"),
    ([], "empty list: give messages"),
    ((), "empty list: give messages"),
    ([1, 2, 3], r'entry 0 is of type int: a prompt is one text, or a list of messages \{"role"'),
    (["hot", "cold"], "entry 0 is a text: .*call once for each prompt"),
    ([None], "entry 0 is None"),
    ([[1, 2]], "entry 0 is of type list"),
    ([{"content": "hot"}], r'message 0 has no role: write it as \{"role": "user"'),
    ([{"role": 3, "content": "hot"}], "message 0 has no role"),
    ([{"role": "user"}], "the prompt is empty"),
    ([{"role": "user", "content": None}], "the prompt is empty"),
    ([{"role": "user", "content": " "}], "the prompt is empty"),
    ([{"role": "user", "content": 3}], "content of message 0 is of type int: write a text"),
    ([{"role": "user", "content": {"text": "hot"}}], "content of message 0 is of type dict"),
    ([{"role": "user", "content": LONE}], "message 0 holds half a character"),
    (
        [{"role": "user", "content": [{"type": "image"}]}],
        "message 0 holds a part that is image, .*text alone",
    ),
    ([{"role": "user", "content": ["hot"]}], "message 0 holds a part that is of type str"),
    ([{"role": "user", "content": "hot"}, "cold"], "entry 1 is a text"),
]

ANSWERS: list[tuple[Any, str]] = [
    (None, f"response= is None: {CHOICES}, or the text"),
    (3, f"response= is of type int: {CHOICES}"),
    (True, "response= is of type bool"),
    (b"cold", "response= is of type bytes"),
    (["cold"], "response= is of type list"),
    ([5, 6], "response= is of type list"),
    ({"base": "cold"}, "response= is of type dict"),
    ("", "response is empty: write at least one word"),
    ("  ", "response is empty"),
    ("Shared", f'no response "Shared": {CHOICES}; to explain the word itself pass answer="Shared"'),
    ("BASE", 'no response "BASE": .*answer="BASE"'),
    ("Tuned", 'no response "Tuned"'),
    ("OWN", 'no response "OWN"'),
    ("given", 'no response "given": .*answer="given"'),
    (LONE, "the given response holds half a character at place 5"),
    ("cold " * 2000, "shorten the response to"),
]

OTHERS: list[tuple[dict[str, Any], type[TwinlensError], str]] = [
    ({"answer": 3}, AnswerError, "answer= is of type int: write the text"),
    ({"answer": ["cold"]}, AnswerError, "answer= is of type list"),
    ({"answer": ""}, AnswerError, "response is empty"),
    ({"answer": LONE}, AnswerError, "half a character"),
    *(
        ({"max_new_tokens": bad}, AnswerError, "max_new_tokens is a whole number such as 64, not")
        for bad in (None, "8", 8.0, 2.5, True, [8], np.float32(8))
    ),
    ({"max_new_tokens": 0}, AnswerError, "max_new_tokens must be at least 1, not 0"),
    ({"max_new_tokens": -3}, AnswerError, "max_new_tokens must be at least 1"),
    ({"max_new_tokens": "8", "response": "cold"}, AnswerError, "max_new_tokens is a whole"),
    ({"max_new_tokens": 10**6}, PromptError, r"read at most \d+: lower max_new_tokens to \d+$"),
    *(
        ({name: bad}, PromptError, rf"{name}= is a text or \(start, end\) in characters, or a list")
        for name in ("instruction", "context")
        for bad in (5, (5,), (1, 2, 3), {"a": 1}, [None], [("a", "b")], 2.5, b"hot", [[1]])
    ),
    ({"instruction": ""}, PromptError, "span '' is not in the prompt; the nearest match"),
    ({"instruction": "Name a"}, PromptError, "nearest match is 'Name the'"),
    ({"instruction": LONE}, PromptError, "instruction= holds half a character"),
    ({"context": (5, 2)}, PromptError, r"span \(5, 2\) is not in the prompt, which has 22"),
    ({"context": (0, 99)}, PromptError, r"span \(0, 99\)"),
    *(
        ({"template": bad}, PromptError, 'there is no template .* "tuned", "base", and False')
        for bad in ("Tuned", "none", "chatml", 3, b"tuned", ["tuned"])
    ),
    ({"tools": [str]}, PromptError, "tools= needs a chat template"),
    ({"tools": {"name": "x"}}, PromptError, "tools= is a list of functions or JSON schemas"),
    ({"chat": {"enable_thinking": False}}, PromptError, "chat= needs a chat template"),
    ({"chat": [1], "template": True}, PromptError, "chat= holds settings of the chat template"),
    ({"chat": {3: 4}, "template": True}, PromptError, "chat= holds settings"),
    (
        {"system": "Be brief."},
        ArgumentError,
        "no argument system: known are instruction, .*chat, token",
    ),
    ({"seed": 0}, ArgumentError, "there is no argument seed: known are instruction"),
    ({"do_sample": True, "top_p": 0.9}, ArgumentError, "no argument do_sample, top_p: "),
    ({"_manifest": {}}, ArgumentError, "no argument _manifest: "),
    (
        {"method": "gradient"},
        ArgumentError,
        "no saliency method 'gradient': use one of occl",
    ),
    ({"method": 3}, ArgumentError, "method=3 cannot be: method is a text"),
    ({"theme": "pink"}, ArgumentError, "theme='pink' cannot be: use one of auto, light, dark"),
    ({"presentation": "yes"}, ArgumentError, "presentation is True or False"),
    ({"token": "3"}, ArgumentError, "token is a whole number"),
    ({"token": -2}, ArgumentError, "no token -2: 0 or more; -1 selects none"),
    ({"layer": 99}, ArgumentError, r"no layer 99: 0 to \d+; -1"),
    ({"layer": 1.5}, ArgumentError, "layer is a whole number"),
    ({"layer": 0, "head": 99}, ArgumentError, r"no head 99: 0 to \d+"),
    ({"head": 1}, ArgumentError, "head=1 needs a layer: set layer="),
    ({"unit": "component:1"}, ArgumentError, "needs a layer"),
    ({"labels": "none"}, ArgumentError, "labels is a dictionary"),
    ({"layer": True}, ArgumentError, "layer=True cannot be: layer is a whole number"),
    ({"layer": 0, "unit": "head:1"}, ArgumentError, "neither 'component:K' nor 'neuron:N'"),
    (
        {"layer": 0, "unit": "neuron:99999"},
        ArgumentError,
        r"no neuron 99999: 0 to \d+; ",
    ),
    ({"labels": {"one": {}}}, ArgumentError, "'one' is no component: write layer/component"),
    ({"marks": "all"}, ArgumentError, "give a list of"),
    (
        {"marks": [(0, 99, "context")]},
        ArgumentError,
        "not lie in the prompt: 0 <= ",
    ),
    ({"marks": [(0, 1, "answer")]}, ArgumentError, "'instruction' or 'context', not 'answer'"),
    ({"marks": [3]}, ArgumentError, r"mark 3 is not \(start, end, segment\)"),
    ({"token": 99}, ArgumentError, r"no token 99: 0 to \d+; -1 selects none"),
    ({"token": 20, "answer": "cold"}, ArgumentError, r"no token 20: 0 to \d+; -1 selects none"),
]

CASES = [
    *((prompt, {}, PromptError, says) for prompt, says in PROMPTS),
    *((TEXT, {"response": response}, AnswerError, says) for response, says in ANSWERS),
    *((TEXT, options, error, says) for options, error, says in OTHERS),
]


@pytest.mark.parametrize(
    ("prompt", "options", "error", "says"), CASES, ids=[str(i) for i in range(len(CASES))]
)
def test_it_is_refused_in_one_line_before_a_model_runs(
    demo: Pair,
    monkeypatch: pytest.MonkeyPatch,
    prompt: Any,
    options: dict[str, Any],
    error: type[TwinlensError],
    says: str,
) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("a model ran")

    monkeypatch.setattr(Models, "model", run)
    with pytest.raises(error, match=says) as caught:
        tl.explore(demo, prompt, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", ["Base", "", None, 3])
def test_a_side_is_base_or_tuned(demo: Pair, side: Any) -> None:
    trace = tl.explore(demo, TEXT, answer=" cold").trace
    for ask in (trace.saliency, trace.own_answer, trace.head_effect):
        with pytest.raises(UnknownBlockError, match=r"one of base, tuned|no block"):
            ask(side)
    for key in (None, 3, "", "attention/base"):
        with pytest.raises(UnknownBlockError, match=r"no block|a block is named by a text"):
            trace.block(key)  # type: ignore[arg-type]


@pytest.mark.parametrize("pair", [None, "demo", ("base", "tuned"), object()])
def test_a_pair_is_a_pair(pair: Any) -> None:
    with pytest.raises(ArgumentError, match="give explore a pair from load_pair or demo_pair"):
        tl.explore(pair, TEXT)


@pytest.mark.parametrize("word", ["base", "tuned", "own", "shared", "Shared", "given"])
def test_any_word_can_be_the_answer(demo: Pair, word: str) -> None:
    explorer = tl.explore(demo, TEXT + " ", answer=word)
    answer = explorer.trace.manifest.answers
    assert [answer[side].text for side in ("base", "tuned")] == [word, word]
    assert explorer.trace.manifest.response == "given"
    explorer.close()


def test_numbers_of_other_libraries_are_numbers(demo: Pair) -> None:
    explorer = tl.explore(
        demo,
        TEXT,
        instruction=(np.int64(0), np.int64(4)),
        max_new_tokens=np.int32(2),
        response="tuned",
    )
    m = explorer.trace.manifest
    marked = "".join(m.prompt_tokens[i].text for i in m.segment_positions("instruction"))
    assert marked.strip() == "Name"
    assert m.answer_length("tuned") <= 2
    assert m.parameters["max_new_tokens"] == 2
    assert type(m.parameters["max_new_tokens"]) is int
    explorer.close()
