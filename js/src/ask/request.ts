// A question to both models as the form and the address hold it.

import type { Method } from "../contract/contract.ts";
import type { Span } from "../live/tokenizer.ts";

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

const WHOSE: readonly string[] = ["tuned", "base", "own"];

/** The question of an address; null where it asks none. */
export function questionOf(search: string): Question | null {
  const asked = new URLSearchParams(search);
  const prompt = asked.get("prompt");
  if (!prompt) return null;
  const whose = asked.get("response") ?? "";
  return {
    prompt,
    instruction: spanOf(asked.get("instruction")),
    context: spanOf(asked.get("context")),
    template: asked.get("template") !== "plain",
    response: WHOSE.includes(whose) ? (whose as Whose) : "tuned",
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
