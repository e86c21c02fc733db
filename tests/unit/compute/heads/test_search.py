"""Word pairs and circuits as blocks, and straight from the files of two models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import twinlens
from twinlens.commands import main as cli
from twinlens.compute.heads.search import circuit_change
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.models.weights import Weights
from twinlens.compute.pair import Pair, load_pair
from twinlens.errors import (
    HeadIndexError,
    Interrupted,
    ModelLoadError,
    PairMismatchError,
    UnknownBlockError,
    VocabularyError,
)
from twinlens.weights.vocabulary import vocabulary
from twinlens.weights.word_pairs import word_changes

from tests.support import tiny

WORDS = vocabulary(size=300)
SMALL = {"top": 12, "z": 1.0, "frequent": 100, "cache": False}


@pytest.fixture(scope="module")
def loaded(folders: tuple[Path, Path]) -> Pair:
    made = load_pair(*folders)
    made.word_pairs(WORDS, layers=[], **SMALL)
    return made


@pytest.fixture(scope="module")
def worded(loaded: Pair) -> LiveTrace:
    return trace_pair(loaded, tiny.PROMPT, response="shared", max_new_tokens=2)


def test_a_head_asks_for_its_layer_only(folders: tuple[Path, Path]) -> None:
    pair = load_pair(*folders)
    pair.word_pairs(WORDS, layers=[], **SMALL)
    trace = trace_pair(pair, tiny.PROMPT, response="shared", max_new_tokens=2)
    said: list[str] = []
    trace.block("word_pairs/1/2", lambda _d, _t, what: said.append(what))
    assert said == ["word pairs of base, layer 1", "word pairs of tuned, layer 1", "word pairs"]
    assert not pair.head_weights.search.complete

    def stop(done: int, total: int, what: str) -> None:
        if done == 1:
            raise Interrupted("a newer selection")

    with pytest.raises(Interrupted):
        trace.block("word_pairs/info", stop)
    said.clear()
    trace.block("word_pairs/info", lambda _d, total, _w: said.append(str(total)))
    assert said[0] == "3"  # of 6, two were there, and one more was finished
    assert pair.head_weights.search.complete


def test_blocks_are_the_changes_of_the_pairs(worded: LiveTrace, loaded: Pair) -> None:
    found = loaded.head_weights.search.find()
    rows = found.head(1, 2)
    assert len(rows) >= 4
    block = worded.block("word_pairs/1/2")
    assert block["left_out"] == 0
    assert block["rows"] == [[r["word"], r["partner"], r["base"], r["tuned"]] for r in rows]
    counts = worded.array("word_pairs/counts")
    fates = [row["change"] for row in rows]
    assert counts[1, 2].tolist() == [fates.count(f) for f in ("gained", "kept", "lost")]
    info = worded.block("word_pairs/info")
    assert info["words"] == 300
    assert info["missing"] == 0
    assert info["parameters"]["top"] == 12
    assert info["heads_changed"] == int((counts[..., 0] + counts[..., 2] > 0).sum())
    assert json.loads(json.dumps(info)) == info


def test_long_lists_are_cut_and_say_so(worded: LiveTrace, monkeypatch) -> None:
    whole = worded.block("word_pairs/1/2")
    monkeypatch.setattr("twinlens.weights.head_words.LISTED", 3)
    cut = worded.head_room.word_pairs(1, 2, None)
    assert cut["rows"] == whole["rows"][:3]
    assert cut["left_out"] == len(whole["rows"]) - 3


def test_a_word_is_found_in_the_heads_that_hold_it(worded: LiveTrace, loaded: Pair) -> None:
    found = loaded.head_weights.search.find()
    row = found.head(2, 1)[0]
    rows = worded.block(f"word_pairs/find/{row['word'].upper()}")
    changes = {
        (r["layer"], r["head"]): r for r in word_changes(found.base, found.tuned, row["word"])
    }
    assert [2, 1] in [r[:2] for r in rows]
    for layer, head, base, tuned in rows:
        if base != tuned:
            assert (changes[layer, head]["base"], changes[layer, head]["tuned"]) == (base, tuned)
    gains = [tuned - base for *_, base, tuned in rows]
    assert gains == sorted(gains, reverse=True)


def test_circuits_are_those_of_the_weights(worded: LiveTrace, folders: tuple[Path, Path]) -> None:
    expected = circuit_change(*map(Weights, folders))
    found = worded.array("heads/circuits")
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    taking_turns = load_pair(*folders, memory="sequential").head_weights.circuits()
    np.testing.assert_array_equal(taking_turns, expected)


def test_bad_questions(worded: LiveTrace, folders: tuple[Path, Path], tmp_path: Path) -> None:
    for key in (
        "word_pairs/3/0",
        "word_pairs/0/4",
        "word_pairs/x/0",
        "word_pairs",
        "word_pairs/find",
    ):
        with pytest.raises(UnknownBlockError, match="there is no"):
            worded.block(key)
    with pytest.raises(VocabularyError, match="'zyzzyva' is not among the 300 words"):
        worded.block("word_pairs/find/zyzzyva")
    with pytest.raises(HeadIndexError, match="no layer 9"):
        worded.pair.word_pairs(WORDS, layers=[9], **SMALL)
    with pytest.raises(VocabularyError, match="2 words with a vector, fewer than the K = 5"):
        worded.pair.word_pairs(["dog", "cat"], top=5, cache=False)
    picture = tmp_path / "picture.txt"
    picture.write_bytes(b"\x89PNG")
    with pytest.raises(VocabularyError, match="no GloVe or word2vec text file"):
        worded.pair.word_pairs(WORDS, cooccurrence=picture, **SMALL)
    with pytest.raises(ModelLoadError, match="nowhere"):
        twinlens.word_pairs(folders[0], tmp_path / "nowhere")
    tiny.model("llama", num_hidden_layers=2).save_pretrained(tmp_path / "short")
    with pytest.raises(PairMismatchError, match="3 layers of 4 heads and 'short' 2 of 4"):
        twinlens.word_pairs(folders[0], tmp_path / "short")


def test_a_small_tokenizer_gives_its_own_words(pair: Pair) -> None:
    found = pair.word_pairs(cache=False, layers=[0])
    assert found.parameters["vocabulary"] == "words of the tokenizer"
    assert found.parameters["top"] == max(1, len(found.base.words) // 20)


def test_files_give_what_the_loaded_pair_gives(
    folders: tuple[Path, Path], loaded: Pair, tmp_path: Path, monkeypatch, capsys
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("twinlens.compute.models.loading.load_weights", never)
    monkeypatch.setattr("twinlens.compute.models.models.load_weights", never)
    found = twinlens.word_pairs(*folders, WORDS, **SMALL)
    expected = loaded.head_weights.search.find()
    assert found.parameters == expected.parameters
    assert [found.head(2, h) for h in range(4)] == [expected.head(2, h) for h in range(4)]

    words = tmp_path / "words.txt"
    words.write_text("\n".join(WORDS.words))
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("\n".join(WORDS.words[40:80]))
    second.write_text("\n".join(WORDS.words[80:160]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def command(*more: object) -> str:
        settings = ["--words", words, "--top", 12, "--z", 1, "--frequent", 100, "--layers", 2]
        lists = ["--list", "early", first, "--list", "late", second]
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(a) for a in ["heads", *folders, *settings, *lists, *more]])
        said = capsys.readouterr()
        assert not stopped.value.code, said.err
        return said.out

    table = found.table({"early": WORDS.words[40:80], "late": WORDS.words[80:160]}, group=2)
    said = json.loads(command("--json", "-o", tmp_path / "pairs.csv"))
    assert said["rows"] == json.loads(json.dumps(table.rows))
    assert said["heads_changed"] == found.heads_changed
    lines = (tmp_path / "pairs.csv").read_text().splitlines()
    assert lines[0] == "layer,head,word,partner,base,tuned,change"
    assert len(lines) == 1 + sum(len(found.head(la, h)) for la in range(3) for h in range(4))
    text = command("-o", tmp_path / "figure.html")
    assert f"{table.rows[-2]['share']:.1%}" in text
    assert "early" in text
    assert "<script" in (tmp_path / "figure.html").read_text()
    word = found.head(2, 1)[0]["word"]
    assert word in command("--word", word)


def test_cli_refuses_what_it_cannot_write(folders: tuple[Path, Path], capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["heads", str(folders[0]), str(folders[1]), "-o", "pairs.docx"])
    assert stopped.value.code == 1
    assert "ends in .html or .csv, not '.docx'" in capsys.readouterr().err
