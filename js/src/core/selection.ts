// What is selected, and the rules that keep it consistent (the same in Python).

export interface Selection {
  token: number;
  layer: number;
  head: number;
  unit: string;
}

export const SELECTION_DEFAULTS: Selection = { token: -1, layer: -1, head: -1, unit: "" };

/** A head and a unit live in `layer`: another layer clears what was not chosen with it. */
export function change(now: Selection, patch: Partial<Selection>): Selection {
  const next = { ...now, ...patch };
  if (next.layer !== now.layer) {
    if (patch.head === undefined) next.head = -1;
    if (patch.unit === undefined) next.unit = "";
  }
  if (next.layer < 0) {
    next.head = -1;
    next.unit = "";
  }
  return next;
}

/** One step back: unit, then head, then layer, then token. */
export function stepBack(now: Selection): Partial<Selection> {
  if (now.unit) return { unit: "" };
  if (now.head >= 0) return { head: -1 };
  if (now.layer >= 0) return { layer: -1 };
  return { token: -1 };
}

/** `token/layer/head/unit`, what tests and panels compare. */
export function selectionText({ token, layer, head, unit }: Selection): string {
  return `${token}/${layer}/${head}/${unit}`;
}
