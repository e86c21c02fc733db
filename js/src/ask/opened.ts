// Recordings that are dropped onto a page, or chosen: read in the page, shown in the same panels.

import { EXACT } from "../contract/contract.ts";
import { reasonOf } from "../core/load.ts";
import type { Slide } from "../core/selection.ts";
import { SELECTION_DEFAULTS } from "../core/selection.ts";
import { h, listen } from "../draw/dom.ts";
import { mount } from "../shell/mount.ts";
import { savedStore } from "../shell/saved.ts";
import { type Recording, readRecording } from "../sources/recording.ts";

/** Let recordings be dropped anywhere, or chosen by this button; `open` gets those that can be read. */
export function recordings(
  open: (recording: Recording) => void,
  say: (text: string, failed: boolean) => void,
  signal: AbortSignal,
): HTMLElement {
  const take = async (file: File | undefined) => {
    if (!file) return;
    say(`Opening ${file.name}.`, false);
    try {
      open(await readRecording(file.name, await file.arrayBuffer()));
      say(file.name, false);
    } catch (error) {
      say(reasonOf(error), true);
    }
  };
  const input = h("input", { type: "file", accept: ".twl", class: "tl-sr" });
  listen(input, "change", { signal }, () => void take(input.files?.[0]));
  listen(document, "dragover", { signal }, (event) => event.preventDefault());
  listen(document, "drop", { signal }, (event) => {
    const [file] = event.dataTransfer?.files ?? [];
    if (!file) return;
    event.preventDefault();
    void take(file);
  });
  return h(
    "label",
    { class: "tl-button tl-ask-open", title: "or drop it anywhere on the page" },
    "Open recording",
    input,
  );
}

/** Show a recording in the place of what was shown. */
export async function showRecording(
  recording: Recording,
  theme: string,
  el: HTMLElement,
  signal: AbortSignal,
): Promise<void> {
  const { manifest, marks, story, source } = recording;
  const exact = manifest.methods.find(({ name }) => name === EXACT);
  const method = (exact ?? manifest.methods[0])?.name ?? "";
  const shown = { manifest, selection: SELECTION_DEFAULTS, method, marks, theme, missing: [] };
  el.replaceChildren();
  const store = savedStore({ ...shown, slides: story as Slide[] }, source, signal);
  await mount(store, "dashboard", el, signal);
}
