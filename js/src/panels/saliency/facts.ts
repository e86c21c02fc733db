// Everything that the saliency panel shows of one selection.

import type { Alternatives, BySide } from "../../contract/contract.ts";
import type { Numbers } from "../../maths/numbers.ts";
import type { Bars, Track } from "./data.ts";
import type { Shares } from "./shares.ts";

export interface Facts {
  bars: Bars;
  tracks: Track[];
  shares: Shares | null;
  disagreement: Numbers | null;
  logprob: BySide<Numbers> | null;
  alternatives: BySide<Alternatives> | null;
}
