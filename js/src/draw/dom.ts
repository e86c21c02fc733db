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

/** The same, of a picture. */
export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  props: Props,
  ...children: Element[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(props)) setAttribute(element, name, value);
  element.append(...children);
  return element;
}

export function setAttribute(
  element: Element,
  name: string,
  value: string | number | boolean | null | undefined,
): void {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else {
    const text = value === true ? "" : String(value);
    // Even the same value would have styles worked out anew.
    if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}

/** Elements that listen themselves: they are put in place as they are. */
const LISTENING = new WeakSet<Node>();

/**
 * What an element holds: freshly built, or kept. What is there already stays and takes over only
 * what is different, so that little has to be laid out anew.
 */
export function fill(element: Element, ...children: Child[]): void {
  const wanted = children.flatMap((child) => {
    if (!child && child !== "") return [];
    return typeof child === "string" ? document.createTextNode(child) : child;
  });
  putInPlace(element, wanted);
}

function putInPlace(element: Element, wanted: readonly Node[]): void {
  for (const [i, child] of wanted.entries()) {
    const present = element.childNodes[i];
    if (!present) element.append(child);
    else if (present !== child && !takesOver(present, child)) element.replaceChild(child, present);
  }
  while (element.childNodes.length > wanted.length) element.lastChild!.remove();
}

function takesOver(present: Node, wanted: Node): boolean {
  if (present.nodeName !== wanted.nodeName || LISTENING.has(present) || LISTENING.has(wanted)) {
    return false;
  }
  if (present instanceof Text && wanted instanceof Text) {
    if (present.data !== wanted.data) present.data = wanted.data;
    return true;
  }
  if (!(present instanceof HTMLElement && wanted instanceof HTMLElement)) return false;
  for (const { name, value } of wanted.attributes) setAttribute(present, name, value);
  for (const { name } of [...present.attributes]) {
    // Which of several Tab reaches is said afterwards.
    if (name !== "tabindex" && !wanted.hasAttribute(name)) present.removeAttribute(name);
  }
  putInPlace(present, [...wanted.childNodes]);
  return true;
}

/** A table: the cells of its head, and the rows under it. */
export function table(props: Props, head: HTMLElement[], rows: HTMLElement[]): HTMLElement {
  return h("table", props, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows));
}

/** Style of what has a place and a size, in CSS pixels. */
export function boxStyle(left: number, top: number, width: number, height: number): string {
  return `left: ${left}px; top: ${top}px; width: ${width}px; height: ${height}px`;
}

/** As `addEventListener`, with what is done last. */
export function listen<T extends keyof HTMLElementEventMap>(
  target: EventTarget,
  type: T,
  options: AddEventListenerOptions,
  act: (event: HTMLElementEventMap[T]) => void,
): void {
  target.addEventListener(type, act as EventListener, options);
}

/** Nobody else gets an event: not the browser, nor the notebook around us. */
export function taken(event: Event): void {
  event.preventDefault();
  event.stopPropagation();
}

/** Call `act` with the element a click is in, of those inside `area` that match. */
export function clicks(
  area: HTMLElement,
  selector: string,
  signal: AbortSignal,
  act: (element: HTMLElement) => void,
): void {
  listen(area, "click", { signal }, (event) => {
    const element = (event.target as HTMLElement).closest<HTMLElement>(selector);
    if (element) act(element);
  });
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
  signal: AbortSignal,
  onPick: (value: T) => void,
): { el: HTMLElement; update(choices: readonly Choice<T>[], value: T): void } {
  const select = h("select", { "aria-label": label, class: "tl-select", hidden: true });
  listen(select, "change", { signal }, () => onPick(select.value as T));
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
  listen(element, "click", { signal }, onClick);
  LISTENING.add(element);
  return element;
}

// Sizes of elements, and when they change.

/** Call `work` where an element has another size. */
export function onResize(el: Element, signal: AbortSignal, work: ResizeObserverCallback): void {
  const resized = new ResizeObserver(work);
  resized.observe(el);
  signal.addEventListener("abort", () => resized.disconnect());
}

/** What is measured, anew only where an element has another size: measuring has the page laid out. */
export function measured<T>(
  elements: () => readonly Element[],
  signal: AbortSignal,
  measure: () => T,
): () => T {
  let known: T | undefined;
  const resized = new ResizeObserver(() => {
    known = undefined;
  });
  signal.addEventListener("abort", () => resized.disconnect());
  return () => {
    if (!known) {
      known = measure();
      for (const element of elements()) resized.observe(element);
    }
    return known;
  };
}

/** The width; measured again as long as there is none. */
export function widthOf(el: Element, signal: AbortSignal): () => number {
  return measured(
    () => [el],
    signal,
    () => el.clientWidth,
  );
}
