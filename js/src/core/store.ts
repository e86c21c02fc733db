import {
  EXACT,
  type HandLabel,
  type HandLabels,
  type Key,
  keys,
  type Manifest,
  type Mark,
  type Method,
} from "../contract/contract.ts";
import type { Value } from "../contract/decode.ts";
import { dialled, placeOf } from "../contract/units.ts";
import type { Progress, Source } from "../sources/source.ts";
import { Cache } from "./cache.ts";
import { type Changed, changedOptions, type Options, optionsFrom, same } from "./options.ts";
import { perFrame } from "./schedule.ts";
import type { Moment, Slide } from "./selection.ts";
import { change, SELECTION_DEFAULTS, type Selection, stepBack } from "./selection.ts";
import { lacksPrompt, State } from "./state.ts";

/** The part of an anywidget model that holds synced state. */
export interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  on(event: string, callback: () => void): void;
  off(event: string, callback: () => void): void;
}

export type Theme = "auto" | "light" | "dark";

/** What is the same wherever the dial stands: all of the update, and the script. */
const UNTURNED: readonly string[] = [keys.update(), keys.bokehScript()];
const UPDATE = `${keys.update()}/`;
/** What undo brings back. */
const RETRACED = ["token", "layer", "head", "unit", "method", "marks", "view"] as const;
const SYNCED = [...RETRACED, "theme", "presentation", "labels", "slides"] as const;
/** Milliseconds for which a pointer rests before it says anything. */
const REST = 60;
/** Steps that can be undone. */
const STEPS = 200;

/** The one state behind all panels of an explorer: selection, options, blocks. */
export class Store extends State {
  readonly manifest: Manifest;
  readonly signal: AbortSignal;
  #model: Model;
  #cache: Cache;
  #listeners = new Set<() => void>();
  /** What the pointer is at. */
  pointedAt: Partial<Selection> = {};
  /** Told where the pointer rests on what may be chosen. */
  readonly rests = new EventTarget();
  #resting: ReturnType<typeof setTimeout> | undefined;
  #notify: () => void;
  #past: Moment[] = [];
  #future: Moment[] = [];
  /** Changes of one frame are one step. */
  #stepped = false;
  /** What the model keeps of the options, and the options made from it. */
  #view: Changed | undefined;
  #options = optionsFrom({});

  constructor(model: Model, source: Source, signal: AbortSignal) {
    super();
    this.manifest = model.get("_manifest") as Manifest;
    this.signal = signal;
    this.#model = model;
    this.#cache = new Cache(source);
    this.#notify = perFrame(() => {
      this.#stepped = false;
      this.#tell();
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

  get marks(): readonly Mark[] | null {
    return (this.#model.get("marks") as Mark[] | null | undefined) ?? null;
  }

  setMarks(marks: readonly Mark[] | null): void {
    this.#write({ marks });
  }

  /** Select an answer token and all up to another one. */
  selectSpan(token: number, end: number): void {
    const view = changedOptions(this.#with("saliency", { span: { token, end } }));
    this.#write({ ...change(this.selection, { token }), view });
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

  get labels(): HandLabels {
    return (this.#model.get("labels") as HandLabels | undefined) ?? {};
  }

  /** Name a component of a layer, as base numbers it; without a name, forget what it had. */
  setLabel(layer: number, component: number, label: HandLabel): void {
    const { [`${layer}/${component}`]: _, ...others } = this.labels;
    this.#write({ labels: label.name ? { ...others, [`${layer}/${component}`]: label } : others });
  }

  get options(): Options {
    const view = this.#model.get("view") as Changed | undefined;
    if (view !== this.#view) {
      this.#view = view;
      this.#options = optionsFrom(view ?? {});
    }
    return this.#options;
  }

  /** Show something in another way, at once: what a control does is seen in the same frame. */
  setOptions<P extends keyof Options>(panel: P, patch: Partial<Options[P]>): void {
    const options = this.#with(panel, patch);
    if (same(options, this.options)) return;
    this.#write({ view: changedOptions(options) });
    this.#tell();
  }

  #with<P extends keyof Options>(panel: P, patch: Partial<Options[P]>): Options {
    return { ...this.options, [panel]: { ...this.options[panel], ...patch } };
  }

  /** Tell all panels that something outside the state has changed, such as the colours. */
  touch(): void {
    this.#notify();
  }

  /** Everything that says what is seen. */
  get moment(): Moment {
    return {
      ...this.selection,
      method: this.method?.name ?? "",
      marks: this.marks,
      view: (this.#model.get("view") as Changed | undefined) ?? {},
    };
  }

  /** See what was seen before; what is not named is as at the start. */
  restore(moment: Partial<Moment>): void {
    const { methods } = this.manifest;
    const method = (methods.find(({ name }) => name === EXACT) ?? methods[0])?.name ?? "";
    this.#write({ ...SELECTION_DEFAULTS, method, marks: null, view: {}, ...moment });
    this.#tell();
  }

  undo(): void {
    this.#retrace(this.#past, this.#future);
  }

  redo(): void {
    this.#retrace(this.#future, this.#past);
  }

  #retrace(from: Moment[], to: Moment[]): void {
    const moment = from.pop();
    if (!moment) return;
    to.push(this.moment);
    this.#stepped = true;
    this.restore(moment);
  }

  get slides(): readonly Slide[] {
    return (this.#model.get("slides") as Slide[] | undefined) ?? [];
  }

  setSlides(slides: readonly Slide[]): void {
    this.#write({ slides });
  }

  #write(values: Record<string, unknown>): void {
    let changed = false;
    const retraced = RETRACED.some(
      (name) => name in values && !same(values[name], this.#model.get(name)),
    );
    if (retraced && !this.#stepped) {
      this.#stepped = true;
      this.#past.push(this.moment);
      if (this.#past.length > STEPS) this.#past.shift();
      this.#future.length = 0;
    }
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

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Run after every change, once per animation frame. */
  subscribe(listener: () => void, signal: AbortSignal): void {
    this.#listeners.add(listener);
    signal.addEventListener("abort", () => this.#listeners.delete(listener));
  }

  /** Say what the pointer is at, which may be chosen next. */
  pointAt(at: Partial<Selection>): void {
    if (same(at, this.pointedAt)) return;
    this.pointedAt = at;
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => this.rests.dispatchEvent(new Event("rest")), REST);
  }

  get place(): string {
    const follows = this.live && this.manifest.shared && !this.lacks(keys.update());
    const { scale, part } = this.options.update;
    return follows && scale !== 1 ? placeOf(scale, part) : "";
  }

  /** The key under which a block is to be had at this place of the dial. */
  #at(key: string): string {
    const { place } = this;
    return place === "" || key.startsWith(UPDATE) || UNTURNED.includes(key)
      ? key
      : dialled(key, place);
  }

  has(key: string): boolean {
    return this.#cache.has(this.#at(key));
  }

  get closed(): boolean {
    return this.#cache.closed;
  }

  /** Whether a block comes so soon that it may be fetched before anybody asks. */
  quick(key: string, within?: number): boolean {
    return this.#cache.quick(this.#at(key), within);
  }

  lacks(key: string): string {
    return lacksPrompt(this.manifest, key) || this.#cache.lacks(key);
  }

  get live(): boolean {
    return this.#model.get("_recorded") === false;
  }

  block<T>(key: Key<T>, signal: AbortSignal, progress?: (report: Progress) => void): Promise<T> {
    return this.#cache.get(this.#at(key), signal, progress) as Promise<T>;
  }

  /** A block that came after its request had been given up. */
  receive(key: string, value: Value): void {
    this.#cache.put(key, value);
    this.#notify();
  }
}
