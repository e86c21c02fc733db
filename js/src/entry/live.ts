// The page that thinks: the form, two workers, and what Python wrote into the page for them.

import { models } from "../ask/models.ts";
import { openLive } from "../ask/page.ts";
import type { LivePage } from "../ask/reading.ts";
import { SIDES } from "../contract/contract.ts";
import { base64Bytes, unpacked85 } from "../contract/packed.ts";
import { reasonOf } from "../core/load.ts";
import { embeddedText, h } from "../draw/dom.ts";
import { embedded } from "../sources/recording.ts";
import { turn } from "../sources/turn.ts";

const PARTS = ["known", ...SIDES] as const;

async function open(): Promise<void> {
  await turn(); // reading this script was a task of its own
  const page: LivePage = JSON.parse(embeddedText("twinlens-live"));
  document.body.classList.add("twinlens-page");
  const el = h("div");
  document.body.append(el);
  const script = await unpacked85(embeddedText("twinlens-worker")).arrayBuffer();
  const code = new Blob([script], { type: "text/javascript" });
  const beside = parsed().then(() => embedded(embeddedText("twinlens-blocks")));
  await openLive(
    page,
    (setup) => models(() => new Worker(URL.createObjectURL(code)), setup, isPhone()),
    beside,
    el,
    async (twins) => {
      await parsed();
      for (const part of PARTS) {
        // Piece by piece, so that the page can be typed into meanwhile.
        const pieces = [...document.querySelectorAll(`[data-part="${part}"]`)];
        for (const [i, piece] of pieces.entries()) {
          twins.part(part, base64Bytes(piece.textContent ?? ""), i === pieces.length - 1);
          piece.remove();
          await turn();
        }
      }
    },
  );
}

/** Whether a finger points: then memory is scarce. */
const isPhone = () => matchMedia("(pointer: coarse)").matches;

/** The models stand behind this script: the page can be used while they are still being read. */
function parsed(): Promise<void> {
  if (document.readyState !== "loading") return Promise.resolve();
  return new Promise((resolve) =>
    document.addEventListener("DOMContentLoaded", () => resolve(), { once: true }),
  );
}

open().catch((error: unknown) => {
  document.body.append(h("p", { role: "alert" }, reasonOf(error)));
});
