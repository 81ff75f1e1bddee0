import vue from "@vitejs/plugin-vue";
import { defineConfig } from "vitest/config";

/** Where `npm run dev` finds a gateway; the built page always talks to its own origin. */
const gateway = process.env.PARLEY_URL ?? "http://localhost:3000";

export default defineConfig({
  plugins: [vue()],
  build: {
    // Nothing is inlined: the Content-Security-Policy knows 'self' only, and hashed files are cached for ever.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: { input: ["index.html", "status.html"] },
  },
  server: {
    proxy: { "/socket.io": { target: gateway, ws: true }, "/status.json": gateway },
  },
  test: { include: ["test/**/*.test.ts"], environment: "node" },
});
