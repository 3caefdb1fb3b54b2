/** Text with its web addresses made clickable. Only text nodes and links are made; nothing is parsed as HTML. */

import { h } from "../shared/dom.ts";

const ADDRESS = /https?:\/\/[^\s<>"'`]+/giu;
/** Marks that end a sentence rather than an address. */
const TRAILING = /[.,:;!?*_~]+$/u;

function trimmed(address: string): string {
  let end = address.replace(TRAILING, "");
  // A closing bracket belongs to the address only if it was opened there.
  for (const [open, close] of [
    ["(", ")"],
    ["[", "]"],
  ] as const) {
    while (end.endsWith(close) && end.split(close).length > end.split(open).length) {
      end = end.slice(0, -1).replace(TRAILING, "");
    }
  }
  return end;
}

function safe(address: string): string | null {
  try {
    const url = new URL(address);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

/** The nodes that show `text`. */
export function linkify(text: string): (string | HTMLAnchorElement)[] {
  const nodes: (string | HTMLAnchorElement)[] = [];
  let from = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const address = trimmed(match[0]);
    const href = safe(address);
    if (href === null) continue;
    if (match.index > from) nodes.push(text.slice(from, match.index));
    nodes.push(h("a", { href, target: "_blank", rel: "noopener noreferrer nofollow ugc" }, address));
    from = match.index + address.length;
  }
  if (from < text.length) nodes.push(text.slice(from));
  return nodes;
}
