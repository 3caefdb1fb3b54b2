/** What only screen readers need: short sentences, spoken when the person pauses. */

import { byId, h } from "./dom.ts";

const KEPT = 8;

/** Say a sentence. Each is an element of its own, so that two equal ones are both spoken. */
export function announce(sentence: string): void {
  const region = byId("announcer");
  region.append(h("p", {}, sentence));
  while (region.childElementCount > KEPT) region.firstElementChild?.remove();
}
