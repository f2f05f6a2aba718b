// Requests to the server of this page, described in docs/web.md.

const CLIENT = crypto.getRandomValues(new Uint32Array(4)).reduce((name, n) => name + n.toString(36), "c");
const TRIES = 6; // if the server is busy

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// The token is in the fragment of the link, which browsers do not send. It is kept for this tab.
function token() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  if (fragment.has("token")) {
    sessionStorage.setItem("token", fragment.get("token"));
    fragment.delete("token");
    history.replaceState(null, "", "#" + fragment);
  }
  return sessionStorage.getItem("token");
}
const TOKEN = token();

const pause = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("aborted", "AbortError"));
    });
  });

async function send(path, options = {}) {
  const headers = { "X-Jseg-Client": CLIENT, ...options.headers };
  if (TOKEN) headers.Authorization = `Bearer ${TOKEN}`;
  for (let attempt = 1; ; attempt++) {
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch (problem) {
      if (problem.name === "AbortError") throw problem;
      throw new ApiError("The server does not answer. Is jseg web still running?", 0);
    }
    if (response.ok) return response;
    const retry = Number(response.headers.get("Retry-After"));
    const text = await response.text();
    let sentence = text;
    try {
      sentence = JSON.parse(text).error;
    } catch {
      // waitress refuses too large bodies with plain text
      if (response.status === 413) sentence = "the file is too large";
    }
    if (response.status !== 503 || attempt === TRIES || retry > 5) throw new ApiError(sentence.charAt(0).toUpperCase() + sentence.slice(1), response.status);
    await pause(retry || 1, options.signal);
  }
}

const post = (path, body, signal) =>
  send(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal });

export const info = async () => (await send("/api/info")).json();

export async function upload(photo, signal) {
  if (photo.sample) return (await post("/api/images", { sample: photo.sample }, signal)).json();
  const headers = { "Content-Type": photo.blob.type || "application/octet-stream" };
  return (await send("/api/images", { method: "POST", body: photo.blob, headers, signal })).json();
}

export const segment = async (question, signal) => (await post("/api/segment", question, signal)).json();

export const download = async (question) => (await post("/api/download", question)).blob();

export function bytesOf(base64) {
  const text = atob(base64);
  return Uint8Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
}

export async function inflate(base64) {
  const stream = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export const picture = (data, type) => createImageBitmap(new Blob([bytesOf(data)], { type }));
