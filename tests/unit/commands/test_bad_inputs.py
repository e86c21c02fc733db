"""Whatever is wrong with what is given: one line says so before a model runs, no traceback."""

from __future__ import annotations

import io
import json
import sys
import zipfile

import click
import pytest
from twinlens.commands import main as cli
from twinlens.traces import recording

from tests.support.made_up import MadeUpTrace

PROMPT = ["--prompt", "Say it."]
PAGE = ["-o", "page.html"]
MODELS = ["explain", "./base", "./tuned"]
STUDY = ["study", "./base", "./tuned"]
HEADS = ["heads", "./base", "./tuned"]
CONCEPTS = ["concepts", "./base", "./tuned", "-o", "made"]


def rewritten(good, **changes):
    """A recording with another manifest."""
    with zipfile.ZipFile(good) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("manifest.json", json.dumps({**manifest, **changes}))
    return stream.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of files that are good, and of many that are not."""
    root = tmp_path_factory.mktemp("inputs")
    good = recording.write(MadeUpTrace(), root / "good.twl").read_bytes()
    zipped = io.BytesIO()
    zipfile.ZipFile(zipped, "w").writestr("a.txt", "a")
    files = {
        "cut.twl": good[: len(good) // 2],
        "head.twl": good[:100],
        "empty.twl": b"",
        "text.twl": b"no recording",
        "zip.twl": zipped.getvalue(),
        "lost.twl": rewritten(root / "good.twl"),
        "newer.twl": rewritten(root / "good.twl", trace={"schema": 99}),
        "list.twl": rewritten(root / "good.twl", trace=[]),
        "marks.twl": rewritten(root / "good.twl", marks=[[0, 9999, "context"]], blocks={}),
        "good.jsonl": b'{"prompt": "a"}\n',
        "empty.jsonl": b"",
        "blank.jsonl": b"\n\n",
        "broken.jsonl": b'{"prompt": \n',
        "other.jsonl": b'{"question": "a"}\n',
        "numbers.jsonl": b'{"prompt": 3}\n',
        "list.jsonl": b'["a", "b"]\n',
        "latin.jsonl": '{"prompt": "é"}\n'.encode("latin-1"),
        "wide.jsonl": '{"prompt": "a"}\n'.encode("utf-16-le"),
        "half.jsonl": b'{"prompt": "\\ud83d"}\n',
        "chat.jsonl": b'{"messages": []}\n',
        "reply.jsonl": b'{"messages": [{"role": "assistant", "content": "a"}]}\n',
        "span.jsonl": b'{"prompt": "a", "instruction": "b"}\n',
        "rating.jsonl": b'{"prompt": "a", "rating": 9}\n',
        "broken.json": b'[{"prompt": "a"},',
        "object.json": b'{"data": [{"prompt": "a"}]}',
        "rows.json": b'[{"prompt": "a"}]',
        "chat.json": b'[{"role": "system", "content": "Be brief."}]',
        "header.csv": b"prompt,id\n",
        "empty.csv": b"",
        "open.csv": b'prompt\n"a\n',
        "latin.csv": "prompt\né\n".encode("latin-1"),
        "cells.csv": b"prompt,id\na\n",
        "text.parquet": b"no parquet",
        "empty.parquet": b"",
        "sheet.xlsx": b"PK",
        "latin.txt": "the\né\n".encode("latin-1"),
        "empty.txt": b"",
        "comments.txt": b"# a\n# b\n",
        "image.txt": b"\x89PNG\r\n\x1a\n\x00\x00",
        "columns.csv": b"model,layer\nbase,1\n",
        "labels.csv": b"model,layer,component,name,tasks,level\nbase,one,2,a,b,c\n",
        "study/study.json": b"{",
        "later/study.json": b'{"format": 99}',
        "pickled/config.json": b'{"model_type": "llama"}',
        "pickled/pytorch_model.bin": b"",
        "shape/config.json": b'{"model_type": "llama"}',
        "unread/config.json": b"{",
        "unread/model.safetensors": b"",
        "other/config.json": b'{"model_type": "bert"}',
        "other/model.safetensors": b"",
        "nothing/readme.md": b"",
        "file": b"",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    return root


BAD = [
    # Recordings
    (["open", "missing.twl"], "no recording at missing.twl"),
    (["open", "study"], "no recording at study"),
    (["open", "cut.twl"], "cut.twl is damaged"),
    (["open", "head.twl"], "head.twl is damaged"),
    (["open", "empty.twl"], "empty.twl is damaged"),
    (["open", "text.twl"], "text.twl is damaged"),
    (["open", "zip.twl"], "no twinlens recording"),
    (["open", "lost.twl"], "of its blocks are missing"),
    (["open", "newer.twl"], "format 99"),
    (["open", "list.twl"], "is damaged"),
    (["open", "marks.twl"], "the marks in marks.twl are damaged"),
    # Where to write
    (["open", "good.twl", "-o", "."], ". is a folder"),
    (["open", "good.twl", "-o", "nowhere/a.html"], "no folder nowhere"),
    (["open", "good.twl", "-o", "a.txt"], "ends in .html, not '.txt'"),
    (["open", "good.twl", "-o", "a"], "ends in .html, not ''"),
    (["open", "good.twl", "-o", "file/a.html"], "no folder file"),
    (["open", "good.twl", "--out", "a.pdf"], "ends in .html, not '.pdf'"),
    (["demo", "-o", "."], ". is a folder"),
    (["demo", "-o", "nowhere/a.html"], "no folder nowhere"),
    (["demo", "--save", "a.zip"], "ends in .twl, not '.zip'"),
    (["demo", "--save", "nowhere/a.twl"], "no folder nowhere"),
    ([*MODELS, *PROMPT, "-o", "study"], "study is a folder"),
    ([*MODELS, *PROMPT, "-o", "a.txt"], "ends in .html"),
    ([*MODELS, *PROMPT, "-o", "no/a.html"], "no folder no"),
    ([*MODELS, *PROMPT, *PAGE, "--save", "."], ". is a folder"),
    ([*MODELS, *PROMPT, *PAGE, "--save", "a.html"], "ends in .twl"),
    ([*HEADS, "-o", "a.txt"], "ends in .html or .csv"),
    ([*HEADS, "-o", "."], ". is a folder"),
    ([*HEADS, "-o", "no/a.csv"], "no folder no"),
    (["concepts", "./base", "./tuned", "-o", "file"], "is a file: name a folder"),
    (["concepts", "./base", "./tuned", "-o", "file/made"], "is a file: name a folder"),
    ([*STUDY, "good.jsonl", "-o", "file"], "is a file: name a folder"),
    ([*STUDY, "good.jsonl", "--out", "file/a/b"], "is a file: name a folder"),
    (["report", "study", "-o", "file"], "is a file: name a folder"),
    (["published", "nothing", "-o", "file"], "is a file: name a folder"),
    # Texts
    ([*MODELS, "--prompt", "", *PAGE], "the prompt is empty"),
    ([*MODELS, "--prompt", " \n", *PAGE], "the prompt is empty"),
    ([*MODELS, "--prompt", "caf\udce9", *PAGE], "--prompt is no UTF-8 text"),
    ([*MODELS, *PROMPT, "--instruction", "\udce9", *PAGE], "--instruction is no UTF-8 text"),
    ([*MODELS, *PROMPT, "--context", "\ud83d", *PAGE], "--context is no UTF-8 text"),
    ([*MODELS, *PROMPT, "--response", "\udce9", *PAGE], "--response is no UTF-8 text"),
    ([*MODELS, *PROMPT, "--title", "\udce9", *PAGE], "--title is no UTF-8 text"),
    (["demo", "--prompt", ""], "the prompt is empty"),
    (["demo", "--prompt", "\udce9"], "--prompt is no UTF-8 text"),
    ([*HEADS, "--word", "\udce9"], "--word is no UTF-8 text"),
    ([*MODELS, *PROMPT, "--instruction", "Write it", *PAGE], "the nearest match is 'Say it.'"),
    ([*MODELS, *PROMPT, "--context", "", *PAGE], "span '' is not in the prompt"),
    (["demo", "--instruction", "Write it"], "span 'Write it' is not in the prompt"),
    ([*MODELS, *PROMPT, "--response", "Shared", *PAGE], 'there is no response "Shared"'),
    ([*MODELS, *PROMPT, "--answer", " ", *PAGE], "the given response is empty"),
    ([*MODELS, "--messages", "no.json", *PAGE], "no.json is no JSON file of messages (No such"),
    ([*MODELS, "--messages", "broken.json", *PAGE], "broken.json is no JSON file of messages"),
    ([*MODELS, "--messages", "object.json", *PAGE], "object.json holds no chat: write a list"),
    ([*MODELS, "--messages", "rows.json", *PAGE], "message 0 has no role"),
    (
        [*MODELS, "--messages", "chat.json", "--instruction", "hot", *PAGE],
        "the span 'hot' is not in the prompt",
    ),
    # Data
    ([*STUDY, "missing.jsonl", "-o", "made"], "no data file missing.jsonl"),
    ([*STUDY, "nothing", "-o", "made"], "no data file nothing"),
    ([*STUDY, "empty.jsonl", "-o", "made"], "the data hold no row"),
    ([*STUDY, "blank.jsonl", "-o", "made"], "the data hold no row"),
    ([*STUDY, "broken.jsonl", "-o", "made"], "row 1: it cannot be read (line 1:"),
    ([*STUDY, "other.jsonl", "-o", "made"], "columns={'prompt': ...} (question)"),
    ([*STUDY, "numbers.jsonl", "-o", "made"], "no text in column 'prompt'"),
    ([*STUDY, "list.jsonl", "-o", "made"], "it is a list"),
    ([*STUDY, "latin.jsonl", "-o", "made"], "line 1 of latin.jsonl is no UTF-8 text"),
    ([*STUDY, "wide.jsonl", "-o", "made"], "line 1 of wide.jsonl is no UTF-8 text"),
    ([*STUDY, "half.jsonl", "-o", "made"], "half a character"),
    ([*STUDY, "chat.jsonl", "-o", "made"], "no text before the first reply"),
    ([*STUDY, "reply.jsonl", "-o", "made"], "no text before the first reply"),
    ([*STUDY, "span.jsonl", "-o", "made"], "'b' is marked"),
    ([*STUDY, "rating.jsonl", "-o", "made"], "is not 1, 2, 3 or 4"),
    ([*STUDY, "broken.json", "-o", "made"], "broken.json is no JSON"),
    ([*STUDY, "object.json", "-o", "made"], "(data)"),
    ([*STUDY, "header.csv", "-o", "made"], "the data hold no row"),
    ([*STUDY, "empty.csv", "-o", "made"], "the data hold no row"),
    ([*STUDY, "open.csv", "-o", "made"], "open.csv cannot be read from line 2 on"),
    ([*STUDY, "latin.csv", "-o", "made"], "line 2 of latin.csv is no UTF-8 text"),
    ([*STUDY, "cells.csv", "-o", "made"], "fewer cells than the header"),
    ([*STUDY, "text.parquet", "-o", "made"], "text.parquet is no Parquet file"),
    ([*STUDY, "empty.parquet", "-o", "made"], "empty.parquet is no Parquet file"),
    ([*STUDY, "sheet.xlsx", "-o", "made"], "sheet.xlsx is none of"),
    ([*STUDY, "good.jsonl", "-o", "made", "--column", "question", "a"], "renames 'question'"),
    ([*STUDY, "good.jsonl", "-o", "made", "--column", "prompt", "a"], "no text in column 'a'"),
    ([*STUDY, "good.jsonl", "-o", "made", "--method", "guess"], "no method guess"),
    ([*STUDY, "good.jsonl", "-o", "made", "--workers", "2"], "set workers= with engine='ray'"),
    ([*STUDY, "good.jsonl", "-o", "made", "--labels", "no.csv"], "no.csv cannot be read"),
    ([*STUDY, "good.jsonl", "-o", "made", "--labels", "columns.csv"], "lacks the columns"),
    ([*STUDY, "good.jsonl", "-o", "made", "--labels", "labels.csv"], "row 2 of 'labels.csv'"),
    # Words and labels
    ([*HEADS, "--list", "verbs", "no.txt"], "no.txt cannot be read"),
    ([*HEADS, "--list", "verbs", "latin.txt"], "line 2 of latin.txt is no UTF-8 text"),
    ([*HEADS, "--list", "verbs", "empty.txt"], "no word in the vocabulary"),
    ([*CONCEPTS, "--vocabulary", "no.txt"], "no.txt cannot be read"),
    ([*CONCEPTS, "--vocabulary", "latin.txt"], "line 2 of latin.txt is no UTF-8 text"),
    ([*CONCEPTS, "--vocabulary", "comments.txt"], "no word in the vocabulary"),
    ([*CONCEPTS, "--vocabulary", "image.txt"], "line 1 of image.txt is no UTF-8 text"),
    ([*CONCEPTS, "--labels", "no.csv"], "no.csv cannot be read"),
    ([*CONCEPTS, "--labels", "columns.csv"], "lacks the columns"),
    # Models
    ([*MODELS, *PROMPT, *PAGE], "no folder './base'"),
    (["explain", "nothing", "nothing", *PROMPT, *PAGE], "it has no config.json"),
    (["explain", "pickled", "pickled", *PROMPT, *PAGE], "only as pickle"),
    (["explain", "shape", "shape", *PROMPT, *PAGE], "has no weights"),
    (["explain", "unread", "unread", *PROMPT, *PAGE], "'unread' cannot be loaded"),
    (["explain", "other", "other", *PROMPT, *PAGE], "bert"),
    (["explain", "no.gguf", "no.gguf", *PROMPT, *PAGE], "no.gguf"),
    ([*STUDY, "good.jsonl", "-o", "made"], "no folder './base'"),
    (HEADS, "no folder './base'"),
    (["heads", "nothing", "nothing"], "no .safetensors file in 'nothing'"),
    (["heads", "nobody/nothing", "nobody/nothing"], "'nobody/nothing' cannot be loaded"),
    (["heads", "no.gguf", "no.gguf"], "is a GGUF file"),
    (["heads", "unread", "unread"], "is no safetensors file"),
    (CONCEPTS, "no folder './base'"),
    (["concepts", "shape", "shape", "-o", "made"], "no .safetensors file in 'shape'"),
    (["concepts", "file", "file", "-o", "made"], "'file' is no safetensors file"),
    # Studies
    (["report", "missing"], "missing holds no study"),
    (["report", "nothing"], "nothing holds no study"),
    (["report", "study"], "study.json of study is damaged"),
    (["report", "later"], "newer twinlens"),
    (["published", "missing", "-o", "made"], "missing"),
    (["published", "nothing", "-o", "made"], "nothing"),
]
USAGE = [
    (["nonsense"], "No such command 'nonsense'"),
    (["open"], "Missing argument"),
    (["explain", "a", "b"], "Missing option"),
    (["explain", "a", "b", *PROMPT], "Missing option '-o'"),
    ([*MODELS, *PROMPT, *PAGE, "--dtype", "int4"], "'--dtype'"),
    ([*MODELS, *PROMPT, *PAGE, "--memory", "none"], "'--memory'"),
    ([*MODELS, *PROMPT, *PAGE, "--max-new-tokens", "0"], "'--max-new-tokens'"),
    ([*MODELS, *PROMPT, *PAGE, "--max-new-tokens", "many"], "'--max-new-tokens'"),
    ([*MODELS, *PROMPT, *PAGE, "--budget-mb", "-1"], "'--budget-mb'"),
    ([*MODELS, *PAGE], "Give either --prompt or --messages"),
    ([*MODELS, *PROMPT, "--messages", "chat.json", *PAGE], "Give either --prompt or --messages"),
    ([*MODELS, *PROMPT, *PAGE, "--template", "chatml"], "'--template'"),
    (["explain", "--template", *MODELS[1:], *PROMPT, *PAGE], "'tuned', 'base', 'own', 'plain'"),
    ([*MODELS, *PROMPT, *PAGE, "--colour"], "No such option"),
    ([*HEADS, "--top", "0"], "'--top'"),
    ([*CONCEPTS, "--endpoint", "http://a"], "--endpoint and --model go together"),
    ([*CONCEPTS, "--layer", "one"], "'--layer'"),
    ([*STUDY, "good.jsonl"], "Missing option '-o'"),
    ([*STUDY, "good.jsonl", "-o", "made", "--response", "mine"], "'--response'"),
    ([*STUDY, "good.jsonl", "-o", "made", "--engine", "cloud"], "'--engine'"),
    (["report", "study", "--norm", "0"], "'--norm'"),
]


@pytest.fixture
def run(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("webbrowser.open", lambda address: None)

    def command(*arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.main(list(arguments))
        captured = capsys.readouterr()
        return stopped.value.code, captured.out, captured.err

    return command


def test_there_are_more_than_a_hundred():
    assert len(BAD) + len(USAGE) > 100


@pytest.mark.parametrize(
    ("arguments", "says", "code"), [(*b, 1) for b in BAD] + [(*u, 2) for u in USAGE]
)
def test_one_line_and_no_traceback(arguments, says, code, run, folder, monkeypatch):
    monkeypatch.setattr("twinlens.compute.pair.demo_pair", lambda: pytest.fail("models are loaded"))
    before = sorted(path.name for path in folder.iterdir())
    found, out, err = run(*arguments)
    lines = err.splitlines()
    assert (found, out, len(lines)) == (code, "", 1), err
    assert lines[0].startswith("twinlens: ")
    assert says in lines[0]
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("é".encode("latin-1"), "standard input is no UTF-8 text (byte 0)"),
        ("a".encode("utf-16-le"), "NUL"),
        ("\ufeff \n".encode(), "the prompt is empty"),
    ],
)
def test_standard_input_that_is_no_text(given, says, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), "utf-8"))
    code, _, err = run(*MODELS, "--prompt", "-", *PAGE)
    assert (code, len(err.splitlines())) == (1, 1)
    assert says in err


def commands():
    return [("twinlens", cli.twinlens), *sorted(cli.twinlens.commands.items())]


@pytest.mark.parametrize(("name", "command"), commands())
def test_every_option_has_help(name, command):
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    assert [option.name for option in options if not option.help] == []
    assert command.help


def test_an_option_means_the_same_in_every_command():
    options = {
        name: {o.opts[-1] if o.name != "output" else "output": o for o in command.params}
        for name, command in cli.twinlens.commands.items()
    }
    for name in ("explain", "study"):
        assert set(options[name]) >= {
            *("--dtype", "--device", "--device-map", "--tokenizer", "--base-revision"),
            *("--tuned-revision", "--trust-remote-code", "--memory"),
        }
    for name in ("heads", "concepts"):
        assert set(options[name]) >= {"--tokenizer", "--base-revision", "--tuned-revision"}
    for parameters in options.values():
        assert parameters["output"].opts == ["-o", "--output", "--out"]
        assert "--json" in parameters


def test_the_older_name_of_the_output_is_not_shown(run):
    _, out, _ = run("study", "--help")
    assert "--output" in out
    assert "--out " not in out


def test_models_are_loaded_as_the_options_say(run, monkeypatch):
    asked = {}

    def load(base, tuned, **options):
        asked.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("twinlens.compute.pair.load_pair", load)
    given = ["--dtype", "bfloat16", "--device-map", "auto", "--tokenizer", "t", "--memory"]
    given += ["sequential", "--base-revision", "a", "--tuned-revision", "b", "--trust-remote-code"]
    expected = {
        "dtype": "bfloat16",
        "device": None,
        "device_map": "auto",
        "tokenizer": "t",
        "memory": "sequential",
        "base_revision": "a",
        "tuned_revision": "b",
        "trust_remote_code": True,
    }
    for command in ([*MODELS, *PROMPT, *PAGE], [*STUDY, "good.jsonl", "-o", "made"]):
        code, _, err = run(*command, *given)
        assert code == 130, err
        assert asked == expected
        asked.clear()


@pytest.mark.parametrize(
    ("options", "prompt", "expected"),
    [
        ([*PROMPT], "Say it.", {"template": None, "response": "shared", "answer": None}),
        ([*PROMPT, "--template", "tuned"], "Say it.", {"template": "tuned"}),
        (["--template", *PROMPT], "Say it.", {"template": "tuned"}),
        ([*PROMPT, "--template", "plain", "--answer", "base"], "Say it.", {"answer": "base"}),
        (
            ["--messages", "chat.json", "--template", "base", "--instruction", "brief"],
            [{"role": "system", "content": "Be brief."}],
            {"template": "base", "instruction": ("brief",)},
        ),
    ],
)
def test_a_prompt_is_read_as_the_options_say(options, prompt, expected, run, monkeypatch):
    asked = {}

    def trace(pair, prompt, **options):
        asked.update(options, prompt=prompt)
        raise KeyboardInterrupt

    monkeypatch.setattr("twinlens.compute.pair.load_pair", lambda *_, **__: None)
    monkeypatch.setattr("twinlens.compute.live.aligned_trace.trace_pair", trace)
    code, _, err = run(*MODELS, *options, *PAGE)
    assert code == 130, err
    assert asked["prompt"] == prompt
    assert expected.items() <= asked.items()


def test_a_hub_id_is_downloaded_for_its_weights(run, folder, monkeypatch):
    asked = []

    def download(name, **options):
        asked.append((name, options["revision"]))
        return str(folder / "unread")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    code, _, err = run("heads", "nobody/base", "nobody/tuned", "--base-revision", "main")
    assert (code, asked) == (1, [("nobody/base", "main")])
    assert "is no safetensors file" in err
