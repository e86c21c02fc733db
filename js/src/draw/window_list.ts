// A long list of which only the rows in view are elements; one row is chosen, arrow keys walk.

import { perFrame } from "../core/schedule.ts";
import { clicks, fill, h, listen, onResize, taken } from "./dom.ts";

export interface Rows {
  count: number;
  /** Index of the chosen row, -1 for none. */
  chosen: number;
  /** Content of a row. */
  cells(index: number): HTMLElement[];
  /** How a screen reader says the row. */
  label(index: number): string;
  /** The row's mark for tests and links. */
  mark: (index: number) => string;
}

/** Rows made beyond both ends of what is in view. */
const SPARE = 6;
const PAGE = 10;
let lists = 0;

export function windowList(label: string, signal: AbortSignal, pick: (index: number) => void) {
  const id = `tl-list-${++lists}`;
  const space = h("div", { class: "tl-rows-space", role: "presentation" });
  const el = h(
    "div",
    { class: "tl-rows", role: "listbox", tabindex: 0, "aria-label": label },
    space,
  );
  let rows: Rows = { count: 0, chosen: -1, cells: () => [], label: () => "", mark: () => "" };
  let height = 24;
  // Known from before: to ask for them in the middle of drawing has the page laid out.
  let top = 0;
  let room = 0;
  let look = "";
  onResize(el, signal, () => {
    room = 0;
    look = "";
  });

  const show = () => {
    room ||= el.clientHeight;
    const first = Math.max(Math.floor(top / height) - SPARE, 0);
    const view = (room || 20 * height) / height;
    const last = Math.min(Math.ceil(top / height + view) + SPARE, rows.count);
    fill(
      space,
      ...Array.from({ length: Math.max(last - first, 0) }, (_, k) => {
        const i = first + k;
        return h(
          "div",
          {
            class: "tl-list-row",
            style: `top: ${i * height}px; height: ${height}px`,
            id: `${id}-${i}`,
            role: "option",
            "aria-selected": String(i === rows.chosen),
            "aria-posinset": i + 1,
            "aria-setsize": rows.count,
            "aria-label": rows.label(i),
            "data-row": rows.mark(i),
          },
          ...rows.cells(i),
        );
      }),
    );
    if (rows.chosen >= 0) el.setAttribute("aria-activedescendant", `${id}-${rows.chosen}`);
    else el.removeAttribute("aria-activedescendant");
  };
  const scrolled = perFrame(() => {
    top = el.scrollTop;
    show();
  }, signal);
  el.addEventListener("scroll", scrolled, { signal, passive: true });
  clicks(el, ".tl-list-row", signal, (row) => pick(Number(row.id.slice(id.length + 1))));
  listen(el, "keydown", { signal }, (event) => {
    const to = target(event.key, rows.chosen, rows.count);
    if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    taken(event);
    if (rows.count > 0) pick(Math.min(Math.max(to, 0), rows.count - 1));
  });

  return {
    el,
    draw(wanted: Rows) {
      const moved = wanted.chosen !== rows.chosen || wanted.count !== rows.count;
      rows = wanted;
      // Larger when presenting.
      const now = el.closest(".twinlens")?.className ?? "";
      if (look === "" || look !== now) {
        look = now;
        height = Math.round(1.9 * (Number.parseFloat(getComputedStyle(el).fontSize) || 13));
      }
      space.style.height = `${rows.count * height}px`;
      if (moved && rows.chosen >= 0 && el.clientHeight > 0) {
        reveal(el, rows.chosen * height, height);
        top = el.scrollTop;
      }
      show();
    },
  };
}

function reveal(el: HTMLElement, top: number, height: number): void {
  if (top < el.scrollTop) el.scrollTop = top;
  else if (top + height > el.scrollTop + el.clientHeight) {
    el.scrollTop = top + height - el.clientHeight;
  }
}

function target(key: string, now: number, count: number): number | undefined {
  return {
    ArrowDown: now + 1,
    ArrowUp: now < 0 ? 0 : now - 1,
    PageDown: now + PAGE,
    PageUp: now - PAGE,
    Home: 0,
    End: count - 1,
  }[key];
}
