import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const SERVER = "http://127.0.0.1:8010";
const API_PATHS = [
  "/offer", "/human", "/humanaudio", "/interrupt_talk", "/set_audiotype", "/record", "/is_speaking", "/sse",
  "/session", "/api", "/v1", "/healthz", "/readyz",
];

/** The library's page at all its addresses, as server/pages.py serves it. */
const library: Plugin = {
  name: "library-addresses",
  configureServer: ({ middlewares }) => {
    middlewares.use((request: { url?: string }, _response, next) => {
      if (/^\/voices(\/[^/?.]*)?\/?(\?|$)/.test(request.url ?? "")) request.url = "/voices.html";
      next();
    });
  },
  transformIndexHtml: { order: "pre", handler: (html, { server }) => (server ? html.replace('<base href="./" />', '<base href="/" />') : html) },
};

export default defineConfig({
  base: "./",
  plugins: [react(), library],
  build: { target: "es2022", reportCompressedSize: false, rolldownOptions: { input: ["index.html", "voices.html"] } },
  server: { proxy: Object.fromEntries(API_PATHS.map((path) => [path, SERVER])) },
  test: { environment: "node", include: ["src/**/*.test.ts"] },
});
