from __future__ import annotations

import threading

import comm
import numpy as np
import pytest
from comm.base_comm import BaseComm
from twinlens.contract import wire
from twinlens.errors import ArgumentError
from twinlens.traces import recording
from twinlens.view.explorer import Explorer
from twinlens.view.panel import Panel

from tests.support.made_up import MadeUpTrace, manifest
from tests.unit.pages.test_page import Page


class FakeComm(BaseComm):
    """Keeps what a widget sends."""

    def __init__(self, *args, **kwargs):
        self.sent = []
        self.arrived = threading.Condition()
        super().__init__(*args, **kwargs)

    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        with self.arrived:
            self.sent.append((msg_type, data or {}, buffers or []))
            self.arrived.notify_all()

    def custom(self, number):
        def find():
            for _, data, buffers in self.sent:
                content = data.get("content", {})
                if content.get("id") == number and content["kind"] != "progress":
                    return content, buffers
            return None

        with self.arrived:
            assert self.arrived.wait_for(find, timeout=5)
            return find()

    def receive(self, data, buffers=()):
        self.handle_msg({"content": {"data": data}, "buffers": list(buffers)})

    def updates(self):
        return [data["state"] for _, data, _ in self.sent if data.get("method") == "update"]


@pytest.fixture(autouse=True)
def fake_comm(monkeypatch):
    monkeypatch.setattr(comm, "create_comm", lambda **kwargs: FakeComm(**kwargs))


@pytest.fixture
def explorer(trace):
    made = Explorer(trace)
    yield made
    made.close()


def selection(explorer):
    return explorer.token, explorer.layer, explorer.head, explorer.unit


def test_it_opens_with_the_whole_state(trace):
    explorer = Explorer(trace, token=3, theme="dark")
    opened = next(data for kind, data, _ in explorer.comm.sent if kind == "comm_open")
    state = opened["state"]
    assert state["_manifest"] == trace.manifest.to_json()
    assert (state["token"], state["theme"], state["presentation"]) == (3, "dark", False)
    assert state["method"] == "occlusion"
    assert "export" in state["_esm"]


def test_a_page_request_is_answered_over_the_comm(explorer, trace):
    request = {"kind": "block", "id": 5, "key": "saliency/tuned/occlusion"}
    explorer.comm.receive({"method": "custom", "content": request})
    content, buffers = explorer.comm.custom(5)
    assert content["kind"] == "block"
    np.testing.assert_array_equal(
        wire.decode(content["header"], bytes(buffers[0])), trace.block(request["key"])
    )


def test_a_request_on_a_subshell_thread_is_answered(explorer):
    message = {"method": "custom", "content": {"kind": "block", "id": 1, "key": "disagreement"}}
    thread = threading.Thread(target=explorer.comm.receive, args=(message,))
    thread.start()
    thread.join()
    assert explorer.comm.custom(1)[0]["kind"] == "block"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("token", 21, "0 to 20"),
        ("token", -2, "0 to 20"),
        ("layer", 4, "0 to 3"),
        ("head", 8, "0 to 7"),
        ("unit", "neuron:64", "0 to 63"),
        ("unit", "component", "component:K"),
        ("method", "magic", "gradient_x_input, occlusion"),
        ("theme", "pink", "light"),
    ],
)
def test_out_of_range_says_the_range_and_changes_nothing(explorer, name, value, says):
    explorer.select(token=2, layer=1, head=3)
    before = explorer.get_state()
    with pytest.raises(ArgumentError, match=says):
        setattr(explorer, name, value)
    assert explorer.get_state() == before


@pytest.mark.parametrize(("name", "value"), [("head", 2), ("unit", "component:1")])
def test_a_head_or_unit_needs_a_layer(explorer, name, value):
    with pytest.raises(ArgumentError, match="needs a layer"):
        setattr(explorer, name, value)
    explorer.layer = 0
    setattr(explorer, name, value)
    assert getattr(explorer, name) == value


def test_another_layer_clears_head_and_unit(explorer):
    explorer.select(token=4, layer=1, head=3, unit="component:2")
    explorer.layer = 2
    assert selection(explorer) == (4, 2, -1, "")


def test_selecting_a_head_elsewhere_clears_the_unit(explorer):
    explorer.select(layer=1, head=3, unit="component:2")
    explorer.select(layer=2, head=5)
    assert selection(explorer) == (-1, 2, 5, "")
    explorer.select(head=6)
    explorer.select(layer=2, unit="neuron:7")
    assert selection(explorer) == (-1, 2, 6, "neuron:7")
    explorer.select(layer=-1)
    assert selection(explorer) == (-1, -1, -1, "")


def test_a_bad_selection_leaves_the_old_one(explorer):
    explorer.select(token=1, layer=1, head=3)
    with pytest.raises(ArgumentError):
        explorer.select(token=2, layer=2, head=99)
    assert selection(explorer) == (1, 1, 3, "")


def test_select_sends_one_update(explorer):
    explorer.comm.sent.clear()
    explorer.select(token=4, layer=1, head=3)
    assert explorer.comm.updates() == [{"token": 4, "layer": 1, "head": 3}]


def test_python_observers_see_each_change_once(explorer):
    seen = []
    explorer.observe(lambda change: seen.append((change.name, change.new)), ["layer", "head"])
    explorer.select(layer=1, head=3)
    assert sorted(seen) == [("head", 3), ("layer", 1)]


def test_an_observer_may_select_what_was_selected(explorer):
    """Two linked views hand the same selection to each other."""
    explorer.observe(lambda _: explorer.select(layer=explorer.layer, head=explorer.head), "head")
    explorer.select(layer=2, head=1)
    assert (explorer.layer, explorer.head) == (2, 1)
    explorer.layer = 3
    assert explorer.head == -1


def test_the_page_decides_its_own_selection(explorer):
    explorer.select(layer=1, head=3)
    # Head 3 of layer 2: the page sends only what changed, and the head's number did not.
    explorer.comm.receive({"method": "update", "state": {"layer": 2}, "buffer_paths": []})
    assert selection(explorer) == (-1, 2, 3, "")


def test_hold_sync_batches_plain_assignments(explorer):
    explorer.comm.sent.clear()
    with explorer.hold_sync():
        explorer.token = 1
        explorer.layer = 2
        explorer.head = 4
    assert len(explorer.comm.updates()) == 1
    assert selection(explorer) == (1, 2, 4, "")


def test_own_answers_may_differ_in_length():
    explorer = Explorer(MadeUpTrace(manifest(shared=False)))
    explorer.token = 20
    with pytest.raises(ArgumentError):
        explorer.token = 21


def test_unknown_keywords_are_refused(trace):
    with pytest.raises(TypeError, match="no argument colour: known are token, layer"):
        Explorer(trace, colour="red")


@pytest.mark.parametrize("kind", ["saliency", "carried", "update", "heads", "concepts", "overview"])
def test_panels_refer_to_the_explorer_and_carry_no_bundle(explorer, kind):
    panel = getattr(explorer, kind)()
    assert isinstance(panel, Panel)
    state = panel.get_state()
    assert state["kind"] == kind
    assert state["explorer"] == f"anywidget:{explorer.model_id}"
    assert len(state["_esm"]) < 1000


def test_text_forms_name_pair_and_selection(explorer):
    explorer.select(token=3, layer=1)
    assert repr(explorer) == "Explorer(tiny-base | tiny-tuned; token=3, layer=1)"
    assert repr(explorer) in repr(explorer.heads())


def test_an_output_says_as_text_what_is_known(trace, explorer, monkeypatch):
    explorer.select(token=3, layer=1)
    selected = f"Selected: token 3 {trace.manifest.prompt_tokens[3].text!r}, layer 1"
    before = explorer._repr_mimebundle_()[0]["text/plain"]
    assert before.startswith("base: tiny-base\ntuned: tiny-tuned\n")
    assert trace.manifest.prompt in before
    assert before.endswith(selected)
    assert "Not computed yet: findings() says it." in before
    monkeypatch.setattr(trace, "computes", False)  # as in a recording, where all is at hand
    text, bundle = explorer.text(), explorer._repr_mimebundle_()[0]
    assert bundle["text/plain"] == f"{text}\n\n{selected}"
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.model_id


def test_saving_records_the_trace(explorer, trace, tmp_path):
    path = explorer.save(tmp_path / "a.twl")
    replayed = recording.read(path)
    assert replayed.manifest == trace.manifest
    np.testing.assert_array_equal(replayed.head_change(), trace.head_change())


def test_closing_twice_is_harmless(trace):
    explorer = Explorer(trace)
    explorer.close()
    explorer.close()


def test_marks_are_checked_and_put_in_order(explorer):
    assert explorer.marks is None
    assert explorer.segments == [token.segment for token in explorer.trace.manifest.prompt_tokens]
    explorer.marks = [[9, 11, "context"], [2, 4, "instruction"]]
    assert explorer.marks == [(2, 4, "instruction"), (9, 11, "context")]
    assert explorer.segments[2:5] == ["instruction", "instruction", "other"]
    with pytest.raises(ArgumentError, match="16 prompt tokens"):
        explorer.marks = [(2, 40, "context")]
    assert explorer.marks == [(2, 4, "instruction"), (9, 11, "context")]
    explorer.comm.receive({"method": "update", "state": {"marks": [[3, 5, "context"]]}})
    assert explorer.marks == [(3, 5, "context")]
    explorer.marks = None
    assert explorer.segments[2] == "instruction"


@pytest.mark.slow
def test_marks_are_kept_in_recordings_and_pages(explorer, tmp_path):
    explorer.marks = [(3, 5, "context")]
    opened = Explorer(recording.read(explorer.save(tmp_path / "marked.twl")))
    assert opened.marks == [(3, 5, "context")]
    explorer.to_html(tmp_path / "page.html")
    assert '"marks":[[3,5,"context"]]' in (tmp_path / "page.html").read_text()
    opened.close()


@pytest.mark.slow
def test_a_page_shows_what_the_panels_showed(explorer, tmp_path):
    explorer.view = {"heads": {"tab": "pairs"}, "concepts": {"shape": "clouds"}}
    explorer.to_html(tmp_path / "page.html")
    state = Page(tmp_path / "page.html").data
    assert state["options"] == explorer.view
