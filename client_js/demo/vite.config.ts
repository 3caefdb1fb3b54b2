import { defineConfig } from "vite";

/** Where `vite dev` finds a running server; a built bundle is served by the server itself. */
const server = "http://127.0.0.1:8000";

export default defineConfig({
  appType: "mpa",
  resolve: { tsconfigPaths: true },
  build: {
    outDir: "../../server/backchannel/demo/static",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // a strict content security policy allows no data: addresses
    modulePreload: { polyfill: false },
    rolldownOptions: { input: ["index.html", "dashboard/index.html"] },
  },
  server: {
    proxy: { "/demo/": server, "/ws": { target: server, ws: true } },
  },
});
