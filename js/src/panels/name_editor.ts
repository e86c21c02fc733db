// The name and labels of the shown component, given by hand.

import type { Store } from "../core/store.ts";
import { button, h } from "../draw/dom.ts";
import { type Label, LEVELS, parseUnit, TASKS } from "../protocol.ts";
import { type Concepts, labelOf } from "./concepts_data.ts";

/** Longest name in characters, as Python checks it. */
const LONGEST = 80;

export interface NameEditor {
  el: HTMLElement;
  draw(concepts: Concepts): void;
}

export function nameEditor(store: Store, signal: AbortSignal): NameEditor {
  let place: { layer: number; component: number } | null = null;
  const text = h("span", { class: "tl-given" });
  const edit = button("name it", () => open(form.hidden !== false), signal, {
    "aria-expanded": "false",
  });
  const name = h("input", {
    class: "tl-input",
    type: "text",
    maxlength: LONGEST,
    placeholder: "what its words have in common",
    "aria-label": "name of the concept",
    dir: "auto",
  });
  const boxes = {
    tasks: TASKS.map((label) => checkbox(label)),
    levels: LEVELS.map((label) => checkbox(label)),
  };
  const form = h(
    "form",
    { class: "tl-naming-form", hidden: true },
    name,
    fieldset("task", boxes.tasks),
    fieldset("level", boxes.levels),
    h("button", { class: "tl-button" }, "done"),
  );
  const open = (on: boolean) => {
    form.hidden = !on;
    edit.setAttribute("aria-expanded", String(on));
    if (on) name.focus();
    else edit.focus();
  };
  const keep = () => {
    if (!place) return;
    const ticked = (list: HTMLInputElement[]) =>
      list.filter((box) => box.checked).map((box) => box.value);
    store.setLabel(place.layer, place.component, {
      name: name.value.trim(),
      tasks: ticked(boxes.tasks),
      levels: ticked(boxes.levels),
    });
  };
  form.addEventListener("change", keep, { signal });
  form.addEventListener(
    "submit",
    (event) => {
      event.preventDefault();
      keep();
      open(false);
    },
    { signal },
  );
  form.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      keep();
      open(false);
    },
    { signal },
  );
  return {
    el: h("div", { class: "tl-naming" }, h("div", {}, text, edit), form),
    draw({ layer, unit, matched }) {
      const parsed = parseUnit(unit);
      const component = parsed?.kind === "component" ? parsed.index : -1;
      const moved = place?.layer !== layer || place.component !== component;
      if (moved && !form.hidden) {
        form.hidden = true;
        edit.setAttribute("aria-expanded", "false");
      }
      place = component < 0 ? null : { layer, component };
      text.parentElement!.hidden = place === null;
      if (!place) return;
      const label = labelOf(store, layer, component, matched[component]);
      text.replaceChildren(...say(label));
      edit.textContent = isEmpty(label) ? "name it" : "edit";
      if (!moved && form.contains(document.activeElement)) return; // what is typed stays
      name.value = label.name;
      for (const [list, on] of [
        [boxes.tasks, label.tasks],
        [boxes.levels, label.levels],
      ] as const) {
        for (const box of list) box.checked = on.includes(box.value);
      }
    },
  };
}

function isEmpty({ name, tasks, levels }: Label): boolean {
  return !name && tasks.length + levels.length === 0;
}

function say(label: Label): (HTMLElement | string)[] {
  if (isEmpty(label)) return [];
  const labels = [...label.tasks, ...label.levels].join(", ");
  return [h("b", {}, h("bdi", {}, label.name || "no name")), labels ? ` · ${labels}` : "", " "];
}

function checkbox(value: string): HTMLInputElement {
  return h("input", { type: "checkbox", value });
}

function fieldset(title: string, boxes: HTMLInputElement[]): HTMLElement {
  return h(
    "fieldset",
    {},
    h("legend", {}, title),
    ...boxes.map((box) => h("label", {}, box, ` ${box.value}`)),
  );
}
