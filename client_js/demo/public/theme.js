// Runs before the first paint, so that a chosen theme never flashes; the toggle is in src/shared/theme.ts.
try {
  const chosen = localStorage.getItem("backchannel.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is switched off: the system's theme holds.
}
