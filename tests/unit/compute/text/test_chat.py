"""Messages in chat templates: where their texts stand, what is marked, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from twinlens.compute.text.chat import rendered
from twinlens.compute.text.prompt import Prompt, read_prompt
from twinlens.errors import PromptError

from tests.support.tokenizer_kinds import CHATML, kinds, unloaded

SYSTEM = "You are a helpful AI assistant."
LOOPED = "{% for m in messages %}{{ m['role'] }}: {{ TEXT }}\n{% endfor %}"
#: Templates of the usual forms; the text is their own affair.
TEMPLATES = {
    "chatml": CHATML,
    "own system": (
        "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\n"
        + SYSTEM
        + "<|im_end|>\\n' }}{% endif %}"
        + CHATML
    ),
    "trimmed": LOOPED.replace("TEXT", "m['content'] | trim") + "assistant:",
    "with a start": "{{ bos_token }}[INST] {{ messages[-1]['content'].strip() }} [/INST]",
    "looks into it": LOOPED.replace("TEXT", "m['content'].split('</think>')[-1]"),
    "asks how it begins": LOOPED.replace(
        "TEXT", "'!' if not m['content'].startswith(('a', 'A', 'u', 'Y', 'N', ' ')) else m.content"
    ),
    "writes it twice": "{{ messages[-1]['content'] }}\nAgain: {{ messages[-1]['content'] }}\n>",
    "parts alone": (
        "{% for m in messages %}{% for p in m['content'] %}{% if p['type'] == 'text' %}"
        "{{ p['text'] }}|{% endif %}{% endfor %}{% endfor %}"
    ),
    "parts by name": "{% for m in messages %}{{ m['content'][0]['text'] }}\n{% endfor %}",
    "shouts the role": LOOPED.replace("m['role']", "m['role'] | upper").replace(
        "TEXT", "m['content']"
    ),
}
#: Texts that a search would find somewhere else, in the template or in another message.
TEXTS = ["AI", "user", "a", "assistant", SYSTEM, " Name a city.\n", "a\n\na", "You"]


def tokenizer(template: Any, name: str = "byte level") -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=kinds()[name].backend_tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        chat_template=template,
    )


def read(written: Any, prompt: Any, /, *, name: str = "byte level", **options: Any) -> Prompt:
    return read_prompt(unloaded(tokenizer(written, name)), prompt, **options)


def of(prompt: Prompt, segment: str = "other") -> str:
    """Letters of a segment; blanks alone are in none."""
    return letters(
        "".join(prompt.text[t.start : t.end] for t in prompt.tokens if t.segment == segment)
    )


def letters(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("form", TEMPLATES)
def test_texts_stand_where_the_template_writes_them(form: str) -> None:
    made = tokenizer(TEMPLATES[form])
    for text in TEXTS:
        messages = [{"role": "user", "content": text}]
        chat = rendered(made, messages, whose="tuned")
        # A text of the same length that stands nowhere else says where this one does.
        stand_in = text.replace(text.strip(), "\u03a9" * len(text.strip()))
        if form.startswith("asks"):
            stand_in = text.replace(text.strip(), text.strip()[0] + "\u03a9" * len(text.strip()))
        other = rendered(made, [{"role": "user", "content": stand_in}], whose="tuned").text
        (part,) = chat.parts
        places = [start + form.startswith("asks") for start, _ in part.spans()]
        runs = [i for i, c in enumerate(other) if c == "\u03a9" and other[i - 1] != "\u03a9"]
        assert places == runs, (text, chat.text)
        assert {chat.text[s:e] for s, e in part.spans()} == {text.strip()}


@pytest.mark.parametrize("name", kinds())
def test_what_the_user_wrote_is_not_the_template(name: str) -> None:
    template = TEMPLATES["own system"]
    for text in ("Name", "user", "a", "You are a helpful AI assistant."):
        prompt = read(template, text, name=name, instruction=text, template=True)
        assert of(prompt, "instruction") == letters(text)
        assert of(prompt, "template") == letters(f"system {SYSTEM} user assistant")
        assert prompt.ids == prompt_ids(template, name, [{"role": "user", "content": text}])


def prompt_ids(template: str, name: str, messages: list[dict[str, Any]], **settings: Any) -> Any:
    return tokenizer(template, name).apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False, **settings
    )


TURNS = [
    {"role": "system", "content": "Name it."},
    {"role": "user", "content": "Name it. What is the capital of France?"},
    {"role": "assistant", "content": "a city"},
    {"role": "user", "content": "Name it in plain words."},
]


@pytest.mark.parametrize(
    ("span", "marked"),
    [
        ("Name it.", "Name it."),
        ((1, "Name it."), "Name it."),
        ((-1, "Name it"), "Name it"),
        ((3, 8, 23), "in plain words."),
        (2, "a city"),
        ([0, 2], "Name it.a city"),
        ([(0, "Name"), (3, "plain")], "Name plain"),
    ],
)
def test_spans_of_any_turn(span: Any, marked: str) -> None:
    prompt = read(CHATML, TURNS, instruction=span)
    assert of(prompt, "instruction") == letters(marked)
    tokens = [t for t in prompt.tokens if t.segment == "instruction"]
    message = {(1, "Name it."): 1, (-1, "Name it"): 3}.get(span if isinstance(span, tuple) else ())
    if message:
        (start, end), *_ = prompt.parts[message].spans()
        assert all(start <= t.start < t.end <= end for t in tokens)


def test_messages_are_read_as_the_template_writes_them() -> None:
    prompt = read(CHATML, TURNS, context=(1, "What is the capital of France?"))
    assert prompt.ids == prompt_ids(CHATML, "byte level", TURNS)
    assert prompt.settings["template"] is True
    assert prompt.settings["chat_template"] == CHATML
    places = prompt.settings["messages"]
    assert [prompt.text[m["start"] : m["end"]] for m in places] == [m["content"] for m in TURNS]
    assert [m["role"] for m in places] == ["system", "user", "assistant", "user"]


def test_settings_and_tools_reach_the_template() -> None:
    thinking = CHATML + "{% if enable_thinking is false %}<think></think>{% endif %}"
    assert read(thinking, TURNS, chat={"enable_thinking": False}).text.endswith("<think></think>")
    assert read(thinking, "a", template=True).settings.get("chat") is None

    def weather(city: str) -> str:
        """What the weather is like.

        Args:
            city: Where.
        """
        return city

    with_tools = "{% for t in tools %}{{ t['function']['name'] }}\n{% endfor %}" + CHATML
    prompt = read(with_tools, TURNS, tools=[weather], chat={"enable_thinking": False})
    assert prompt.text.startswith("weather\n")
    assert prompt.settings["tools"][0]["function"]["name"] == "weather"
    assert prompt.settings["chat"] == {"enable_thinking": False}
    ends = {"continue_final_message": True}
    assert read(CHATML, TURNS[:3], chat=ends).text.endswith("a city")


def test_parts_of_a_message() -> None:
    parts = [{"type": "text", "text": "Name"}, {"type": "text", "text": " a city"}]
    messages = [{"role": "user", "content": parts}]
    for form in ("parts alone", "chatml"):
        prompt = read(TEMPLATES[form], messages, instruction="a city")
        assert of(prompt, "instruction") == "acity"
        assert of(prompt) == "Name"


def test_templates_by_name_and_of_the_other_model() -> None:
    named = {"default": CHATML, "tool_use": CHATML + "!"}
    assert read(named, "a", template=True).text.endswith("assistant\n")
    chosen = read(named, "a", template=True, chat={"chat_template": "tool_use"})
    assert chosen.text.endswith("!")
    assert chosen.settings["chat_template"] == CHATML + "!"
    pair = unloaded(tokenizer(CHATML), tokenizer("Base: {{ messages[0]['content'] }}"))
    prompt = read_prompt(pair, "a", template="base")
    assert (prompt.text, prompt.settings["template"]) == ("Base: a", "base")
    for name in ("tuned", True):
        assert read_prompt(pair, "a", template=name).settings["template"] is True


def test_messages_without_a_template() -> None:
    prompt = read(None, TURNS[:2], template="plain", instruction=(1, "Name it."))
    assert prompt.text == "Name it.\n\nName it. What is the capital of France?"
    assert prompt.settings["template"] is False
    assert next(t.start for t in prompt.tokens if t.segment == "instruction") == 10


@pytest.mark.parametrize(
    ("template", "prompt", "options", "says"),
    [
        ("{{ raise_exception('roles must alternate') }}", "a", {}, "refuses.*roles must alternate"),
        ("{{ messages[9]['content'] }}", "a", {}, "of tuned refuses these messages: "),
        ("{% for %}", "a", {}, "of tuned refuses these messages: "),
        ("{{ messages[-1].content | upper }}", "a", {}, "changes the text.*template=False"),
        ("{{ messages[-1].content }}", TURNS[:2], {}, "leaves out the text.*'Name it.'"),
        (None, "a", {}, r"no chat template: use template=False, or give one as"),
        (None, TURNS, {}, "no chat template"),
        ({"rag": CHATML, "tool": CHATML}, "a", {}, 'only as rag, tool: choose .*"rag"'),
        ({"rag": CHATML}, "a", {"chat": {"chat_template": 3}}, "refuses these messages"),
        (
            CHATML,
            "a",
            {"template": "own"},
            'template="own", .* is for twinlens.explore alone: .* "plain"',
        ),
        (CHATML, "a", {"template": "Tuned"}, 'no template \'Tuned\'.*"tuned", "base"'),
        (CHATML, "a", {"template": 3}, "no template 3"),
        (CHATML, "a", {"chat": {"tokenize": True}}, "cannot set tokenize"),
        (CHATML, "a", {"chat": "thinking"}, "chat= holds settings"),
        (CHATML, "a", {"chat": {"f": object()}}, "chat= cannot be recorded"),
        (CHATML, "a", {"tools": "weather"}, "tools= is a list"),
        (CHATML, "a", {"tools": [3]}, "refuses these messages"),
        (CHATML, "a", {"tools": [str], "template": False}, "tools= needs a chat template"),
        (CHATML, "a", {"chat": {"x": 1}, "template": None}, "chat= needs a chat template"),
        (CHATML, TURNS, {"instruction": 9}, "marks message 9.*0 to 3"),
        (CHATML, TURNS, {"instruction": (1, "a city")}, "nearest match"),
        (CHATML, TURNS, {"instruction": (1, 2)}, r"\(message, start, end\).*not \(1, 2\)"),
        (CHATML, TURNS, {"context": (1, 3, 99)}, r"span \(3, 99\) is not in message 1"),
        (CHATML, TURNS, {"context": {"a": 1}}, "context= is a text, "),
    ],
)
def test_what_cannot_be_read(template: Any, prompt: Any, options: Any, says: str) -> None:
    with pytest.raises(PromptError, match=says) as caught:
        read(template, prompt, **{"template": True, **options})
    assert "\n" not in str(caught.value)
