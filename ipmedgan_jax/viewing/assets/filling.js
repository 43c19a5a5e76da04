// A fill from its start to its end: its progress by slice, and cancel. It is known by the number that the server gives it.
import * as api from "./api.js";
import { say } from "./messages.js";

const find = (id) => document.getElementById(id);
const WAIT = 250; // ms between two questions
const STEPS = 4; // announcements on the way: a screen reader would read every slice

export const isRunning = ({ state }) => ["loading", "filling"].includes(state);

export class Filling {
  #number = null; // null until the server has begun
  #isCancelled = false;
  #announced = "";

  /** Fills; resolves to the fill when it is done, to null if it was cancelled. Error if it failed. */
  run(mask, asked) {
    return this.#follow(() => api.startFill(mask, asked));
  }

  /** Goes on with a fill that was begun before, by this page or another; resolves as `run` does. */
  resume(fill) {
    return this.#follow(() => fill);
  }

  async #follow(begin) {
    this.#busy(true);
    [this.#number, this.#isCancelled] = [null, false];
    try {
      const begun = await begin();
      this.#number = begun.number;
      if (this.#isCancelled) await this.cancel();
      const fill = await this.#end(begun);
      if (fill.state === "failed") throw new Error(api.sentence(fill.error ?? "the fill failed"));
      say(fill.state === "done" ? "Filled." : "Cancelled. The hole is as it was.");
      return fill.state === "done" ? fill : null;
    } catch (error) {
      say("");
      throw error;
    } finally {
      this.#busy(false);
    }
  }

  /** Asks how far a fill is until it has ended. */
  async #end(begun) {
    let fill = begun;
    while (isRunning(fill)) {
      this.#progress(fill);
      await new Promise((resolve) => setTimeout(resolve, WAIT));
      fill = await api.untilAnswered(api.getFill, () =>
        this.#tell("No answer", "The server does not answer. Trying again…"),
      );
      if (fill.number !== begun.number) throw new Error("Another fill was made meanwhile, in another tab. Fill again.");
      if (fill.scan !== begun.scan) throw new Error("Another scan was opened meanwhile, in another tab. Reload the page.");
    }
    return fill;
  }

  #busy(isBusy) {
    const [before, after] = isBusy ? ["fill", "cancel"] : ["cancel", "fill"];
    const hadFocus = document.activeElement === find(before);
    find("fill").hidden = isBusy;
    find("working").hidden = !isBusy;
    if (hadFocus) find(after).focus({ preventScroll: true });
    if (isBusy) find("working").scrollIntoView({ block: "nearest" }); // with Cancel
    this.#announced = "";
    if (isBusy) this.#progress({ state: "loading" });
  }

  #progress({ state, done, total }) {
    const bar = find("progress");
    const isCounting = state === "filling" && total > 0;
    if (isCounting) Object.assign(bar, { max: total, value: done });
    else bar.removeAttribute("value");
    const percent = isCounting ? (Math.floor((STEPS * done) / total) * 100) / STEPS : 0;
    if (isCounting) this.#tell(`Slice ${done} of ${total}`, percent ? `Filling: ${percent} %…` : "Filling…");
    else if (state === "filling") this.#tell("Filling…", "Filling…");
    else this.#tell("Loading…", "Loading what fills…");
  }

  /** Shows how far the fill is, and announces it if that is news. */
  #tell(text, announcement) {
    find("progress-text").textContent = text;
    if (announcement === this.#announced) return;
    this.#announced = announcement;
    say(announcement);
  }

  async cancel() {
    say("Cancelling…");
    this.#isCancelled = true;
    if (this.#number !== null) await api.cancelFill(this.#number);
  }
}
