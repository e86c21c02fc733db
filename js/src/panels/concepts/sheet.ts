// What every tab beside the words has in common.

import type { View } from "../../shell/frame.ts";
import type { Concepts } from "./data.ts";

/** One of the tabs. */
export interface Sheet {
  el: HTMLElement;
  /** Whether it shows one layer, to step through. */
  layered: boolean;
  load(view: View, concepts: Concepts): Promise<SheetPicture>;
}

export interface SheetPicture {
  title: string;
  caption: string;
  draw(): void | Promise<void>;
}
