import { createHash } from "node:crypto";
import { createReadStream, readdirSync } from "node:fs";
import { type Plugin, defineConfig } from "vite";

/** Without these a browser gives WebAssembly one thread. */
const ISOLATED = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
/** Fetched when it is wanted, and kept then: most machines never do. */
const LATER = /asyncify|webgpu/;

/** Writes into the service worker which files there are, and so a version that changes with any of them. */
function precache(): Plugin {
  return {
    name: "precache",
    apply: "build",
    enforce: "post",
    generateBundle(_, bundle) {
      const worker = bundle["sw.js"];
      if (worker?.type !== "chunk") return;
      const built = Object.keys(bundle).filter((name) => name !== "sw.js" && !LATER.test(name));
      const files = [...built, ...readdirSync("public")].sort();
      const hash = createHash("sha256");
      for (const name of files) {
        const file = bundle[name];
        hash.update(name).update(file?.type === "chunk" ? file.code : (file?.source ?? ""));
      }
      worker.code = worker.code.replace("__VERSION__", hash.digest("hex").slice(0, 12)).replace('"__FILES__"', JSON.stringify(files.join("|")));
    },
  };
}

/** While it is developed: the zoo's network where `poseling live` has it. */
function network(): Plugin {
  return {
    name: "network",
    configureServer(server) {
      server.middlewares.use("/model/pose.onnx", (_, response) => {
        createReadStream("../src/poseling/zoo/weights/poseling3d-s.onnx").pipe(response);
      });
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [precache(), network()],
  server: { headers: ISOLATED },
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", "import", "module", "browser", "default"] },
  worker: { format: "es" },
  build: {
    target: "es2022",
    outDir: "../src/poseling/live/page",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 2000,
    rollupOptions: {
      input: { index: "index.html", sw: "src/sw.ts" },
      output: { entryFileNames: (chunk) => (chunk.name === "sw" ? "sw.js" : "assets/[name]-[hash].js") },
    },
  },
});
