// What a page says to the program that has opened it to be drawn.

import { h } from "./dom.ts";

/** Put a value into the element `drawn`, as base64 of JSON, in place of everything else. */
export function sayDrawn(value: unknown): void {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  document.body.replaceChildren(h("pre", { id: "drawn" }, text));
}
