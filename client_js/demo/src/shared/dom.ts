/** Building and updating DOM nodes. Text always becomes text nodes: nothing here parses HTML. */

export type Child = Node | string | null | undefined | false;

type Handlers = { [E in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[E]) => void };

/** Attributes of an element. `null`, `undefined` and `false` leave one out, `true` sets it empty. */
export interface Attributes {
  readonly [name: string]: string | number | boolean | null | undefined | Handlers;
  readonly on?: Handlers;
}

/** Make an element with attributes, listeners (`on`) and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "object") {
      for (const [event, handler] of Object.entries(value)) {
        element.addEventListener(event, handler as EventListener);
      }
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.filter((child): child is Node | string => Boolean(child)));
  return element;
}

/** The element with this id, which the page's HTML is known to hold. */
export function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`The page has no element #${id}.`);
  return element;
}

/** Set text only where it differs, so that selections and screen readers are left in peace. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Set an attribute only where it differs; `null` removes it. */
export function setAttribute(element: Element, name: string, value: string | null): void {
  if (element.getAttribute(name) === value) return;
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

/** A list of elements that follows a list of items by key, keeping the elements of items that stay. */
export class KeyedList<T> {
  readonly #parent: Element;
  readonly #key: (item: T) => string;
  readonly #create: (item: T) => HTMLElement;
  readonly #update: (element: HTMLElement, item: T) => void;
  #elements = new Map<string, HTMLElement>();

  constructor(
    parent: Element,
    view: {
      key: (item: T) => string;
      create: (item: T) => HTMLElement;
      update: (element: HTMLElement, item: T) => void;
    },
  ) {
    this.#parent = parent;
    this.#key = view.key;
    this.#create = view.create;
    this.#update = view.update;
  }

  /** Show these items in this order. Keys must differ. */
  render(items: readonly T[]): void {
    const next = new Map<string, HTMLElement>();
    for (const item of items) {
      const key = this.#key(item);
      const element = this.#elements.get(key) ?? this.#create(item);
      this.#update(element, item);
      next.set(key, element);
    }
    for (const [key, element] of this.#elements) {
      if (next.get(key) !== element) element.remove();
    }
    let cursor = this.#parent.firstElementChild;
    for (const element of next.values()) {
      if (element === cursor) cursor = cursor.nextElementSibling;
      else this.#parent.insertBefore(element, cursor);
    }
    this.#elements = next;
  }

  get(key: string): HTMLElement | undefined {
    return this.#elements.get(key);
  }
}

/** Arrow keys, Home and End move the focus among the items of a list, which is one tab stop. */
export function roveFocus(list: HTMLElement, selector: string): () => void {
  const items = (): HTMLElement[] => [...list.querySelectorAll<HTMLElement>(selector)];
  const settle = (chosen?: HTMLElement): void => {
    const all = items();
    const stop =
      chosen ??
      all.find((item) => item.hasAttribute("aria-current")) ??
      all.find((item) => item.tabIndex === 0) ??
      all[0];
    for (const item of all) item.tabIndex = item === stop ? 0 : -1;
  };
  list.addEventListener("focusin", (event) => {
    const item = event.target instanceof Element ? event.target.closest<HTMLElement>(selector) : null;
    if (item !== null) settle(item);
  });
  list.addEventListener("keydown", (event) => {
    const all = items();
    const here = all.indexOf(document.activeElement as HTMLElement);
    if (here < 0) return;
    const target = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    all[Math.max(0, Math.min(all.length - 1, target))]?.focus();
  });
  return () =>
    settle(list.contains(document.activeElement) ? (document.activeElement as HTMLElement) : undefined);
}
