// What panels read: the selection, how things are shown, and what follows from them for a trace:
// what reads one prompt and one answer, and why something cannot be shown of them.

import type {
  Answer,
  HandLabels,
  Manifest,
  Mark,
  Method,
  Segment,
  Side,
} from "../contract/contract.ts";
import { readingPosition } from "../contract/units.ts";
import { segmentsUnder } from "../maths/marks.ts";
import { memo } from "../maths/memo.ts";
import type { Options } from "./options.ts";
import type { Selection } from "./selection.ts";

export abstract class State {
  abstract readonly manifest: Manifest;
  abstract readonly selection: Selection;
  abstract readonly options: Options;
  abstract readonly method: Method | undefined;
  /** Spans marked anew over the prompt; null for those of the trace. */
  abstract readonly marks: readonly Mark[] | null;
  /** Names and labels given by hand to components. */
  abstract readonly labels: HandLabels;
  /** Whether the two models are there, so that what is not recorded can be computed. */
  abstract readonly live: boolean;
  /** Whether a block can be had without computing it. */
  abstract has(key: string): boolean;
  /** Whether no more blocks can be had than those that are there: in a page. */
  abstract readonly closed: boolean;
  /** Why a block can never be had here; empty where it may be. */
  abstract lacks(key: string): string;
  /** Place of the dial, for all panels but that of the update; empty while tuned is as it is. */
  abstract readonly place: string;

  /** Made once for the same marks: of long prompts it is asked for token by token. */
  private readonly madeSegments = memo<readonly Segment[]>();

  /** Segment of every prompt token under the marks. */
  get segments(): readonly Segment[] {
    const { marks } = this;
    return this.madeSegments([marks], () => segmentsUnder(this.manifest.prompt_tokens, marks));
  }

  /** Prompt tokens of some segments under the marks. */
  marked(...names: string[]): number[] {
    return this.segments.flatMap((segment, i) => (names.includes(segment) ? [i] : []));
  }

  /** First and last token of a span of the answer around the selected one; null for one token. */
  get span(): readonly [from: number, to: number] | null {
    const { token } = this.selection;
    const { span } = this.options.saliency;
    if (!span || span.token !== token || span.end === token) return null;
    return span.end < token ? [span.end, token] : [token, span.end];
  }

  /** Prompt token of the chosen cell of the matrix; -1 where none is chosen. */
  get column(): number {
    const { cell } = this.options.saliency;
    return cell && cell.token === this.selection.token ? cell.prompt : -1;
  }

  get promptLength(): number {
    return this.manifest.prompt_tokens.length;
  }

  answer(side: Side): Answer {
    return this.manifest.answers[side];
  }

  /** T = N + M of one side. */
  length(side: Side): number {
    return this.promptLength + this.answer(side).tokens.length;
  }

  /** C, the positions that hold the same token in both models. */
  get commonLength(): number {
    return this.manifest.shared ? this.length("base") : this.promptLength;
  }

  /** Where the models are read for the selected token; -1 with none. */
  get reading(): number {
    const { token } = this.selection;
    return token < 0 ? -1 : readingPosition(token, this.promptLength);
  }

  segment(...names: string[]): number[] {
    return this.manifest.prompt_tokens.flatMap((token, i) =>
      names.includes(token.segment) ? [i] : [],
    );
  }

  /** Text of the token at a position, of one side. */
  text(position: number, side: Side = "tuned"): string {
    const n = this.promptLength;
    const tokens = position < n ? this.manifest.prompt_tokens : this.answer(side).tokens;
    return tokens[position < n ? position : position - n]?.text ?? "";
  }
}

/** What needs one prompt that both models read, as the keys of its blocks begin. */
const OF_ONE_PROMPT =
  /^(null|carried|update|handover|exchanged|units|neurons\/(?!effect)|neuron\/change|segments\/elsewhere)/;

/** Whether each model reads the prompt in its own chat template. */
export function ownTemplates(manifest: Manifest): boolean {
  return manifest.parameters.template === "own";
}

/** Why a block cannot be had where the models read two prompts; empty where it can. */
export function lacksPrompt(manifest: Manifest, key: string): string {
  return ownTemplates(manifest) && OF_ONE_PROMPT.test(key)
    ? "Each model reads its own chat template: this takes one prompt that both read."
    : "";
}

/** Of what was neither recorded nor can be computed. */
export const NOT_SAVED =
  "It was not computed when this was saved: show it over the models, then save again.";

/** Why there is nothing to compare over one answer; empty where both read one. */
export function lacksAnswer(state: State, what: string): string {
  if (!state.manifest.shared) {
    return `Each model reads its own answer: ${what} only where both read one answer.`;
  }
  return state.answer("tuned").tokens.length ? "" : "There is no answer to explain.";
}

/** The one model that reads a token of the prompt; undefined where both do. */
export function onlyReader(manifest: Manifest, position: number): Side | undefined {
  const by = manifest.parameters.read_by_one as Record<Side, number[]> | undefined;
  if (by?.base?.includes(position)) return "base";
  return by?.tuned?.includes(position) ? "tuned" : undefined;
}
