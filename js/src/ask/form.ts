// The form: what both models shall read, and how.

import { type BySide, SIDES, type Side } from "../contract/contract.ts";
import { button, h, listen, picker } from "../draw/dom.ts";
import { visible } from "../draw/format.ts";
import { markedText } from "./marked.ts";
import type { Example, Question, Whose } from "./request.ts";

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
  const mark = (["instruction", "context"] as const).map((kind) =>
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
