from __future__ import annotations

import numpy as np
import pytest
from twinlens.errors import PromptError
from twinlens.measures.effect_shares import effect_shares
from twinlens.measures.summary import trace_density, trace_score
from twinlens.traces import recording
from twinlens.traces.marks import marks_of, read_marks, segments

from tests.support.made_up import MadeUpTrace, manifest

TOKENS = manifest().prompt_tokens
OWN = [token.segment for token in TOKENS]


def test_no_marks_are_the_spans_of_the_trace():
    assert segments(TOKENS, None) == OWN
    assert segments(TOKENS, marks_of(OWN)) == OWN


def test_marks_replace_all_spans_but_the_template():
    marked = segments(TOKENS, [(0, 4, "instruction"), (11, 16, "context")])
    assert marked[:2] == ["special", "template"]
    assert marked[2:4] == ["instruction"] * 2
    assert marked[4:11] == ["other"] * 7
    assert marked[11:] == ["context"] * 3 + ["template"] * 2
    assert set(segments(TOKENS, [])) == {"special", "template", "other"}


def test_marks_are_put_in_order_and_the_later_one_counts():
    given = [[9, 12, "context"], [2, 4, "instruction"], [4, 6, "instruction"], [3, 5, "context"]]
    wanted = [(2, 3, "instruction"), (3, 5, "context"), (5, 6, "instruction"), (9, 12, "context")]
    assert read_marks(given, TOKENS) == wanted
    assert read_marks(wanted, TOKENS) == wanted
    assert read_marks([], TOKENS) == []
    assert read_marks(None, TOKENS) is None


@pytest.mark.parametrize(
    ("mark", "says"),
    [
        ((2, 17, "context"), "16 prompt tokens"),
        ((3, 3, "context"), "start < end"),
        ((-1, 3, "context"), "does not lie"),
        ((1.0, 3, "context"), "does not lie"),
        ((1, 3, "template"), "'instruction' or 'context'"),
        ((1, 3), "not \\(start"),
    ],
)
def test_bad_marks_are_refused(mark, says):
    with pytest.raises(PromptError, match=says):
        read_marks([mark], TOKENS)


@pytest.mark.parametrize("value", [3, "instruction", {"a": 1}])
def test_what_is_no_list_is_refused(value):
    with pytest.raises(PromptError, match="list of"):
        read_marks(value, TOKENS)


def test_score_and_shares_follow_the_marks():
    trace = MadeUpTrace()
    marked = segments(TOKENS, [(9, 12, "instruction")])
    assert trace_score(trace, "tuned", segments=OWN) == trace_score(trace, "tuned")
    density = trace_density(trace, "tuned")
    score = trace_score(trace, "tuned", segments=marked)
    assert score == pytest.approx(density[9:12].sum() / np.log2(5))
    shares = effect_shares(trace, "tuned", segments=marked).overall
    assert shares["context"] == 0 < shares["instruction"]


def test_a_recording_keeps_marks(tmp_path):
    path = tmp_path / "marked.twl"
    recording.write(MadeUpTrace(), path)
    assert recording.read(path).marks is None
    recording.write(MadeUpTrace(), path, marks=[(2, 4, "context")])
    assert recording.read(path).marks == [(2, 4, "context")]
