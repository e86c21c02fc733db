// The selections that are one step away, so that their blocks can be there before they are chosen.

import { change, type Selection } from "./selection.ts";
import { State } from "./state.ts";

/** The state as it would be with another selection; what follows from it follows from that one. */
function beside(state: State, selection: Selection): State {
  return new Proxy(state, {
    get(target, name, receiver) {
      if (name === "selection") return selection;
      if (name in State.prototype) return Reflect.get(target, name, receiver);
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** The state to which choosing something leads. */
export const choosing = (state: State, patch: Partial<Selection>): State =>
  beside(state, change(state.selection, patch));

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
      near.push(choosing(state, { [what]: next }));
    }
  }
  return near;
}
