"""Where only anywidget, numpy and traitlets are there, recordings open; with bokeh, pages too.

And no thread can be started, as in Pyodide.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from twinlens.traces import recording

from tests.support.made_up import MadeUpTrace
from tests.support.places import ROOT

SCRIPT = """
    import sys
    import threading

    class Missing:
        names = set("torch transformers psutil safetensors scipy tqdm platformdirs MORE".split())

        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in self.names:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def unable(thread):
        raise RuntimeError("can't start new thread")

    threading.Thread.start = unable
    sys.meta_path.insert(0, Missing())
    import twinlens as tl

    sent = []
    tl.Explorer.send = lambda self, content, buffers=None: sent.append(content["kind"])
    ex = tl.open("a.twl", token=3)
    assert ex.findings() and ex.text() and ex.still()
    assert ex.select(token=3, layer=1, head=2) is None and ex.heads() and ex.saliency()
    assert ex.save("b.twl").stat().st_size
    try:
        assert ex.to_html("a.html").included
    except tl.errors.MissingLibraryError as error:
        assert "bokeh" in Missing.names and "pip install bokeh" in str(error)
    else:
        assert "bokeh" not in Missing.names
    ex._handle_custom_msg({"kind": "block", "id": 1, "key": "disagreement"}, [])
    ex._handle_custom_msg({"kind": "block", "id": 2, "key": "nothing"}, [])
    assert sent == ["block", "error"], sent
    assert tl.viewer_page("v.html").stat().st_size
    without = {"open", "viewer_page", "Explorer", "__version__", "import_published"}
    for name in sorted(set(tl.__all__) - without):
        try:
            getattr(tl, name)
        except tl.errors.MissingLibraryError as error:
            assert f"{name} needs torch, which is not installed here" in str(error), error
        else:
            raise AssertionError(name)
    ex.close()
    real = tl.open("real.twl")
    assert any(finding["kind"] == "update" for finding in real.findings())
"""


@pytest.mark.slow
@pytest.mark.parametrize("more", ["", "bokeh click pandas"])
def test_recordings_open_without_the_libraries_of_models(more, tmp_path):
    recording.write(MadeUpTrace(), tmp_path / "a.twl")
    (tmp_path / "real.twl").symlink_to(ROOT / "gallery/recordings/gemma3_270m_editing.twl")
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT.replace("MORE", more))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
