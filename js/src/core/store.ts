import type {
  Answer,
  HandLabel,
  HandLabels,
  Manifest,
  Mark,
  Method,
  Segment,
  Side,
} from "../contract/contract.ts";
import type { Value } from "../contract/decode.ts";
import { readingPosition } from "../contract/units.ts";
import { segmentsUnder } from "../maths/marks.ts";
import type { Progress, Source } from "../sources/source.ts";
import { Cache } from "./cache.ts";
import { OPTIONS, type Options } from "./options.ts";
import { perFrame } from "./schedule.ts";
import { change, SELECTION_DEFAULTS, type Selection, stepBack } from "./selection.ts";

/** The part of an anywidget model that holds synced state. */
export interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  on(event: string, callback: () => void): void;
  off(event: string, callback: () => void): void;
}

export type Theme = "auto" | "light" | "dark";

const SYNCED = [
  "token",
  "layer",
  "head",
  "unit",
  "method",
  "marks",
  "theme",
  "presentation",
  "labels",
] as const;

/** The one state behind all panels of an explorer: selection, options, blocks. */
export class Store {
  readonly manifest: Manifest;
  readonly options: Options = structuredClone(OPTIONS);
  readonly signal: AbortSignal;
  #model: Model;
  #cache: Cache;
  #listeners = new Set<() => void>();
  #notify: () => void;

  constructor(model: Model, source: Source, signal: AbortSignal) {
    this.manifest = model.get("_manifest") as Manifest;
    this.signal = signal;
    this.#model = model;
    this.#cache = new Cache(source);
    this.#notify = perFrame(() => {
      for (const listener of this.#listeners) listener();
    }, signal);
    for (const name of SYNCED) {
      model.on(`change:${name}`, this.#notify);
      signal.addEventListener("abort", () => model.off(`change:${name}`, this.#notify));
    }
  }

  get selection(): Selection {
    const selection = { ...SELECTION_DEFAULTS };
    for (const name of Object.keys(selection) as (keyof Selection)[]) {
      Object.assign(selection, { [name]: this.#model.get(name) ?? selection[name] });
    }
    // A trait set from Python may point outside this trace.
    const { pair } = this.manifest;
    const positions = Math.max(this.length("base"), this.length("tuned"));
    if (selection.token >= positions) selection.token = -1;
    if (selection.layer >= pair.layers) selection.layer = -1;
    if (selection.layer < 0 || selection.head >= pair.heads) selection.head = -1;
    if (selection.layer < 0) selection.unit = "";
    return selection;
  }

  select(patch: Partial<Selection>): void {
    this.#write({ ...change(this.selection, patch) });
  }

  stepBack(): void {
    this.select(stepBack(this.selection));
  }

  get method(): Method | undefined {
    const { methods } = this.manifest;
    return methods.find((method) => method.name === this.#model.get("method")) ?? methods[0];
  }

  setMethod(name: string): void {
    this.#write({ method: name });
  }

  /** Spans marked anew over the prompt; null for those of the trace. */
  get marks(): readonly Mark[] | null {
    return (this.#model.get("marks") as Mark[] | null | undefined) ?? null;
  }

  setMarks(marks: readonly Mark[] | null): void {
    this.#write({ marks });
  }

  /** Segment of every prompt token under the marks. */
  get segments(): readonly Segment[] {
    return segmentsUnder(this.manifest.prompt_tokens, this.marks);
  }

  /** Prompt tokens of some segments under the marks. */
  marked(...names: string[]): number[] {
    return this.segments.flatMap((segment, i) => (names.includes(segment) ? [i] : []));
  }

  /** First and last token of a span of the answer around the selected one; null for one token. */
  get span(): readonly [from: number, to: number] | null {
    const { token } = this.selection;
    const { span } = this.options;
    if (!span || span.token !== token || span.end === token) return null;
    return span.end < token ? [span.end, token] : [token, span.end];
  }

  /** Select an answer token and all up to another one. */
  selectSpan(token: number, end: number): void {
    this.setOptions({ span: { token, end } });
    this.select({ token });
  }

  get theme(): Theme {
    return (this.#model.get("theme") as Theme | undefined) ?? "auto";
  }

  get presentation(): boolean {
    return Boolean(this.#model.get("presentation"));
  }

  setPresentation(on: boolean): void {
    this.#write({ presentation: on });
  }

  /** Names and labels given by hand to components. */
  get labels(): HandLabels {
    return (this.#model.get("labels") as HandLabels | undefined) ?? {};
  }

  /** Name a component of a layer, as base numbers it; without a name, forget what it had. */
  setLabel(layer: number, component: number, label: HandLabel): void {
    const { [`${layer}/${component}`]: _, ...others } = this.labels;
    this.#write({ labels: label.name ? { ...others, [`${layer}/${component}`]: label } : others });
  }

  setOptions(patch: Partial<Options>): void {
    Object.assign(this.options, patch);
    this.#notify();
  }

  #write(values: Record<string, unknown>): void {
    let changed = false;
    for (const [name, value] of Object.entries(values)) {
      if (this.#model.get(name) !== value) {
        this.#model.set(name, value);
        changed = true;
      }
    }
    if (!changed) return;
    this.#notify();
    this.#model.save_changes();
  }

  /** Run after every change, once per animation frame. */
  subscribe(listener: () => void, signal: AbortSignal): void {
    this.#listeners.add(listener);
    signal.addEventListener("abort", () => this.#listeners.delete(listener));
  }

  /** Whether a block can be had without computing it. */
  has(key: string): boolean {
    return this.#cache.has(key);
  }

  /** Whether the two models are there, so that what is not recorded can be computed. */
  get live(): boolean {
    return this.#model.get("_recorded") === false;
  }

  block(key: string, signal: AbortSignal, progress?: (report: Progress) => void): Promise<Value> {
    return this.#cache.get(key, signal, progress);
  }

  /** A block that came after its request had been given up. */
  receive(key: string, value: Value): void {
    this.#cache.put(key, value);
    this.#notify();
  }

  // Readings of the manifest that every panel needs.

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
