/** The pages' icons: strokes on a 24 × 24 grid, hidden from screen readers (the control has the name). */

const SHAPES = {
  add: "M12 5v14M5 12h14",
  back: "M15 5l-7 7 7 7",
  chart: "M4 19h16M7 15v-4M12 15V6M17 15V9",
  chat: "M5 5h14a1.500 1.500 0 0 1 1.500 1.500v9A1.500 1.500 0 0 1 19 17h-8l-5 3.500V17H5a1.500 1.500 0 0 1-1.500-1.500v-9A1.500 1.500 0 0 1 5 5Z",
  close: "M6 6l12 12M18 6L6 18",
  down: "M12 5v14M6 13l6 6 6-6",
  hash: "M10 4L8 20M16 4l-2 16M5 9h15M4 15h15",
  leave: "M14 5H7a1.500 1.500 0 0 0-1.500 1.500v11A1.500 1.500 0 0 0 7 19h7M11 12h9M17 9l3 3-3 3",
  lock: "M7 11h10a1.500 1.500 0 0 1 1.500 1.500v6A1.500 1.500 0 0 1 17 20H7a1.500 1.500 0 0 1-1.500-1.500v-6A1.500 1.500 0 0 1 7 11ZM8.500 11V8a3.500 3.500 0 0 1 7 0v3",
  moon: "M19.500 14A7.800 7.800 0 0 1 10 4.500a7.800 7.800 0 1 0 9.500 9.500Z",
  people:
    "M9 11.500a3.300 3.300 0 1 0 0-6.600 3.300 3.300 0 0 0 0 6.600ZM3.500 19.500c0-3 2.500-5 5.500-5s5.500 2 5.500 5M15.500 5.200a3.300 3.300 0 0 1 0 6M17 14.800c2.100.6 3.500 2.400 3.500 4.700",
  retry: "M19 12a7 7 0 1 1-2.200-5.100M19 4v4.500h-4.500",
  send: "M5 12h13M12 6l6 6-6 6",
  sun: "M12 16.200a4.200 4.200 0 1 0 0-8.400 4.200 4.200 0 0 0 0 8.400ZM12 3v1.500M12 19.500V21M3 12h1.500M19.500 12H21M5.600 5.600l1.100 1.100M17.300 17.300l1.100 1.100M5.600 18.400l1.100-1.100M17.300 6.700l1.100-1.100",
  switch: "M5 9h13M14.500 5.500L18 9l-3.500 3.500M19 15.500H6M9.500 12L6 15.500 9.500 19",
} as const;

export type IconName = keyof typeof SHAPES;

const SVG = "http://www.w3.org/2000/svg";

/** One icon, as large as the text around it asks (`.icon` in base.css). */
export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SHAPES[name]);
  svg.append(path);
  return svg;
}

/** The product's mark: one arrow out, one back. */
export function mark(): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 32 32");
  svg.setAttribute("class", "mark");
  svg.setAttribute("aria-hidden", "true");
  const tile = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries({ width: "32", height: "32", rx: "9" }))
    tile.setAttribute(name, value);
  const out = document.createElementNS(SVG, "path");
  out.setAttribute("d", "M8 12h13m-4-4 4 4-4 4");
  const back = document.createElementNS(SVG, "path");
  back.setAttribute("d", "M24 20.500H11m4-4-4 4 4 4");
  back.setAttribute("class", "mark-back");
  svg.append(tile, out, back);
  return svg;
}
