// Building elements. Text always becomes text nodes, never HTML.

type Child = Node | string | null | undefined | false;
type Props = Record<string, string | number | boolean | null | undefined>;

/** Create an element; attributes that are null, undefined or false are left out. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) setAttribute(element, name, value);
  for (const child of children) if (child || child === "") element.append(child);
  return element;
}

export function setAttribute(
  element: Element,
  name: string,
  value: string | number | boolean | null | undefined,
): void {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : String(value));
}

/** Text that Python wrote into an element of the page. */
export function embeddedText(id: string): string {
  const text = document.getElementById(id)?.textContent;
  if (!text) throw new Error(`This page is damaged: it has no ${id}.`);
  return text;
}

export interface Choice<T extends string> {
  value: T;
  label: string;
  /** What cannot be had stands in the list, so that it is known. */
  disabled?: boolean;
}

/** A labelled drop-down list; `update` sets what it offers and shows. */
export function picker<T extends string>(
  label: string,
  onPick: (value: T) => void,
  signal: AbortSignal,
): { el: HTMLElement; update(choices: readonly Choice<T>[], value: T): void } {
  const select = h("select", { "aria-label": label, class: "tl-select" });
  select.addEventListener("change", () => onPick(select.value as T), { signal });
  let shown = "";
  return {
    el: select,
    update(choices, value) {
      const wanted = JSON.stringify(choices);
      if (wanted !== shown) {
        shown = wanted;
        select.replaceChildren(
          ...choices.map((choice) =>
            h("option", { value: choice.value, disabled: choice.disabled }, choice.label),
          ),
        );
      }
      select.value = value;
      select.hidden = choices.length < 2;
    },
  };
}

export function button(
  label: string,
  onClick: () => void,
  signal: AbortSignal,
  props: Props = {},
): HTMLButtonElement {
  const element = h("button", { type: "button", class: "tl-button", ...props }, label);
  element.addEventListener("click", onClick, { signal });
  return element;
}
