import { defineConfig, type Plugin } from "vite";

/** Every file in `cjs/` is CommonJS, although the package is not. */
const commonJs: Plugin = {
  name: "commonjs-package",
  generateBundle({ format }) {
    if (format !== "cjs") return;
    this.emitFile({ type: "asset", fileName: "cjs/package.json", source: '{ "type": "commonjs" }\n' });
  },
};

export default defineConfig({
  plugins: [commonJs],
  build: {
    lib: {
      entry: { index: "src/index.ts", msgpack: "src/msgpack.ts", react: "src/react.ts" },
      formats: ["es", "cjs"],
      fileName: (format, name) => (format === "cjs" ? `cjs/${name}.js` : `${name}.js`),
    },
    target: "es2022",
    sourcemap: true,
    rolldownOptions: {
      external: ["react"],
      // For frameworks that render on a server: hooks belong into the browser.
      output: { banner: ({ name }) => (name === "react" ? '"use client";' : "") },
    },
  },
});
