/** Keeps the page for when there is no network: files with a hash in their name for good, others until there are newer ones. */

declare const self: ServiceWorkerGlobalScope;

const CACHE = "poseling-__VERSION__";
const FILES = "__FILES__".split("|");

self.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open(CACHE);
      await cache.addAll(["./", ...FILES.filter((name) => name !== "index.html")].map((name) => new Request(name, { cache: "reload" })));
      await self.skipWaiting();
    })(),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      const names = await caches.keys();
      await Promise.all(names.filter((name) => name.startsWith("poseling-") && name !== CACHE).map((name) => caches.delete(name)));
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin) return;
  event.respondWith(url.pathname.includes("/assets/") ? kept(request) : newest(request));
});

/** From the cache, else from the network, and kept then. */
async function kept(request: Request): Promise<Response> {
  return (await caches.match(request)) ?? keep(request, await fetch(request));
}

/** From the network where there is one; the page and its network's file may have changed. */
async function newest(request: Request): Promise<Response> {
  try {
    return await keep(request, await fetch(request));
  } catch (error) {
    const found = (await caches.match(request)) ?? (request.mode === "navigate" ? await caches.match("./") : undefined);
    if (found) return found;
    throw error;
  }
}

async function keep(request: Request, response: Response): Promise<Response> {
  if (!response.ok) return response;
  const answer = isolated(response);
  const cache = await caches.open(CACHE);
  await cache.put(request, answer.clone());
  return answer;
}

/** With the headers that give the page threads, where a plain file server leaves them out. */
function isolated(response: Response): Response {
  if (response.headers.has("Cross-Origin-Embedder-Policy") || response.type === "opaque") return response;
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

export {};
