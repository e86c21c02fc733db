// The same of both models.

import { type BySide, type Key, SIDES, type Side } from "../../contract/contract.ts";
import type { Got } from "../../core/load.ts";

export function ofSides<T>(make: (side: Side) => T): BySide<T> {
  return { base: make("base"), tuned: make("tuned") };
}

/** A block of both models; null unless both are there. */
export function both<T>(got: Got, key: (side: Side) => Key<T>): BySide<T> | null {
  const loads = ofSides((side) => got(key(side)));
  return SIDES.every((side) => loads[side].state === "ready")
    ? ofSides((side) => loads[side].value!)
    : null;
}
