// Requests to the server that this page came from, and to no other.

export class RequestError extends Error {
  constructor(message, status, body) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

/** Answers JSON. RequestError with the server's own line if it refuses. */
async function ask(path, options = {}) {
  const response = await reach(path, options);
  return response.status === 204 ? null : response.json();
}

async function reach(path, options) {
  let response;
  try {
    response = await fetch(`api/${path}`, { cache: "no-store", credentials: "omit", ...options });
  } catch (error) {
    throw new RequestError("The server does not answer. Is `ipmedgan view` still running?", 0, null);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new RequestError(body?.error ?? `The server refused the request (${response.status}).`, response.status, body);
}

const post = (path, body = null) => ask(path, { method: "POST", body, headers: { "X-Ipmedgan": "1" } });

export const getState = () => ask("state");
export const getFill = () => ask("fill");
export const cancelFill = () => post("cancel");
export const getBytes = async (path) => (await reach(path, {})).arrayBuffer();
export const startFill = (mask, settings) => post(`fill?${new URLSearchParams(settings)}`, mask);
export const beginUpload = () => post("upload");
export const sendFile = (upload, name, file) =>
  post(`upload/${encodeURIComponent(upload)}?${new URLSearchParams({ name })}`, file);

/** Opens what was uploaded. Answers {scan}, or {choose} if there are several series. */
export async function openUpload(upload, series) {
  const choice = series === undefined ? "" : `?${new URLSearchParams({ series })}`;
  try {
    return { scan: await post(`upload/${encodeURIComponent(upload)}/open${choice}`) };
  } catch (error) {
    if (error.status === 409 && error.body?.choose) return { choose: error.body.choose };
    throw error;
  }
}
