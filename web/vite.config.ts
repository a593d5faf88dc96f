import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const SERVER = "http://127.0.0.1:8010";
const API_PATHS = [
  "/offer", "/human", "/humanaudio", "/interrupt_talk", "/set_audiotype", "/record", "/is_speaking", "/sse",
  "/session", "/api", "/healthz", "/readyz",
];

export default defineConfig({
  base: "./",
  plugins: [react()],
  build: { target: "es2022", reportCompressedSize: false },
  server: { proxy: Object.fromEntries(API_PATHS.map((path) => [path, SERVER])) },
  test: { environment: "node", include: ["src/**/*.test.ts"] },
});
