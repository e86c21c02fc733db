// The selections that are one step away, so that their blocks can be there before they are chosen.

import { change, type Selection } from "./selection.ts";
import { State } from "./state.ts";

/** The state as it would be with another selection. */
class Beside extends State {
  readonly selection: Selection;
  readonly #state: State;

  constructor(state: State, selection: Selection) {
    super();
    this.#state = state;
    this.selection = selection;
  }

  get manifest() {
    return this.#state.manifest;
  }
  get options() {
    return this.#state.options;
  }
  get method() {
    return this.#state.method;
  }
  get marks() {
    return this.#state.marks;
  }
  get labels() {
    return this.#state.labels;
  }
  get live() {
    return this.#state.live;
  }
  get closed() {
    return this.#state.closed;
  }
  get place() {
    return this.#state.place;
  }
  has(key: string): boolean {
    return this.#state.has(key);
  }
  lacks(key: string): string {
    return this.#state.lacks(key);
  }
}

/** The states to which one step leads: to the next token, head or layer, and to the one before. */
export function nearby(state: State): State[] {
  const { selection, manifest } = state;
  const { heads, layers } = manifest.pair;
  const counts = {
    token: Math.max(state.length("base"), state.length("tuned")),
    ...(selection.head < 0 ? { layer: layers } : { head: heads }),
  };
  const near: State[] = [];
  for (const step of [1, -1]) {
    for (const [what, count] of Object.entries(counts)) {
      const chosen = selection[what as keyof typeof counts];
      const next = chosen + step;
      if (chosen < 0 || next < 0 || next >= count) continue;
      near.push(new Beside(state, change(selection, { [what]: next })));
    }
  }
  return near;
}
