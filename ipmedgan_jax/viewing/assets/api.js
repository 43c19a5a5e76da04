// Requests to the server that this page came from, and to no other.

const NO_ANSWER = 0; // status of a request that was not answered
const TRIES = 60; // questions more, if one is not answered
const AGAIN = 1000; // ms between them
const LONGEST = 20000; // ms that an answer about the fill may take

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
    throw new RequestError("The server does not answer. Is `ipmedgan view` still running?", NO_ANSWER, null);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  const line = body?.error ?? `the server refused the request (${response.status})`;
  throw new RequestError(sentence(line), response.status, body);
}

/** Returns a line of the server as a sentence. Lines begin with a small letter, or with the name of a file, which stays as it is. */
export function sentence(line) {
  const text = /^[a-z]+[ ,;]/.test(line) ? line[0].toUpperCase() + line.slice(1) : line;
  return /[.?!]$/.test(text) ? text : `${text}.`;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks again as long as the server does not answer, up to a minute; calls `waiting` before each further try. */
export async function untilAnswered(ask, waiting) {
  for (let left = TRIES; ; left -= 1) {
    try {
      return await ask();
    } catch (error) {
      const isRefused = error.status > NO_ANSWER && error.status < 500;
      if (isRefused || !(error instanceof RequestError) || !left) throw error;
      waiting();
      await pause(AGAIN);
    }
  }
}

const post = (path, body = null) => ask(path, { method: "POST", body, headers: { "X-Ipmedgan": "1" } });

export const getState = () => ask("state");
export const getFill = () => ask("fill", { signal: AbortSignal.timeout(LONGEST) });
export const cancelFill = (number) => post(`cancel?${new URLSearchParams({ fill: number })}`);
const getBytes = async (path) => (await reach(path, {})).arrayBuffer();
export const getScan = ({ number }) => getBytes(`scan.nii.gz?number=${number}`);
/** A file of a fill for the viewer. Error, as of all that names a fill, if another fill was made meanwhile. */
export const getView = (name, { number }) => getBytes(`${name}.nii.gz?fill=${number}`);
/** The voxels that were painted for a fill, as `openMask` answers them. */
export const getPainted = ({ number }) => ask(`fill/${number}/painted`);

/** A file of a fill to be saved: {blob, name}, with the name that the server gives it. */
export async function getSaved(name, { number }) {
  const response = await reach(`save/${name}?fill=${number}`, {});
  const given = response.headers.get("Content-Disposition").match(/filename\*=UTF-8''([^;]+)/)[1];
  return { blob: await response.blob(), name: decodeURIComponent(given) };
}

/** The voxels of a mask file that are filled: {mask, warnings}; {labels} if some of several labels are to be chosen. */
export async function openMask(file, scan, labels) {
  const given = { scan: scan.number, name: file.name, ...(labels ? { labels: labels.join(",") } : {}) };
  try {
    return await post(`mask?${new URLSearchParams(given)}`, file);
  } catch (error) {
    if (error.status === 409 && error.body?.labels) return { labels: error.body.labels };
    throw error;
  }
}

/** The page shows a scan that was opened: the one before is not needed any more. */
export const keepScan = ({ number }) => post(`scan/${number}/keep`);
/** The page cannot show a scan that was opened: the one before is open again. */
export const goBack = ({ number }) => post(`scan/${number}/back`);
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
