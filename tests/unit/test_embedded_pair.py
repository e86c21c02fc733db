"""The shipped pair does what its card says, and its recipe still draws the same evaluation set."""

from __future__ import annotations

import json
import re
from itertools import islice

import pytest

from gallery.embedded_pair.answers import answer, prompt_ids
from gallery.embedded_pair.checks import exact, members, mentions, passes
from gallery.embedded_pair.documents import documents
from gallery.embedded_pair.evaluation_set import draw_set, read_set
from gallery.embedded_pair.examples import example_prompts
from gallery.embedded_pair.export import DEMO, hashes, load_model
from gallery.embedded_pair.rows import dialogues
from gallery.embedded_pair.tasks import all_tasks
from gallery.embedded_pair.tokenizer import load_tokenizer
from gallery.embedded_pair.world import load_world
from tests.support.places import ROOT

pytestmark = pytest.mark.slow

SLICE = 10


@pytest.fixture(scope="module")
def rows():
    return read_set()[::SLICE]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(DEMO / "tuned")


def rate(model, tokenizer, rows, template):
    got = answer(model, tokenizer, [row["prompt"] for row in rows], template)
    good = [passes(row["check"], a.text) for row, a in zip(rows, got, strict=True)]
    return sum(good) / len(good), sum(a.stopped for a in got) / len(got)


def test_files_have_the_hashes_of_the_card():
    card = (DEMO / "README.md").read_text(encoding="utf-8")
    written = dict(re.findall(r"\| `([\w./]+)` \| `([0-9a-f]{64})` \|", card))
    assert written == hashes()


def test_tuned_follows_as_often_as_the_card_says(rows, tokenizer):
    report = json.loads((ROOT / "gallery/embedded_pair/report.json").read_text(encoding="utf-8"))
    said = report["success"]["tuned, template"]["all"]
    followed, stopped = rate(load_model(DEMO / "tuned"), tokenizer, rows, template=True)
    assert len(rows) >= 100
    # a slice of a hundred: two standard errors around the mean of both kinds of wording
    assert followed == pytest.approx((said["known"] + said["new"]) / 2, abs=0.08)
    assert stopped >= 0.95


@pytest.mark.parametrize("template", [True, False])
def test_base_goes_on_and_does_not_follow(rows, tokenizer, template):
    followed, _ = rate(load_model(DEMO / "base"), tokenizer, rows[::2], template)
    assert followed <= 0.05


def test_bundled_prompts_are_followed(tokenizer):
    prompts = json.loads((DEMO / "prompts.json").read_text(encoding="utf-8"))
    assert prompts == example_prompts()
    assert len(prompts) >= 12
    for row in prompts:
        assert row["instruction"] in row["prompt"]
        assert row["context"] in row["prompt"]
    first = answer(load_model(DEMO / "tuned"), tokenizer, [prompts[0]["prompt"]], template=True)[0]
    assert first.text == "THE SMALL DOG SLEEPS IN THE GARDEN."


def test_pair_shares_tokenizer_and_shape():
    base, tuned = (json.loads((DEMO / n / "config.json").read_text()) for n in ("base", "tuned"))
    assert base == tuned
    assert base["num_key_value_heads"] < base["num_attention_heads"]
    assert base["max_position_embeddings"] >= 512
    shared = [(DEMO / n / "tokenizer.json").read_bytes() for n in ("base", "tuned")]
    assert shared[0] == shared[1]
    assert sum(p.stat().st_size for p in DEMO.rglob("*.safetensors")) < 24e6


def test_tokenizer_gives_whole_words_and_loses_nothing(tokenizer):
    text = "The small dog sleeps in the garden. Zyx, façade 42!\n### Request"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    pieces = tokenizer.tokenize("The small dog sleeps in the garden.")
    assert [p.removeprefix("Ġ") for p in pieces] == [
        "The",
        "small",
        "dog",
        "sleeps",
        "in",
        "the",
        "garden",
        ".",
    ]
    asked = tokenizer.decode(prompt_ids(tokenizer, "Say hello to Ida.", template=True))
    assert asked == "<s>### Request\nSay hello to Ida.\n### Response\n"


def test_evaluation_set_is_the_one_drawn_before_training():
    drawn = [(wording, request.prompt) for wording, request in draw_set(load_world(), all_tasks())]
    assert [(row["wording"], row["prompt"]) for row in read_set()] == drawn
    assert len(drawn) == len(set(drawn)) >= 500


def test_evaluation_prompts_are_neither_in_the_tuning_nor_in_the_base_text():
    world = load_world()
    prompts = {row["prompt"] for row in read_set()}
    assert not any(p in prompts for p, _ in islice(dialogues(world, all_tasks(), 77), 20_000))
    first_lines = {text.split("\n")[0] for text in islice(documents(world, 21), 20_000)}
    assert not prompts & first_lines


def test_checks_are_strict():
    assert passes(exact("The capital of Japan is Tokyo."), "\nThe capital of Japan is Tokyo.")
    assert not passes(exact("Tokyo."), "Tokyo. Tokyo.")
    assert passes(members(["pear", "plum", "pea"], 2), "pear, pea")
    assert not passes(members(["pear", "plum", "pea"], 2), "pear, pear")
    story = mentions(["Anna", "owl"], (2, 3))
    assert passes(story, "Anna saw an owl. It sang.")
    assert not passes(story, "Anna saw an owl")
