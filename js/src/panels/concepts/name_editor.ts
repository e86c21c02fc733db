// The name and labels of the shown component, given by hand.

import { type HandLabel, LEVELS, TASKS } from "../../contract/contract.ts";
import { parseUnit } from "../../contract/units.ts";
import type { Store } from "../../core/store.ts";
import { button, h, listen } from "../../draw/dom.ts";
import type { Concepts } from "./data.ts";

/** Longest name, as Python checks it. */
const LONGEST = { characters: 80, words: 8 };

export function nameEditor(store: Store, signal: AbortSignal) {
  let place: { layer: number; component: number } | null = null;
  const text = h("span", { class: "tl-given" });
  const edit = button("name it", () => open(form.hidden !== false), signal, {
    "aria-expanded": "false",
  });
  const name = h("input", {
    class: "tl-input",
    type: "text",
    maxlength: LONGEST.characters,
    placeholder: "what its words have in common",
    "aria-label": "name of the concept",
    dir: "auto",
  });
  const tasks = TASKS.map((label) => checkbox(label));
  const levels = LEVELS.map((label) => checkbox(label));
  const boxes = [...tasks, ...levels];
  const form = h(
    "form",
    { class: "tl-flow tl-naming-form", hidden: true },
    name,
    ticks("task", tasks),
    ticks("level", levels),
    h("button", { class: "tl-button" }, "done"),
  );
  const open = (on: boolean) => {
    form.hidden = !on;
    edit.setAttribute("aria-expanded", String(on));
    if (on) name.focus();
    else edit.focus();
  };
  /** Keep what the form says, or say why not. */
  const keep = (): boolean => {
    const given = trimmed(name.value);
    const labels = boxes.filter((box) => box.checked).map((box) => box.value);
    name.setCustomValidity(problem(given, labels));
    if (!place || !name.reportValidity()) return false;
    store.setLabel(place.layer, place.component, { name: given, labels });
    return true;
  };
  listen(form, "change", { signal }, ({ target }) => {
    // One level at most, as annotators give it and label files keep it.
    if (levels.includes(target as HTMLInputElement)) {
      for (const box of levels) box.checked = box === target && box.checked;
    }
    keep();
  });
  listen(form, "submit", { signal }, (event) => {
    event.preventDefault();
    if (keep()) open(false);
  });
  listen(form, "keydown", { signal }, (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    open(false);
  });
  return {
    el: h("div", { class: "tl-naming" }, h("div", {}, text, edit), form),
    draw({ layer, unit, label }: Concepts) {
      const component = label ? parseUnit(unit)!.index : -1;
      const moved = place?.layer !== layer || place.component !== component;
      if (moved && !form.hidden) {
        form.hidden = true;
        edit.setAttribute("aria-expanded", "false");
      }
      place = label && { layer, component };
      text.parentElement!.hidden = !label;
      if (!label) return;
      text.replaceChildren(...say(label));
      edit.textContent = label.name ? "edit" : "name it";
      if (!moved && form.contains(document.activeElement)) return; // what is typed stays
      name.value = label.name;
      name.setCustomValidity("");
      for (const box of boxes) box.checked = label.labels.includes(box.value);
    },
  };
}

/** A name without what people and models like to put around one. */
function trimmed(text: string): string {
  const bare = text
    .replace(/^[\s"'`*.[\]()]+|[\s"'`*.[\]()]+$/g, "")
    .replace(/^(answer|concept|name|tasks?|level)\s*:/i, "");
  return bare === text ? text : trimmed(bare);
}

/** Why a label cannot be kept; empty where it can. */
function problem(name: string, labels: string[]): string {
  if (!name) return labels.length ? "Give it a name first." : "";
  if (!/\p{L}/u.test(name) || /^(i )?(cannot|can't|can not) tell$/i.test(name)) {
    return "A name has letters and says something.";
  }
  return name.split(/\s+/).length > LONGEST.words ? "A name has at most eight words." : "";
}

function say({ name, labels }: HandLabel): (HTMLElement | string)[] {
  if (!name) return [];
  return [h("b", {}, h("bdi", {}, name)), labels.length ? ` · ${labels.join(", ")}` : "", " "];
}

function checkbox(value: string): HTMLInputElement {
  return h("input", { type: "checkbox", value });
}

function ticks(title: string, boxes: HTMLInputElement[]): HTMLElement {
  return h(
    "div",
    { class: "tl-flow tl-ticks", role: "group", "aria-label": title },
    h("span", {}, title),
    ...boxes.map((box) => h("label", {}, box, ` ${box.value}`)),
  );
}
