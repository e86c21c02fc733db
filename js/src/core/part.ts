// What of the update the dial turns, in words.

import type { UpdateOptions } from "./options.ts";

type Part = Pick<UpdateOptions, "part" | "partName">;

/** Where the dial turns the update: `in layer 3`, `in every q_proj`, `along 3 q_proj · 1`. */
export function partText({ part, partName }: Part): string {
  const [what, which] = part.split(":");
  if (what === "layer") return `in layer ${which}`;
  if (what === "kind") return `in every ${which}`;
  return `along ${partName || `direction ${which}`}`;
}

/** What tuned is with the dial turned. */
export function turnedText({ scale, ...part }: Part & { scale: number }): string {
  return part.part ? `update × ${scale} ${partText(part)}` : `base + ${scale} × update`;
}
