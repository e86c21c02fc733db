"""Components from files: vocabularies, both ends, the cache, every family, planted concepts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.decomposition import PCA
from twinlens.commands.main import twinlens
from twinlens.compute.concepts import components as subject
from twinlens.compute.concepts.compare import compare_concepts
from twinlens.compute.concepts.components import ConceptSettings, LayerComponents, layer_components
from twinlens.compute.concepts.rotation import RotationSettings, rotation
from twinlens.compute.models import architectures
from twinlens.compute.models.weights import Weights
from twinlens.compute.pair import Pair, load_pair
from twinlens.compute.words.word_rows import WordRows, word_rows
from twinlens.errors import (
    HeadIndexError,
    Interrupted,
    NotFiniteError,
    PairMismatchError,
    VocabularyError,
)
from twinlens.labels.annotate import write_annotations
from twinlens.labels.questions import Annotation, Component, LabelQuestion
from twinlens.weights.vocabulary import vocabulary

from tests.support import tiny

WORDS = vocabulary(["dog", "sentence", "committee", "capital letters", "garden", "Rewrite"])
SMALL = ConceptSettings(components=5, words=4, vocabulary=WORDS, cache=False)


def components(
    source: Any, tokenizer: Any, *, settings: ConceptSettings, **options: Any
) -> tuple[dict[int, LayerComponents], WordRows]:
    """Components of one model, and the words they are described with."""
    weights = source if isinstance(source, Weights) else Weights(source)
    words = word_rows(tokenizer, weights.output_embeddings(), settings.chosen())
    return layer_components(weights, words, settings, **options), words


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"mlp_bias": True, "attention_bias": True}),
        ("gpt2", {}),
        ("gpt_neox", {}),
        ("gemma2", {}),
        ("phi3", {}),
    ],
)
def test_every_family_from_files(architecture: str, changes: dict, tmp_path: Path) -> None:
    model = tiny.model(architecture, **changes)
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    found, words = components(tmp_path, tiny.tokenizer(), settings=SMALL)
    loaded, _ = components(model, tiny.tokenizer(), settings=SMALL)
    weight = architectures.unembedding(model).double().numpy()
    made = tiny.tokenizer()
    ids = made([f" {word}" for word in WORDS.words], add_special_tokens=False)["input_ids"]
    # A lone blank in front says nothing about the word.
    ids = [tokens[1:] if made.decode(tokens[:1]) == " " else tokens for tokens in ids]
    vectors = np.stack([weight[tokens].mean(axis=0) for tokens in ids])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert words.words == list(WORDS.words)
    for layer in range(3):
        module = architectures.feed_forward_out(model, layer)
        linear = isinstance(module, torch.nn.Linear)
        values = (module.weight.T if linear else module.weight).detach().double().numpy()
        theirs = PCA(5, svd_solver="full").fit(values)
        basis = found[layer].basis
        np.testing.assert_allclose(basis.explained, theirs.explained_variance_ratio_, rtol=1e-6)
        cosines = (basis.directions * theirs.components_).sum(axis=1)
        np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-6)
        np.testing.assert_array_equal(loaded[layer].ends.words, found[layer].ends.words)
        for k, direction in enumerate(basis.directions):
            exact = dict(zip(WORDS.words, vectors @ direction, strict=True))
            order = sorted(exact, key=lambda word: -abs(exact[word]))[:4]
            said = found[layer].ends.both(words.words, k, 4)
            assert [word for word, _ in said] == order
            np.testing.assert_allclose([c for _, c in said], [exact[w] for w in order], atol=1e-5)
            ends = [found[layer].ends.named(words.words, end, k) for end in (0, 1)]
            for sign, end in zip((1, -1), ends, strict=True):
                best = sorted((-sign * c, w) for w, c in exact.items() if sign * c > 0)[:4]
                assert [word for word, _ in end] == [word for _, word in best]
            assert exact[order[0]] > 0, "the end with the strongest word is the positive one"


def test_finished_layers_are_kept_and_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.model("llama").save_pretrained(tmp_path / "model")
    settings = ConceptSettings(components=5, words=4, vocabulary=WORDS, cache=tmp_path / "kept")
    computed: list[int] = []
    real = subject.principal_components

    def counted(*inputs):  # type: ignore[no-untyped-def]
        computed.append(1)
        return real(*inputs)

    monkeypatch.setattr(subject, "principal_components", counted)

    def stop(done: int, total: int, what: str) -> None:
        if done == 2:
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        components(tmp_path / "model", tiny.tokenizer(), settings=settings, report=stop)
    assert len(computed) == 2
    found, _ = components(tmp_path / "model", tiny.tokenizer(), settings=settings)
    assert len(computed) == 3, "the two finished layers are not computed again"
    again, _ = components(tmp_path / "model", tiny.tokenizer(), settings=settings)
    assert len(computed) == 3
    for layer in range(3):
        np.testing.assert_array_equal(again[layer].basis.directions, found[layer].basis.directions)
        np.testing.assert_array_equal(again[layer].ends.words, found[layer].ends.words)
    # Other words, another rank, other weights: other results. A damaged file counts as none.
    next((tmp_path / "kept").glob("*.npz")).write_bytes(b"damaged")
    components(tmp_path / "model", tiny.tokenizer(), settings=settings)
    assert len(computed) == 4
    fewer = ConceptSettings(components=4, words=4, vocabulary=WORDS, cache=tmp_path / "kept")
    components(tmp_path / "model", tiny.tokenizer(), settings=fewer, layers=[0])
    assert len(computed) == 5
    tiny.model("llama", seed=3).save_pretrained(tmp_path / "other")
    components(tmp_path / "other", tiny.tokenizer(), settings=settings, layers=[0])
    assert len(computed) == 6


def test_a_planted_concept_is_found_and_named(tmp_path: Path) -> None:
    model = tiny.model("llama")
    rows = architectures.unembedding(model)
    ids = tiny.tokenizer()([" dog", " garden"], add_special_tokens=False)["input_ids"]
    dog, garden = (torch.nn.functional.normalize(rows[i].mean(dim=0), dim=0) for i in ids)
    axis = torch.nn.functional.normalize(dog - garden, dim=0)
    with torch.no_grad():
        weight = architectures.feed_forward_out(model, 1).weight
        weight += 5 * axis[:, None] * torch.linspace(-1, 1, weight.shape[1])
    model.save_pretrained(tmp_path)
    found, words = components(tmp_path, tiny.tokenizer(), settings=SMALL)
    leading = [found[1].ends.named(words.words, end, 0)[0][0] for end in (0, 1)]
    assert set(leading) == {"dog", "garden"}, "its two ends are two concepts"


def test_settings_reach_the_panels(folders: tuple[Path, Path]) -> None:
    pair = load_pair(*folders, concepts=SMALL)
    block = pair.concepts.components(0)
    assert len(block) == 5
    assert all(len(entry["base"]["words"]) == 4 for entry in block)
    assert {word for entry in block for word, _ in entry["tuned"]["words"]} <= set(WORDS.words)
    for entry, ends in zip(block, pair.concepts.ends(0), strict=True):
        for side in ("base", "tuned"):
            every = {(w, round(c, 6)) for end in ends[side].values() for w, c in end}
            assert {(w, round(c, 6)) for w, c in entry[side]["words"]} <= every
            assert all(cosine > 0 for _, cosine in ends[side]["positive"])
            assert all(cosine < 0 for _, cosine in ends[side]["negative"])


def test_find_a_word(pair: Pair) -> None:
    found = pair.concepts.find(" dog ")
    assert found["word"] == "dog"
    for side in ("base", "tuned"):
        with pair.model(side) as model:  # type: ignore[arg-type]
            weight = architectures.unembedding(model)
        ids = tiny.tokenizer()([" dog"], add_special_tokens=False)["input_ids"][0]
        vector = torch.nn.functional.normalize(weight[ids].mean(dim=0), dim=0).double()
        every = {
            (layer, k): float(torch.from_numpy(direction) @ vector)
            for layer in range(3)
            for k, direction in enumerate(pair.concepts.basis(side, layer).directions)  # type: ignore[arg-type]
        }
        best = sorted(every, key=lambda place: -abs(every[place]))[:20]
        assert [tuple(place[:2]) for place in found[side]] == best
        for layer, k, cosine, rank in found[side]:
            assert cosine == pytest.approx(every[layer, k], abs=1e-5)
            assert rank >= 1
    listed = pair.concepts.components(1)[0]["base"]["words"]
    ranks = {(la, k): rank for la, k, _, rank in pair.concepts.find(listed[0][0])["base"]}
    assert ranks[1, 0] == 1, "the first word of a component has rank 1 there"
    with pytest.raises(VocabularyError, match="no tokens"):
        pair.concepts.find("  ")


def test_value_vectors_after_the_final_norm(pair: Pair) -> None:
    card = pair.concepts.neurons([(1, 3)])[0]
    with pair.model("tuned") as model:
        vector = architectures.value_vectors(model, 1)[3] * model.model.norm.weight
        words = word_rows(pair.tokenizers["tuned"], architectures.unembedding(model))
    cosines = torch.cosine_similarity(words.rows, vector[None].detach())
    cosines[[not word for word in words.words]] = 0
    best = int(cosines.abs().argmax())
    assert card["tuned"]["normed"][0] == [
        words.words[best],
        pytest.approx(float(cosines[best]), abs=1e-6),
    ]
    assert card["tuned"]["normed"] != card["tuned"]["words"][:15]


def test_bad_input(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(HeadIndexError, match=r"no 33 components.*at most 32"):
        load_pair(*folders, concepts=ConceptSettings(components=33))
    with pytest.raises(HeadIndexError, match="there is no layer 3"):
        components(folders[0], tiny.tokenizer(), settings=SMALL, layers=[3])
    with pytest.raises(ValueError, match="at least 1"):
        ConceptSettings(words=0)
    with pytest.raises(ValueError, match="vocabulary is"):
        ConceptSettings(vocabulary="english")  # type: ignore[arg-type]
    with pytest.raises(PairMismatchError, match="intermediate"):
        compare_concepts(
            Weights(folders[0]),
            Weights(tiny.model("llama", intermediate_size=64)),
            settings=SMALL,
        )
    broken = tiny.model("llama")
    with torch.no_grad():
        architectures.layers(broken)[1].mlp.down_proj.weight[0, 0] = float("inf")
    broken.save_pretrained(tmp_path / "broken")
    with pytest.raises(NotFiniteError, match="layer 1 of 'broken'"):
        components(tmp_path / "broken", tiny.tokenizer(), settings=SMALL)


def test_command_writes_tables_figures_and_shares(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    labels = [
        Annotation(Component(model, layer, 0, ()), seed, "names", ("writing",), "semantics", {})
        for model in ("base", "tuned")
        for layer in range(3)
        for seed in (0, 1)
    ]
    write_annotations(tmp_path / "labels.csv", labels)
    words = tmp_path / "words.txt"
    words.write_text("\n".join(WORDS.words))
    arguments = ["concepts", *map(str, folders), "-o", str(tmp_path / "out"), "--components", "6"]
    arguments += ["--vocabulary", str(words), "--words", "4"]
    done = CliRunner().invoke(
        twinlens, [*arguments, "--labels", str(tmp_path / "labels.csv"), "--json"]
    )
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert [Path(file).name for file in summary["files"]] == [
        "components.csv",
        "rotation.csv",
        "added.csv",
        "parameters.json",
        "rotation.html",
        "labels.csv",
        "tasks.csv",
        "tasks.html",
        "levels.csv",
        "levels.html",
    ]
    assert all(Path(file).stat().st_size > 50 for file in summary["files"])
    with (tmp_path / "out" / "components.csv").open() as file:
        rows = list(csv.DictReader(file))
    settings = ConceptSettings(components=6, words=4, vocabulary=vocabulary(words), cache=False)
    block = load_pair(*folders, concepts=settings).concepts.components(2)
    assert len(rows) == 18
    assert float(rows[13]["cosine"]) == pytest.approx(block[1]["cosine"])
    assert rows[13]["words_base"].split(" ")[0] == block[1]["base"]["words"][0][0].split(" ")[0]
    assert len(summary["layers"]) == 3
    assert "no network" not in done.output
    assert "https://cdn" not in (tmp_path / "out" / "tasks.html").read_text()[:2000]
    nothing = CliRunner().invoke(twinlens, [*arguments, "--layer", "7"])
    assert isinstance(nothing.exception, HeadIndexError)
    wrong = CliRunner().invoke(twinlens, [*arguments, "--endpoint", "http://localhost:1/v1"])
    assert wrong.exit_code == 2


def test_labels_by_a_function_and_from_a_file_reach_the_panels(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    pair = load_pair(*folders, concepts=SMALL)
    told: list[tuple[int, int]] = []

    def annotator(question: LabelQuestion, seed: int) -> str | None:
        if question.kind == "name":
            known = question.component.component != 3
            return f"like {question.component.words[0]}" if known else None
        return {"task": "coding", "level": "a long story"}[question.kind]

    found = pair.concepts.label(
        annotator, layers=[1], rounds=[0], report=lambda done, total, _: told.append((done, total))
    )
    assert len(found) == 10
    assert told[-1] == (10, 10)
    for k, entry in enumerate(pair.concepts.components(1)):
        words = entry["base"]["words"] if k != 3 else entry["tuned"]["words"]
        if k == 3 and entry["tuned"]["index"] == 3:
            assert (entry["name"], entry["labels"]) == (None, [])
        else:
            assert entry["name"] == f"like {words[0][0]}"
            assert entry["labels"] == ["coding"], "a level that is none counts as cannot tell"
    assert pair.concepts.components(0)[0]["name"] is None
    write_annotations(tmp_path / "labels.csv", found)
    other = load_pair(*folders, concepts=SMALL)
    assert "name" not in other.concepts.components(1)[0]
    other.concepts.label(tmp_path / "labels.csv")
    assert other.concepts.components(1) == pair.concepts.components(1)


def test_the_block_of_the_rotation_is_that_of_the_weights(
    folders: tuple[Path, Path], pair: Pair
) -> None:
    block = pair.concepts.rotation()
    settings = RotationSettings(components=8, added=1, words=15, cache=False)
    direct = rotation(*map(Weights, folders), pair.tokenizers["tuned"], settings=settings)
    for entry, row, layer in zip(block, direct.rows([8]), direct.layers, strict=True):
        assert (entry["layer"], entry["k"]) == (row["layer"], 8)
        for mine, theirs in (
            ("angle", "mean"),
            ("null", "null_mean"),
            ("inside", "inside"),
            ("own", "own"),
            ("weights", "difference"),
        ):
            assert entry[mine] == pytest.approx(row[theirs], rel=1e-5)
        assert entry["null_low"] <= entry["null"] <= entry["null_high"]
        assert [tuple(said) for said in entry["added"]] == list(layer.added[0].words)
    assert pair.concepts.rotation() == block, "kept on disk as it was"
