from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from twinlens import __version__
from twinlens.commands import main as cli
from twinlens.commands.main import _beside_exact
from twinlens.measures.summary import changed_heads, changed_layers, trace_score
from twinlens.traces import recording

from tests.support.made_up import MadeUpTrace, manifest


@pytest.fixture
def recorded(tmp_path):
    return recording.write(MadeUpTrace(), tmp_path / "a.twl")


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command line and return its exit code, output and errors."""
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(cli, "_has_screen", lambda: False)

    def command(*arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    command.opened = opened
    return command


def test_open_writes_the_page_and_a_summary(run, recorded, tmp_path):
    trace = MadeUpTrace()
    code, out, err = run("open", recorded)
    assert code == 0, err
    assert (tmp_path / "a.html").is_file()
    layer, head, divergence = changed_heads(trace)[0]
    assert f"{layer}.{head} ({divergence:.3f})" in out
    assert f"base {trace_score(trace, 'base'):.3f}" in out
    assert "“THE SMALL" in out.replace(" THE", "THE")
    assert str(tmp_path / "a.html") in out
    assert run.opened == []


def test_json_is_for_machines(run, recorded, tmp_path):
    trace = MadeUpTrace()
    code, out, _ = run("open", recorded, "-o", tmp_path / "b.html", "--json")
    summary = json.loads(out)
    assert code == 0
    assert summary["answers"]["tuned"] == trace.manifest.answers["tuned"].own_text
    assert summary["instruction_density"]["tuned"] == trace_score(trace, "tuned")
    assert [one["layer"] for one in summary["changed_layers"]] == [
        layer for layer, _ in changed_layers(trace)
    ]
    assert summary["page"]["path"] == str(tmp_path / "b.html")
    assert summary["page"]["bytes"] == (tmp_path / "b.html").stat().st_size


@pytest.mark.slow
def test_the_page_is_opened_where_wanted(run, recorded, tmp_path, monkeypatch):
    run("open", recorded, "--open")
    assert run.opened == [(tmp_path / "a.html").as_uri()]
    monkeypatch.setattr(cli, "_has_screen", lambda: True)
    run("open", recorded, "--no-open")
    assert len(run.opened) == 1
    run("open", recorded)
    assert len(run.opened) == 2


@pytest.mark.slow
def test_a_prompt_without_marked_instruction_says_so(run, tmp_path):
    bare = MadeUpTrace(manifest(prompt=[("Hello", "other"), (" there", "other")]))
    recording.write(bare, tmp_path / "bare.twl")
    code, out, _ = run("open", tmp_path / "bare.twl")
    assert code == 0
    assert "no part of the prompt is marked" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["open", "missing.twl"], "no recording at missing.twl"),
        (["open", "{recorded}", "-o", "nowhere/page.html"], "no folder nowhere"),
        pytest.param(
            ["explain", "./no-such-folder", "./other", "--prompt", "a", "-o", "p.html"],
            "no folder",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_errors_are_one_line_without_a_traceback(arguments, says, run, recorded, tmp_path):
    code, out, err = run(*(one.format(recorded=recorded) for one in arguments))
    assert code == 1
    assert out == ""
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("twinlens: ")
    assert says in last


@pytest.mark.parametrize(
    "arguments",
    [["open"], ["nonsense"], ["explain", "a", "b"], ["open", "a.twl", "--budget-mb", "0"]],
)
def test_wrong_usage_is_code_2(arguments, run):
    code, _, err = run(*arguments)
    assert code == 2
    assert "--help" in err


def test_a_damaged_recording_is_one_sentence(run, recorded):
    recorded.write_bytes(recorded.read_bytes()[:1000])
    code, _, err = run("open", recorded)
    assert code == 1
    assert "damaged" in err


def test_control_c_keeps_what_is_done_and_ends_with_130(run, recorded, tmp_path, monkeypatch):
    (tmp_path / "a.html").write_text("old")

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("twinlens.contract.wire.encode", stop)
    code, out, err = run("open", recorded)
    assert code == 130
    assert "stopped" in err
    assert "Heads that changed most" in out
    assert (tmp_path / "a.html").read_text() == "old"


def test_text_of_a_model_cannot_drive_the_terminal():
    assert cli._literal("a\x1b[31m\nb‮") == "“a\\x1b[31m\\nb\\u202e”"


def test_help_and_version(run):
    assert run("--version")[1].strip() == f"twinlens, version {__version__}"
    for command in ("demo", "explain", "open"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert "--json" in out


def test_prepared_prompts_mark_what_is_in_them():
    for one in cli.demo_prompts():
        assert one["instruction"] in one["prompt"]
        assert one["context"] in one["prompt"]


@pytest.mark.slow
def test_demo_runs_as_a_program(tmp_path):
    """As `make demo` does: the embedded pair, a summary, a page and a recording."""
    page, saved = tmp_path / "demo.html", tmp_path / "demo.twl"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "twinlens", "demo", "--no-open", "--json"),
            *("-o", str(page), "--save", str(saved)),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    trace = recording.read(saved)
    assert summary["prompt"] == trace.manifest.prompt
    assert cli.demo_prompts()[0]["prompt"] in summary["prompt"]
    assert summary["answers"]["base"] != summary["answers"]["tuned"]
    assert summary["instruction_density"]["tuned"] == trace_score(trace, "tuned")
    assert summary["page"]["bytes"] == page.stat().st_size
    assert summary["page"]["left_out"] == 0


@pytest.mark.parametrize(("exact", "differ"), [((0.9, 0.5), True), ((0.1, 0.5), False)])
def test_the_score_stands_beside_that_of_exact_effects(
    exact: tuple[float, float], differ: bool
) -> None:
    scores = {"base": exact[0], "tuned": exact[1]}
    lines = _beside_exact({"base": 0.2, "tuned": 0.7, "exact": scores})
    assert f"base {exact[0]:.3f}   tuned {exact[1]:.3f}" in lines[0]
    assert (len(lines) > 1) is differ
    assert _beside_exact({"base": 0.2, "tuned": 0.7, "exact": None}) == []
