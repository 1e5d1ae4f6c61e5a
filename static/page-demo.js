/**
 * The button of `rekindle demo` that kills the server, and what was seen of it. Every other server has neither the button nor what it asks.
 *
 * @module
 */

import { element, part, write } from "./page-parts.js";

/** The server's mark in the `Server-Timing` header of the page itself: the one header of it that a page can read. */
const MARK = "rekindle-demo";
/** A page whose session has no restart to tell of by then says so, in ms. */
const NOTHING_MS = 3000;

/** @typedef {{ took_ms: number, still_ms: number | null, publishes: boolean }} Outcome `still_ms`: the longest time without a new frame; null while it is not known */

/** @param {Outcome} outcome */
export function outcomeWords({ took_ms, still_ms, publishes }) {
  const back = `Killed. Back after ${secondsWords(took_ms)}`;
  if (publishes) return `${back}. What viewers saw of it is told in the tab that watches.`;
  return still_ms === null ? `${back}.` : `${back}; the picture stood still for ${still_ms} ms.`;
}

/** @param {number} ms */
function secondsWords(ms) {
  return `${(ms / 1000).toFixed(ms < 100 ? 2 : 1)} s`;
}

/** @param {number} kills */
export const countWords = (kills) => (kills === 1 ? "1 kill survived" : `${kills} kills survived`);

export class Demo {
  #kills = 0;
  /** @type {Omit<Outcome, "still_ms"> | null} */
  #last = null;
  #publishes;
  /** Waits for a restart of this page's session. @type {number | undefined} */
  #waiting;

  /** @param {() => boolean} publishes whether this page does */
  constructor(publishes) {
    this.#publishes = publishes;
    element("demo").hidden = !isDemo();
    part("kill", HTMLButtonElement).addEventListener("click", () => this.#kill());
  }

  /** The session has survived a restart. @param {number} took_ms */
  back(took_ms) {
    clearTimeout(this.#waiting);
    this.#waiting = undefined;
    this.#kills += 1;
    this.#last = { took_ms, publishes: this.#publishes() };
    write("kills", countWords(this.#kills));
    write("killed", outcomeWords({ ...this.#last, still_ms: null }));
  }

  /** For so long the picture stood still, in ms. @param {number} still_ms */
  seen(still_ms) {
    if (this.#last) write("killed", outcomeWords({ ...this.#last, still_ms }));
  }

  async #kill() {
    // One that is being killed cannot be asked again.
    if (this.#waiting !== undefined) return;
    write("killed", "Killed. Waiting for the next process.");
    this.#waiting = setTimeout(() => {
      this.#waiting = undefined;
      write("killed", "Killed, and the next process is there. Publish in one tab and watch in another to see how a picture survives this.");
    }, NOTHING_MS);
    // A server that is dead by now gives no answer.
    const answer = await fetch("demo/kill", { method: "POST" }).catch(() => null);
    if (!answer || answer.ok) return;
    clearTimeout(this.#waiting);
    this.#waiting = undefined;
    write("killed", `The server does not let itself be killed (${answer.status}).`);
  }
}

function isDemo() {
  const [page] = performance.getEntriesByType("navigation");
  // Firefox has no such member where the page came over plain HTTP from another machine.
  return page instanceof PerformanceNavigationTiming && page.serverTiming?.some(({ name }) => name === MARK) === true;
}
