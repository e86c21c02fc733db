// Files that the reader keeps, and what a page says to the program that has opened it to be drawn.

import { h } from "./dom.ts";

export function download(content: Blob, name: string): void {
  const link = h("a", { href: URL.createObjectURL(content), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Rows as CSV (RFC 4180); a text that a spreadsheet would take for a formula is quoted as text. */
export function asCsv(rows: readonly (readonly (string | number)[])[]): string {
  const cell = (value: string | number) => {
    if (typeof value === "number") return Number.isNaN(value) ? "" : String(value);
    const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return `${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

/** Put a value into the element `drawn`, as base64 of JSON, in place of everything else. */
export function sayDrawn(value: unknown): void {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  document.body.replaceChildren(h("pre", { id: "drawn" }, text));
}
