// The form: what both models shall read, and how. Parts of its texts are marked: the marks follow what
// is typed, and lie behind the text. A question is what the form and the address hold.

import { type BySide, type Method, SIDES, type Side } from "../contract/contract.ts";
import { button, h, listen, picker } from "../draw/dom.ts";
import { visible } from "../draw/format.ts";
import type { Span } from "../live/tokenizer.ts";

export type Phase = "loading" | "ready" | "answering" | "reading";

export interface Form {
  el: HTMLElement;
  question(): Question;
  show(question: Question): void;
  /** What is going on, in words; `failed` where it went wrong. */
  say(text: string, failed?: boolean): void;
  phase(phase: Phase): void;
  /** What a model has answered so far. */
  answer(side: Side, text: string, ended: boolean): void;
  focus(): void;
}

export interface Actions {
  run(): void;
  stop(): void;
  copy(): void;
}

const READ: { value: "template" | "plain"; label: string }[] = [
  { value: "template", label: "in the chat template" },
  { value: "plain", label: "as it stands" },
];
const ANSWERS: { value: Whose; label: string }[] = [
  { value: "tuned", label: "both read tuned’s answer" },
  { value: "base", label: "both read base’s answer" },
  { value: "own", label: "each reads its own answer" },
];

export function askForm(
  examples: readonly Example[],
  hasTemplate: boolean,
  actions: Actions,
  opener: HTMLElement,
  signal: AbortSignal,
): Form {
  let template = hasTemplate;
  let response: Whose = "tuned";
  let phase: Phase = "loading";
  const text = markedText("What both models read", () => draw(), signal);
  const example = picker<string>("Example", signal, (index) => {
    const chosen = examples[Number(index)];
    if (!chosen) return;
    text.set(chosen.prompt, chosen);
    draw();
    actions.run();
  });
  const read = picker<"template" | "plain">("How the prompt is read", signal, (value) => {
    template = value === "template";
    draw();
  });
  const whose = picker<Whose>("Whose answer is read", signal, (value) => {
    response = value;
    draw();
  });
  const mark = KINDS.map((kind) =>
    button(kind, () => text.mark(kind), signal, {
      "data-mark": kind,
      title: `mark the selected text as ${kind}; without a selection, take the mark away`,
    }),
  );
  // The box keeps its selection.
  for (const marker of mark) {
    listen(marker, "pointerdown", { signal }, (event) => event.preventDefault());
  }
  const run = button("Run", actions.run, signal, { class: "tl-button tl-ask-run" });
  const stop = button("Stop", actions.stop, signal);
  const copy = button("Copy link", actions.copy, signal);
  const said = h("span", { class: "tl-ask-said tl-aside", role: "status" });
  const answers: BySide<HTMLElement> = { base: answerLine("base"), tuned: answerLine("tuned") };
  const heard = h("div", { class: "tl-ask-answers", hidden: true }, answers.base, answers.tuned);
  listen(text.box, "keydown", { signal }, (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    actions.run();
  });

  const draw = () => {
    const chosen = examples.findIndex(({ prompt }) => prompt === text.box.value);
    example.update(
      [
        { value: "", label: "an example" },
        ...examples.map(({ title }, i) => ({ value: String(i), label: title })),
      ],
      chosen < 0 ? "" : String(chosen),
    );
    read.update(hasTemplate ? READ : READ.slice(1), template ? "template" : "plain");
    whose.update(ANSWERS, response);
    const busy = phase === "answering";
    run.disabled = phase === "loading" || text.box.value.trim() === "";
    run.hidden = busy;
    stop.hidden = !busy;
  };
  draw();

  return {
    el: h(
      "section",
      { class: "tl-ask", "aria-label": "Prompt" },
      text.el,
      h(
        "div",
        { class: "tl-flow tl-ask-row" },
        run,
        stop,
        example.el,
        read.el,
        whose.el,
        h("span", { class: "tl-ask-mark tl-aside" }, "mark as ", ...mark),
        copy,
        opener,
        said,
      ),
      heard,
    ),
    question: () => ({ prompt: text.box.value, ...text.marks(), template, response }),
    show(question) {
      template = question.template && hasTemplate;
      response = question.response;
      text.set(question.prompt, question);
      draw();
    },
    say(words, failed = false) {
      said.textContent = words;
      said.classList.toggle("tl-ask-failed", failed);
      said.setAttribute("role", failed ? "alert" : "status");
    },
    phase(now) {
      phase = now;
      if (now === "answering") {
        for (const side of SIDES) answers[side].lastElementChild!.textContent = "";
      }
      heard.hidden = now !== "answering";
      draw();
    },
    answer(side, words, ended) {
      answers[side].lastElementChild!.textContent = visible(words) + (ended ? "" : " …");
    },
    focus: () => text.box.focus(),
  };
}

function answerLine(side: Side): HTMLElement {
  return h(
    "p",
    { class: "tl-ask-answer" },
    h("span", { class: "tl-side", "data-side": side }, side),
    " ",
    h("bdi", {}),
  );
}

const KINDS = ["instruction", "context"] as const;
export type Kind = (typeof KINDS)[number];
export type Marks = Record<Kind, Span | null>;

export interface MarkedText {
  el: HTMLElement;
  box: HTMLTextAreaElement;
  /** Marks in code points. */
  marks(): Marks;
  set(text: string, marks: Marks): void;
  /** Mark what is selected; nothing selected takes the mark away. */
  mark(kind: Kind): void;
}

export function markedText(label: string, changed: () => void, signal: AbortSignal): MarkedText {
  const box = h("textarea", { "aria-label": label, rows: 3, spellcheck: "false", dir: "auto" });
  const behind = h("div", { class: "tl-ask-behind", "aria-hidden": "true", dir: "auto" });
  const el = h("div", { class: "tl-ask-text" }, behind, box);
  let text = "";
  let marks: Marks = { instruction: null, context: null }; // in the units of the box

  const draw = () => {
    // A pixel is not lost where a line ends with a break.
    behind.replaceChildren(...pieces(text, marks), "\u200b");
    behind.scrollTop = box.scrollTop;
  };
  listen(box, "scroll", { signal }, () => (behind.scrollTop = box.scrollTop));
  listen(box, "input", { signal }, () => {
    const [from, to, grown] = change(text, box.value);
    const moved = (span: Span | null) => span && follow(span, from, to, grown);
    marks = { instruction: moved(marks.instruction), context: moved(marks.context) };
    text = box.value;
    draw();
    changed();
  });
  return {
    el,
    box,
    marks() {
      const points = (span: Span | null): Span | null =>
        span && [[...text.slice(0, span[0])].length, [...text.slice(0, span[1])].length];
      return { instruction: points(marks.instruction), context: points(marks.context) };
    },
    set(given, spans) {
      const points = [...given];
      const units = (span: Span | null): Span | null =>
        span && [
          points.slice(0, span[0]).join("").length,
          points.slice(0, span[1]).join("").length,
        ];
      text = given;
      box.value = given;
      marks = { instruction: units(spans.instruction), context: units(spans.context) };
      draw();
    },
    mark(kind) {
      const { selectionStart: from, selectionEnd: to } = box;
      marks = { ...marks, [kind]: from < to ? [from, to] : null };
      const rest = kind === "instruction" ? "context" : "instruction";
      const span = marks[rest];
      // One text is one thing: what is marked anew takes its place.
      if (span && from < span[1] && span[0] < to) marks[rest] = without(span, from, to);
      draw();
      changed();
    },
  };
}

function pieces(text: string, marks: Marks): (HTMLElement | string)[] {
  const spans = KINDS.flatMap((kind) => (marks[kind] ? [{ kind, span: marks[kind] }] : []));
  spans.sort((a, b) => a.span[0] - b.span[0]);
  const made: (HTMLElement | string)[] = [];
  let at = 0;
  for (const { kind, span } of spans) {
    made.push(text.slice(at, span[0]), h("mark", { "data-segment": kind }, text.slice(...span)));
    at = span[1];
  }
  return [...made, text.slice(at)];
}

/** Where two texts differ: from, to in the old one, and by how much it is longer now. */
function change(before: string, now: string): [from: number, to: number, grown: number] {
  const shorter = Math.min(before.length, now.length);
  let from = 0;
  while (from < shorter && before[from] === now[from]) from++;
  let same = 0;
  while (same < shorter - from && before.at(-1 - same) === now.at(-1 - same)) same++;
  return [from, before.length - same, now.length - before.length];
}

/** A span after a change of the text; null where the change goes over one of its ends. */
function follow([start, end]: Span, from: number, to: number, grown: number): Span | null {
  if (to <= start) return [start + grown, end + grown];
  if (from >= end) return [start, end];
  return start <= from && to <= end && start < end + grown ? [start, end + grown] : null;
}

function without([start, end]: Span, from: number, to: number): Span | null {
  if (start < from) return [start, Math.min(end, from)];
  return to < end ? [to, end] : null;
}

/** Whose answer both models read; `own`: each its own. */
export type Whose = "tuned" | "base" | "own";

export interface Question {
  prompt: string;
  /** Marked parts, in code points. */
  instruction: Span | null;
  context: Span | null;
  /** Whether the prompt is read in the chat template. */
  template: boolean;
  response: Whose;
}

export interface Example extends Omit<Question, "template" | "response"> {
  title: string;
  /** Methods that are recorded for it, with what else a page does not compute. */
  methods?: Method[];
}

/** The question of an address; null where it asks none. */
export function questionOf(search: string): Question | null {
  const asked = new URLSearchParams(search);
  const prompt = asked.get("prompt");
  if (!prompt) return null;
  const whose = ANSWERS.find(({ value }) => value === asked.get("response"));
  return {
    prompt,
    instruction: spanOf(asked.get("instruction")),
    context: spanOf(asked.get("context")),
    template: asked.get("template") !== "plain",
    response: whose?.value ?? "tuned",
  };
}

function spanOf(text: string | null): Span | null {
  const range = /^(\d+)-(\d+)$/.exec(text ?? "");
  return range && +range[1]! < +range[2]! ? [+range[1]!, +range[2]!] : null;
}

/** What stands behind `?` for a question. */
export function searchOf(question: Question): string {
  const { prompt, instruction, context, template, response } = question;
  const said = new URLSearchParams({ prompt });
  if (instruction) said.set("instruction", instruction.join("-"));
  if (context) said.set("context", context.join("-"));
  if (!template) said.set("template", "plain");
  if (response !== "tuned") said.set("response", response);
  return said.toString();
}
