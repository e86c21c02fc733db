"""Stories and states: views that are kept, brought back, recorded, and carried by pages."""

from __future__ import annotations

import json
import re

import pytest
from twinlens.errors import ArgumentError, RecordingError
from twinlens.traces import recording
from twinlens.traces.story import read_story
from twinlens.view.explorer import Explorer

from tests.support.made_up import MadeUpTrace

STORY = [
    {"caption": "Tuned copies", "token": 17, "notes": "pause here"},
    {"caption": "By this head", "layer": 1, "head": 2, "panel": "heads"},
]


def kept(caption, notes="", **state):
    return {"caption": caption, "notes": notes, "state": state}


def test_a_story_is_kept_by_the_explorer_recordings_and_pages(tmp_path):
    ex = Explorer(MadeUpTrace())
    ex.story(STORY)
    view = {"dashboard": {"tab": "heads", "beside": "heads"}}
    wanted = [
        kept("Tuned copies", "pause here", token=17),
        kept("By this head", layer=1, head=2, view=view),
    ]
    assert ex.slides == wanted
    opened = Explorer(recording.read(ex.save(tmp_path / "a.twl")))
    assert opened.slides == wanted
    opened.to_html(tmp_path / "a.html", present=True)
    text = (tmp_path / "a.html").read_text()
    page = json.loads(re.search(r'id="twinlens-page">(.*?)</script>', text)[1])
    assert (page["slides"], page["present"]) == (wanted, True)
    opened.to_html(tmp_path / "a.html", present=True, panels=["concepts"])
    text = (tmp_path / "a.html").read_text()
    page = json.loads(re.search(r'id="twinlens-page">(.*?)</script>', text)[1])
    assert [slide["state"]["view"]["dashboard"]["tab"] for slide in page["slides"]] == ["concepts"]


@pytest.mark.parametrize(
    ("story", "says"),
    [
        ("a story", "list of views"),
        ([7], "no mapping"),
        ([{"tokn": 3}], "no 'tokn'"),
        ([{"token": "dog"}], "token='dog'"),
        ([{"panel": "headz"}], "no panel 'headz'"),
        ([{"caption": 3}], "caption"),
        ([{"state": {"theme": "dark"}}], "no 'theme'"),
    ],
)
def test_a_view_that_cannot_be_is_named(story, says):
    with pytest.raises(ArgumentError, match=re.escape(says)):
        read_story(story)


def test_the_trait_says_it_too():
    with pytest.raises(ArgumentError, match="no 'tokn'"):
        Explorer(MadeUpTrace()).slides = [{"tokn": 3}]


def test_a_recording_with_a_damaged_story_is_refused(tmp_path):
    path = recording.write(MadeUpTrace(), tmp_path / "a.twl", story=[{"caption": 3}])
    with pytest.raises(RecordingError, match=r"the story in .* is damaged"):
        recording.read(path)


def test_a_state_brings_back_what_was_seen():
    ex = Explorer(MadeUpTrace())
    start = ex.state
    ex.select(token=17, layer=1, head=2)
    ex.method, ex.view = "gradient_x_input", {"heads": {"tab": "effects"}}
    seen = ex.state
    ex.state = {"token": 16}
    assert ex.state == {**start, "token": 16}
    ex.state = json.loads(json.dumps(seen))
    assert (ex.token, ex.layer, ex.head, ex.method) == (17, 1, 2, "gradient_x_input")
    assert ex.view == {"heads": {"tab": "effects"}}
    with pytest.raises(ArgumentError, match="no 'colour'"):
        ex.state = {"colour": "red"}
    assert ex.state == seen
