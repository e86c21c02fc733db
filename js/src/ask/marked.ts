// A text box in which parts are marked: the marks follow what is typed, and lie behind the text.

import { h, listen } from "../draw/dom.ts";
import type { Span } from "../live/tokenizer.ts";

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
