"""What no function can use is refused in one sentence; for `explore` see `view`."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
import twinlens as tl
from twinlens.errors import TwinlensError
from twinlens.pages.page import to_html
from twinlens.studies import Store, rate
from twinlens.traces import recording
from twinlens.view.explorer import Explorer
from twinlens.weights.vocabulary import vocabulary

from tests.support.made_up import MadeUpTrace


def explorer(name, value):
    return lambda: setattr(Explorer(MadeUpTrace()), name, value)


PAIR = type("Pair", (), {"info": None})()


def study(data=("a",), out="made", pair=PAIR, **options):
    return lambda: tl.study(pair, data, out, **options)


def search(**options):
    from twinlens.compute.heads.search import PairSearch

    return lambda: PairSearch(lambda side: None, None, ["a"], **options)


def demo_files(side):
    return str(files("twinlens") / "demo" / side)


def stored(base="base", tuned="tuned", **options):
    return lambda: tl.word_pairs(
        *(demo_files(one) if isinstance(one, str) else one for one in (base, tuned)), **options
    )


def load(**options):
    return lambda: tl.load_pair(demo_files("base"), demo_files("tuned"), **options)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: tl.open(None), "not by a NoneType"),
        (lambda: tl.open(), "path is missing: open takes path"),
        (lambda: tl.load_pair(), "base is missing: load_pair takes base, tuned, device"),
        (load(devise="cpu"), "no argument devise (did you mean device?): load_pair takes base"),
        (load(device=2.5), 'device is one of "cpu"'),
        (load(device=10**30), 'device is one of "cpu"'),
        (load(dtype=np.zeros((2, 2))), 'dtype is one of "auto"'),
        (load(device_map=[3]), 'device_map is "auto"'),
        (load(tuned_revision=["main"]), "tuned_revision is a branch, tag or commit"),
        (load(memory=np.zeros(2)), 'memory is "both" or "sequential"'),
        (lambda: tl.load_pair("a", "b", "c"), "3 arguments without a name, and 2 can be"),
        (lambda: tl.load_pair("a", base="b"), "base is given twice"),
        (lambda: tl.demo_pair(concept=3), "did you mean concepts?"),
        (lambda: tl.diff("a", tuned_revison="b"), "did you mean tuned_revision?"),
        (lambda: tl.explore(prompt="a"), "pair is missing: explore takes pair, prompt"),
        (lambda: tl.live_page("a.html", "pair"), "pair= is of type str: give live_page a pair"),
        (lambda: tl.live_page("a.html", examples=3), "example 0 is 3: examples= is a list"),
        (lambda: tl.live_page("a.html", examples=["a"]), "example 0 is 'a'"),
        (
            lambda: tl.live_page("a.html", examples=[{"prompt": "a", "guess": "b"}]),
            "example 0 has no 'guess': known are title, prompt",
        ),
        (
            lambda: tl.viewer_page("a.html", theme="dark"),
            "no argument theme: viewer_page takes path",
        ),
        (lambda: tl.live_page("a.html", title=3), "title= is no text, but 3"),
        (lambda: tl.live_page("a.html", theme="pink"), "use one of auto, light, dark"),
        (lambda: tl.live_page("a.html", recorded="all"), "recorded= is a number of examples"),
        (lambda: to_html(MadeUpTrace(), "a.html", title=3), "title= is no text, but 3"),
        (lambda: to_html(MadeUpTrace(), "a.html", theme="pink"), "use one of auto, light, dark"),
        (lambda: to_html(MadeUpTrace(), "a.html", budget_mb="x"), "budget_mb= is a number of"),
        (lambda: tl.StudyCallback([]), "out is missing: StudyCallback takes prompts, out"),
        (lambda: tl.ConceptSettings(word=3), "did you mean words?"),
        (lambda: tl.ConceptSettings(cache=3), "cache is True, False or a folder, not 3"),
        (lambda: tl.ConceptSettings(vocabulary=np.zeros((2, 2))), 'vocabulary is "words"'),
        (lambda: tl.Architecture(norm="a"), "Architecture takes layers, final_norm"),
        (lambda: tl.Architecture(layers=3), "layers is a module path, not 3"),
        (lambda: tl.Architecture(query_key_value="q"), "a tuple of module paths, not 'q'"),
        (lambda: tl.Architecture(fused="half"), 'fused is "no", "stacked" or "interleaved"'),
        (lambda: tl.Architecture(mixer=("a",)), "mixer names 2 modules or none, not 1"),
        (study(guess=3), "there is no argument guess: study takes pair, data, out, methods"),
        (explorer("token", 99), "there is no token 99: 0 to"),
        (explorer("layer", "first"), "expected an int"),
        (explorer("theme", "pink"), "any of ['auto', 'light', 'dark']"),
        (explorer("theme", np.zeros((2, 2))), "no array"),
        (explorer("method", "guess"), "no saliency method 'guess': it has"),
        (explorer("marks", 3), "marks are a list of (start, end, segment), not 3"),
        (explorer("slides", [3]), "view 0 of the story is no mapping"),
        (explorer("state", 3), "the state of view 0 of the story is no mapping"),
        (lambda: Explorer(MadeUpTrace(), layer=99), "there is no layer 99: 0 to"),
        (lambda: Explorer(MadeUpTrace(), marks=3), "marks are a list of (start, end, segment)"),
        (lambda: Explorer(MadeUpTrace()).select(tokn=3), "did you mean token?"),
        (lambda: Explorer(MadeUpTrace()).select(head=3), "head 3 needs a layer"),
        (lambda: Explorer(MadeUpTrace()).to_html("a.html", titel="b"), "did you mean title?"),
        (lambda: Explorer(MadeUpTrace()).story([{"state": 3}]), "state of view 0 of the story"),
        (lambda: Explorer(MadeUpTrace()).story([{"panel": ["heads"]}]), "names no panel ['heads']"),
        (lambda: MadeUpTrace().saliency("tuned", metod="a"), "did you mean method?"),
        (lambda: MadeUpTrace().saliency("Tuned"), "Tuned"),
        (lambda: MadeUpTrace().shift(["a"]), "there is no part of a layer ['a']: one of"),
        (lambda: MadeUpTrace().own_answer([3]), "[3]"),
        (lambda: MadeUpTrace().exchanged(neuron=3), "neuron is (layer, neuron), not 3"),
        (lambda: MadeUpTrace().block([3]), "a block is named by a text"),
        (lambda: tl.open(3), "not by a int"),
        (lambda: tl.open("."), "no recording at ."),
        (lambda: tl.open("a" * 9000), "a recording cannot be called 'aaaa"),
        (lambda: recording.write(MadeUpTrace(), "a\0.twl"), "cannot be called 'a\\x00.twl'"),
        (lambda: to_html(MadeUpTrace(), "\ud800.html"), "cannot be called '\\\\ud800.html'"),
        (lambda: to_html(MadeUpTrace(), "a" * 3000), "(File name too long)"),
        (lambda: tl.load_pair("a" * 5000, "b"), "a model cannot be called 'aaaa"),
        (lambda: tl.diff("a" * 5000, "b"), "a model cannot be called 'aaaa"),
        (lambda: MadeUpTrace().saliency("tuned", np.array(["a"])), "method is a text, not array"),
        (study(out="made\0"), "the folder of a study cannot be called"),
        (study(None), "of type NoneType"),
        (study(3), "of type int"),
        (study({"train": []}), "of type dict"),
        (study("Say it."), "no data file Say it."),
        (study([]), "the data hold no row"),
        (study([None, 3]), "none of the 2 rows can be used; row 1: it is a NoneType"),
        (study([{"messages": [{"role": "user", "content": None}]}]), "message 1 of its chat"),
        (study([{"text": "a"}]), "columns={'prompt': ...} (text)"),
        (study(columns=["prompt"]), "columns= is a mapping"),
        (study(columns={"text": "prompt"}), "renames 'text'"),
        (study(methods="guess"), "no method guess"),
        (study(methods=None), "no method None"),
        (study(methods=b"x"), "no method b'x'"),
        (study(methods=np.array([True, False])), "no method [ True False]"),
        (study(columns=np.array([True, False])), "columns= is a mapping"),
        (study(methods=[]), "no method (none given)"),
        (study(response="shared"), "no response 'shared'"),
        (study(template="chatml"), "no template 'chatml': use tuned, base or plain"),
        (study(engine="cloud"), "no engine 'cloud'"),
        (study(workers=2), "set workers= with engine='ray'"),
        (study(batch_size=0), "batch_size must be at least 1, not 0"),
        (study(batch_size="x"), "batch_size must be at least 1, not 'x'"),
        (study(max_new_tokens=0), "max_new_tokens must be at least 1, not 0"),
        (study(max_new_tokens=2.5), "max_new_tokens must be at least 1, not 2.5"),
        (study(out=None), "out=None is no folder"),
        (study(out=__file__), "is no folder to write into"),
        (study(pair="base"), "'base' is no pair of models"),
        (study(pair=None), "None is no pair of models"),
        (lambda: Store("nowhere"), "nowhere holds no study"),
        (lambda: rate([], None), "ratings of type NoneType are none"),
        (lambda: rate([], 3), "ratings of type int are none"),
        (lambda: rate([], {"a": 9}), "is not 1, 2, 3 or 4"),
        (lambda: rate([], {"a": 2}), "no such prompt in this study"),
        (lambda: vocabulary(3), "not a int"),
        (lambda: vocabulary([3]), "the words hold 3, which is no text"),
        (lambda: vocabulary([]), "no word in the vocabulary"),
        (search(top=0), "top is a number of words, at least 1, not 0"),
        (search(top="x"), "top is a number of words"),
        (search(frequent=0), "frequent is a number of words"),
        (search(z=float("nan")), "z is a number of standard deviations, not nan"),
        (search(device="gpu"), "device"),
        (search(device="cuda:99"), "device"),
        (search(cooccurrence=3), "is given by its path, not by 3"),
        (
            search(cache=2.5),
            "with cache= the folder of finished layers",
        ),
        (stored(None), "a folder, a safetensors file or a hub id, not from NoneType"),
        (stored(tuned=object()), "not from object"),
        (stored(guess=3), "there is no setting guess: known are cooccurrence, top, z"),
        (stored(tokenizer=3), "tokenizer= is a hub id or a folder, not of type int"),
        (load(tokenizer=3), "tokenizer= is a hub id, a folder or a tokenizer of transformers"),
        (load(concepts="x"), "concepts is a twinlens.ConceptSettings(...), not 'x'"),
        (lambda: tl.register_architecture("mine", {}), "a twinlens.Architecture(...), not 'mine'"),
        (lambda: tl.register_architecture(3, tl.Architecture()), "not 3 and Architecture("),
        (
            lambda: tl.register_architecture("\ud800", tl.Architecture()),
            "model_type (letters, digits",
        ),
        (lambda: tl.load_pair("", "tuned"), "the name of a model is empty"),
        (lambda: tl.demo_pair(concepts=50), "concepts is a twinlens.ConceptSettings(...), not 50"),
        (lambda: tl.ConceptSettings(words=0), "words is a whole number, at least 1, not 0"),
        (lambda: tl.ConceptSettings("all"), "components is a whole number, at least 1, not 'all'"),
        (lambda: tl.ConceptSettings(vocabulary=3), 'vocabulary is "words", "tokens" or'),
        (lambda: tl.import_published(None), "published results is given by its path, not by None"),
        (lambda: recording.write(MadeUpTrace(), None), "to write is given by its path"),
        (lambda: to_html(MadeUpTrace(), None), "to write is given by its path"),
        (lambda: search()().find("all"), "layers is a list of numbers, not 'all'"),
        (lambda: search()().find(1), "layers is a list of numbers, not 1"),
    ],
)
def test_it_is_refused_in_one_sentence(call, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TwinlensError) as refused:
        call()
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())
