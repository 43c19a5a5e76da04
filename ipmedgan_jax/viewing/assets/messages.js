// What the page says: one line for errors, one for progress, and questions with two answers.

const SHOWN = 8000; // ms
const find = (id) => document.getElementById(id);

export function showError(error) {
  find("error-text").textContent = error?.message ?? String(error);
  find("error").hidden = false;
}

export function clearError() {
  find("error").hidden = true;
}

let fading = 0;

/** A line for what goes on, read out by screen readers; empty for nothing. It goes after a while unless it ends in dots. */
export function say(text) {
  clearTimeout(fading);
  if (find("status").textContent !== text) find("status").textContent = text;
  if (!text.endsWith("…"))
    fading = setTimeout(() => {
      find("status").textContent = "";
    }, SHOWN);
}

/** Shows lines, such as warnings, in a list. */
export function listLines(id, lines) {
  find(id).replaceChildren(...(lines ?? []).map((line) => element("li", line)));
}

export function element(tag, text) {
  const result = document.createElement(tag);
  result.textContent = text;
  return result;
}

/** Runs something that may fail; shows its error. */
export async function guarded(action) {
  try {
    clearError();
    return await action();
  } catch (error) {
    say("");
    showError(error);
    return undefined;
  }
}

/** Asks a question; resolves to true if the answer is yes. Escape and No are the same. */
export async function confirmed(question, yes) {
  const answer = await answerOf("question", "no", () => {
    find("question-text").textContent = question;
    find("question-yes").textContent = yes;
  });
  return answer === "yes";
}

/** Offers a choice of several, [{value, text}]; resolves to the chosen value, or null. */
export async function chosen(title, choices) {
  const answer = await answerOf("choice", "", () => {
    find("choice-title").textContent = title;
    find("choice-list").replaceChildren(
      ...choices.map(({ value, text }) => {
        const button = document.createElement("button");
        button.value = value;
        button.textContent = text;
        return button;
      }),
    );
  });
  return answer || null;
}

let earlier = Promise.resolve(); // until the question before is answered: its end comes as an event, some time after it

/** Shows a dialog after the one before; resolves to the value of the button that ended it, or to `otherwise`. */
function answerOf(id, otherwise, prepare) {
  const dialog = find(id);
  const ask = (resolve) => {
    prepare();
    dialog.returnValue = otherwise;
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
    dialog.showModal();
  };
  earlier = earlier.then(() => new Promise(ask));
  return earlier;
}
