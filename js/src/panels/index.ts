// The one list of panels, in the order of the dashboard.

import type { PanelKind } from "../contract/contract.ts";
import type { MakePanel } from "../shell/frame.ts";
import { carriedPanel } from "./carried/panel.ts";
import { conceptsPanel } from "./concepts/panel.ts";
import { findingsPanel } from "./findings/panel.ts";
import { headsPanel } from "./heads/panel.ts";
import { overviewPanel } from "./overview/panel.ts";
import { saliencyPanel } from "./saliency/panel.ts";
import { updatePanel } from "./update/panel.ts";

/** What makes each of them; the dashboard shows them all. */
export const MAKERS: Record<Exclude<PanelKind, "dashboard">, MakePanel> = {
  findings: findingsPanel,
  saliency: saliencyPanel,
  carried: carriedPanel,
  update: updatePanel,
  heads: headsPanel,
  concepts: conceptsPanel,
  overview: overviewPanel,
};
