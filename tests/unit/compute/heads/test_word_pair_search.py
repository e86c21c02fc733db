"""Word pairs of attention heads, against worked examples and a separate implementation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from twinlens.compute.heads.word_pair_search import Ranking, layer_pairs
from twinlens.compute.models.weights import LayerWeights, Weights
from twinlens.compute.pair import load_pair
from twinlens.compute.words.vectors import (
    Cooccurrence,
    CooccurrenceSettings,
    all_but_the_top,
    mean_embeddings,
    token_words,
    word_pieces,
)
from twinlens.errors import HeadIndexError, Interrupted, ModelLoadError, VocabularyError
from twinlens.weights.vocabulary import Vocabulary, WordVectors, vocabulary
from twinlens.weights.word_pairs import WordPairs

from tests.benchmarks import word_pairs_reference as reference
from tests.support import tiny
from tests.support.model_pairs import word_pairs
from tests.support.places import DATA

EXAMPLES = DATA / "worked_examples.json"
WORDS = vocabulary(size=300)
OWN = "input embeddings of base, less their mean and first 1 principal component"
SMALL = CooccurrenceSettings(top=12, z=1.0, frequent=100)


def _known(vectors) -> WordVectors:
    return WordVectors(np.array(vectors), np.ones(len(vectors), bool), "made up")


def _weights(query, key, norm) -> LayerWeights:
    nothing = torch.zeros(0)
    return LayerWeights(*(torch.as_tensor(part) for part in (query, key)), nothing, nothing, norm)


def _random(words=150, hidden=24, heads=6, kv_heads=2, size=4, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.standard_normal(shape).astype(dtype)  # noqa: E731
    vectors = draw(words, hidden)
    weights = _weights(
        draw(heads, size, hidden), draw(kv_heads, size, hidden), torch.as_tensor(draw(hidden))
    )
    return vectors, weights, Cooccurrence(_known(draw(words, 8)), SMALL)


def test_worked_example_to_the_last_digit() -> None:
    case = json.loads(EXAMPLES.read_text())["heads"]
    heads, kv_heads, size = case["n_heads"], case["n_kv_heads"], case["head_dim"]
    cooccurrence = Cooccurrence(
        _known(case["cooccurrence_vectors"]), CooccurrenceSettings(top=case["K"], z=case["z"])
    )
    assert np.round(cooccurrence.thresholds, 6).tolist() == case["thresholds"]
    weights = _weights(
        np.reshape(case["q_proj"], (heads, size, -1)),
        np.reshape(case["k_proj"], (kv_heads, size, -1)),
        torch.tensor(case["norm"], dtype=torch.float64),
    )
    vectors = torch.tensor(case["embeddings"], dtype=torch.float64)
    found = WordPairs(
        "example",
        tuple(case["words"]),
        {0: layer_pairs(Ranking(vectors), weights, cooccurrence)},
        {},
    )
    assert len(case["heads"]) == heads
    for expected in case["heads"]:
        neurons = found.neurons(0, expected["head"])
        assert [
            {
                "dim": neuron.dim,
                "energy": round(neuron.energy, 6),
                "top_query_words": list(neuron.top_query),
                "top_key_words": list(neuron.top_key),
                "pairs_query_key_cosine": [[q, k, round(c, 6)] for q, k, c in neuron.pairs],
            }
            for neuron in neurons
        ] == expected["dims"]


@pytest.mark.parametrize("kv_heads", [1, 2, 6])
def test_same_pairs_as_one_neuron_at_a_time(kv_heads: int, monkeypatch) -> None:
    monkeypatch.setattr("twinlens.compute.heads.word_pair_search._ROWS", 7)
    monkeypatch.setattr("twinlens.compute.words.vectors._GATHER", 3)
    vectors, weights, cooccurrence = _random(kv_heads=kv_heads)
    found = layer_pairs(Ranking(torch.from_numpy(vectors)), weights, cooccurrence)
    limits = reference.thresholds(cooccurrence.units, SMALL.z, SMALL.frequent)
    expected = reference.layer_pairs(
        vectors,
        *(part.numpy() for part in (weights.query, weights.key, weights.norm)),
        cooccurrence.units,
        limits,
        SMALL.top,
    )
    number = 0
    for head, neurons in enumerate(expected):
        for dim, (energy, pairs) in enumerate(neurons):
            np.testing.assert_allclose(found.energy[head, dim], energy)
            first, last = found.offsets[head * 4 + dim :][:2]
            got = zip(found.query[first:last], found.key[first:last], strict=True)
            assert [(int(q), int(k)) for q, k in got] == [pair[:2] for pair in pairs]
            np.testing.assert_allclose(found.cosine[first:last], [pair[2] for pair in pairs])
            number += len(pairs)
    assert number == len(found.query) > 50


def test_shared_key_heads_equal_their_expanded_form() -> None:
    vectors, weights, cooccurrence = _random()
    expanded = _weights(weights.query, weights.key.repeat_interleave(3, dim=0), weights.norm)
    grouped, full = (
        layer_pairs(Ranking(torch.from_numpy(vectors)), part, cooccurrence)
        for part in (weights, expanded)
    )
    for name in ("energy", "top_query", "offsets", "query", "key", "cosine"):
        np.testing.assert_array_equal(getattr(grouped, name), getattr(full, name))
    np.testing.assert_array_equal(np.repeat(grouped.top_key, 3, axis=0), full.top_key)


def test_bits_say_exactly_which_words_may_occur_together(monkeypatch) -> None:
    monkeypatch.setattr("twinlens.compute.words.vectors._BLOCK", 16)  # several uneven blocks
    rng = np.random.default_rng(1)
    vectors = WordVectors(rng.standard_normal((45, 6)), rng.random(45) > 0.2, "made up")
    filter_ = Cooccurrence(vectors, CooccurrenceSettings(top=5, z=0.8, frequent=30))
    units = vectors.vectors / np.linalg.norm(vectors.vectors, axis=1, keepdims=True)
    frequent = units[:30][vectors.known[:30]]
    expected = np.zeros((45, 45), bool)
    for i in range(45):
        for j in range(45):
            limits = [
                max(0, (cosines := frequent @ units[w]).mean() + 0.8 * cosines.std())
                for w in (i, j)
            ]
            known = vectors.known[i] and vectors.known[j]
            expected[i, j] = i != j and known and units[i] @ units[j] > max(limits)
    bits = np.unpackbits(filter_.allowed, axis=1, bitorder="little")[:, :45]
    np.testing.assert_array_equal(bits.astype(bool), expected)
    assert 50 < expected.sum() < 1500


def test_a_planted_pair_is_found() -> None:
    """Two words that only one neuron brings together, and that may occur together."""
    model = tiny.model("llama")
    tokenizer = tiny.tokenizer()
    vectors = torch.from_numpy(
        mean_embeddings(model.model.embed_tokens.weight, word_pieces(tokenizer, WORDS.words))
    )
    # Weights that single one word out: rows of the pseudo-inverse, for the two easiest words.
    rows = torch.linalg.pinv(vectors).T
    first, second = (vectors * rows).sum(dim=1).topk(2).indices.tolist()
    attention = model.model.layers[2].self_attn
    with torch.no_grad():
        model.model.layers[2].input_layernorm.weight.fill_(1.0)
        # Dimension 3 of head 3, which reads key head 1 of head_dim 8.
        attention.q_proj.weight[3 * 8 + 3] = 50 * rows[first]
        attention.k_proj.weight[1 * 8 + 3] = 50 * rows[second]

    def together(words):
        made = np.random.default_rng(0).standard_normal((len(words), 16))
        made[second] = made[first] + 0.01
        return made

    found = word_pairs(model, tokenizer, WORDS, cooccurrence=together, settings=SMALL, cache=False)
    strongest = found.neurons(2, 3)[0]
    assert strongest.dim == 3
    assert strongest.top_query[0] == WORDS.words[first]
    assert strongest.top_key[0] == WORDS.words[second]
    assert strongest.pairs[0][:2] == (WORDS.words[first], WORDS.words[second])
    assert found.parameters["cooccurrence"] == "together"


def test_folder_and_loaded_model_give_the_same_pairs(tmp_path: Path) -> None:
    base, _ = tiny.save_pair(tmp_path)
    tokenizer = tiny.tokenizer()
    loaded = load_pair(base, base)
    with loaded.model("base") as model:
        first = word_pairs(model, tokenizer, WORDS, settings=SMALL, cache=False)
    second = word_pairs(base, tokenizer, WORDS, settings=SMALL, cache=False, layers=[2, 0])
    assert list(second.layers) == [0, 2]
    for layer in (0, 2):
        for name, values in vars(second.layers[layer]).items():
            np.testing.assert_array_equal(values, getattr(first.layers[layer], name))
    assert second.parameters["cooccurrence"] == OWN
    assert first.heads == 4


def test_pair_uses_one_filter_for_both_models(tmp_path: Path) -> None:
    pair = load_pair(*tiny.save_pair(tmp_path), memory="sequential")
    calls = []
    both = pair.word_pairs(
        WORDS, top=12, z=1.0, frequent=100, cache=False, report=lambda *now: calls.append(now)
    )
    assert both.base.parameters == both.tuned.parameters
    assert both.tuned.parameters["cooccurrence"] == OWN
    assert both.tuned.model == "tuned"
    with pair.model("tuned") as model:
        embeddings = model.model.embed_tokens.weight
        vectors = mean_embeddings(embeddings, word_pieces(tiny.tokenizer(), WORDS.words))
        expected = layer_pairs(
            Ranking(torch.from_numpy(vectors)),
            Weights(model).layer(1),
            Cooccurrence(_filter_vectors(pair), SMALL),
        )
    np.testing.assert_array_equal(both.tuned.layers[1].query, expected.query)
    assert calls[0] == (0, 6, "word pairs of base, layer 0")
    assert calls[-1] == (6, 6, "word pairs")
    assert [call[0] for call in calls] == [0, 1, 2, 3, 4, 5, 6]


def _filter_vectors(pair) -> WordVectors:
    pieces = word_pieces(tiny.tokenizer(), WORDS.words)
    folder = Path(pair._sources["base"].place)
    vectors = mean_embeddings(Weights(folder).input_embeddings(), pieces)
    return _known(all_but_the_top(vectors)[0])


def test_what_all_vectors_share_is_taken_away() -> None:
    rng = np.random.default_rng(3)
    own = rng.standard_normal((400, 200))
    shared = rng.standard_normal((2, 200))
    left, components = all_but_the_top(own + 5.0 + 30 * rng.standard_normal((400, 2)) @ shared)
    assert components == 2
    np.testing.assert_allclose(left.mean(axis=0), 0, atol=1e-12)
    directions = shared / np.linalg.norm(shared, axis=1, keepdims=True)
    assert np.abs(left @ directions.T).max() < 0.5 < np.abs(own @ directions.T).max()
    # The rest stays: nearly all of what each vector has of its own.
    cosines = np.vecdot(left, own) / np.linalg.norm(left, axis=1) / np.linalg.norm(own, axis=1)
    assert cosines.min() > 0.95


def test_interrupted_work_goes_on_where_it_stopped(tmp_path: Path, monkeypatch) -> None:
    model, tokenizer = tiny.model("llama"), tiny.tokenizer()
    computed = []
    monkeypatch.setattr(
        "twinlens.compute.heads.word_pair_search.layer_pairs",
        lambda *inputs: computed.append(1) or layer_pairs(*inputs),
    )

    def stop(done: int, total: int, what: str) -> None:
        if done == 2:
            raise Interrupted("a newer selection")

    def run(**changes):
        return word_pairs(
            **{"source": model, "settings": SMALL, "cache": tmp_path} | changes,
            tokenizer=tokenizer,
            words=WORDS,
        )

    with pytest.raises(Interrupted):
        run(report=stop)
    assert len(computed) == 2
    first = run()
    assert len(computed) == 3
    again = run()
    assert len(computed) == 3
    np.testing.assert_array_equal(again.layers[1].cosine, first.layers[1].cosine)
    # Anything that changes the result is part of the key.
    run(settings=CooccurrenceSettings(top=12, z=1.1, frequent=100))
    assert len(computed) == 6
    run(source=tiny.tuned_copy(model))
    assert len(computed) == 9
    for file in tmp_path.glob("*.npz"):
        file.write_bytes(b"damaged")
    run()
    assert len(computed) == 12
    assert not list(tmp_path.glob("*.partial"))


def test_words_become_tokens_behind_a_blank() -> None:
    tokenizer = tiny.tokenizer()
    for word, pieces in zip(
        ["dog", "sleeps", "x"], word_pieces(tokenizer, ["dog", "sleeps", "x"]), strict=True
    ):
        assert tokenizer.decode(pieces).strip() == word
        assert tokenizer.convert_ids_to_tokens(pieces)[0] != "Ġ" or len(pieces) == 1
    found = token_words(tokenizer)
    assert "sentence" in found.words
    assert found.source == "words of the tokenizer"
    assert all(len(tokens) == 1 for tokens in word_pieces(tokenizer, found.words))
    embeddings = torch.arange(12.0).reshape(6, 2)
    np.testing.assert_array_equal(
        mean_embeddings(embeddings.bfloat16(), [[1], [0, 5], [2, 2, 5]]), [[2, 3], [5, 6], [6, 7]]
    )


def test_words_of_a_sentencepiece_tokenizer_are_found_behind_its_blank() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    entries = ["<unk>", "\u2581dog", "\u2581Dog", "\u2581cat", "\u2581a1", "dog", "s", "\u2581"]
    made = Tokenizer(models.WordLevel({entry: i for i, entry in enumerate(entries)}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    made.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")
    assert tokenizer.decode([1]) == "dog"  # the blank is lost
    assert token_words(tokenizer).words == ("dog", "cat")


def test_words_without_vectors_are_reported(tmp_path: Path) -> None:
    model, tokenizer = tiny.model("llama"), tiny.tokenizer()
    path = tmp_path / "vectors.txt"
    known = WORDS.words[:250]
    rng = np.random.default_rng(0)
    path.write_text("".join(f"{w} {' '.join(map(str, rng.normal(size=5)))}\n" for w in known))
    found = word_pairs(
        model, tokenizer, WORDS, cooccurrence=path, settings=SMALL, cache=False, layers=[0]
    )
    assert found.parameters["words_without_cooccurrence"] == 50
    assert found.parameters["cooccurrence"] == "vectors.txt"
    assert found.layers[0].query.max() < 250
    assert found.layers[0].top_query.max() >= 250  # they are still described


def test_tokenizer_without_a_spelling_for_a_word() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({"<unk>": 0, "dog": 1, "cat": 2}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")
    words = Vocabulary(("dog", "horse", "cat"), "made up")
    found = word_pairs(
        tiny.model("llama"),
        tokenizer,
        words,
        settings=CooccurrenceSettings(top=2),
        cache=False,
        layers=[0],
    )
    assert found.words == ("dog", "cat")
    assert found.parameters["words_without_vectors"] == ["horse"]
    with pytest.raises(VocabularyError, match="has 2 words with a vector, fewer than the K = 100"):
        word_pairs(tiny.model("llama"), tokenizer, words, cache=False)


def test_bad_input(tmp_path: Path) -> None:
    model, tokenizer = tiny.model("llama"), tiny.tokenizer()
    (tmp_path / "picture.txt").write_bytes(b"\x89PNG")
    with pytest.raises(VocabularyError, match="no GloVe or word2vec text file"):
        word_pairs(model, tokenizer, WORDS, cooccurrence=tmp_path / "picture.txt", cache=False)
    with pytest.raises(VocabularyError, match=r"shape \(3,\) for 300 words"):
        word_pairs(model, tokenizer, WORDS, cooccurrence=lambda words: np.zeros(3), cache=False)
    with pytest.raises(VocabularyError, match="none of the 100 most frequent words has a vector"):
        word_pairs(
            model,
            tokenizer,
            WORDS,
            cooccurrence=lambda words: np.full((len(words), 3), np.nan),
            settings=SMALL,
            cache=False,
        )
    with pytest.raises(HeadIndexError, match="no layer 7"):
        word_pairs(model, tokenizer, WORDS, layers=[7], cache=False)
    with pytest.raises(ModelLoadError):
        word_pairs(tmp_path / "nowhere", tokenizer, WORDS)
    found = word_pairs(model, tokenizer, WORDS, settings=SMALL, layers=[1], cache=False)
    with pytest.raises(HeadIndexError, match=r"layer 1, head 4: .* heads 0 to 3 in layers 1 to 1"):
        found.neurons(1, 4)
    with pytest.raises(HeadIndexError):
        found.neurons(0, 0)
