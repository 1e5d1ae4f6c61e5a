/**
 * The numbers of a session while all is well: its rates, and how many watch.
 *
 * @module
 */

import { part, write } from "./page-parts.js";
import { FAULTS, Faults, Rates, lines, rateWords } from "./page-rates.js";

/** @import { Session } from "./rekindle.js" */
/** @import { Fault, Report } from "./page-rates.js" */

/** Interval between readings of the rates, in ms. */
const RATES_MS = 1000;
/** Interval between questions to the server, in ms: long, since every page asks. */
const VIEWERS_MS = 5000;

export class Numbers {
  /** What keeps the picture from being as it should be. @type {Fault | null} */
  fault = null;
  #channel;
  #session;
  #details = part("statistics", HTMLDetailsElement);
  /** @type {RTCPeerConnection | null} */
  #pc = null;
  #rates = new Rates();
  #faults = new Faults();
  #askedAt = -Infinity;
  /** The server does not tell whoever has this token. @type {string | null | undefined} */
  #refused;

  /**
   * @param {string} channel
   * @param {() => { session: Session | null, publishes: boolean, token: string | undefined }} session the present one
   * @param {(fault: Fault | null) => void} changed the fault did
   */
  constructor(channel, session, changed) {
    this.#channel = channel;
    this.#session = session;
    setInterval(() => this.#look(changed).catch(() => {}), RATES_MS);
    this.#details.addEventListener("toggle", () => this.#look(changed).catch(() => {}));
  }

  /** @param {(fault: Fault | null) => void} changed */
  async #look(changed) {
    const { session, publishes, token } = this.#session();
    const pc = session?.pc ?? null;
    if (pc !== this.#pc) {
      this.#pc = pc;
      this.#rates = new Rates();
      this.#faults.clear();
    }
    // While keys are renewed the browser has better to do.
    const calm = session?.state === "connected";
    const wanted = publishes || this.#details.open;
    if (!calm || !pc || !wanted || document.hidden) {
      if (this.fault !== null && !calm) this.#tell(null, changed);
      this.#faults.clear();
      return;
    }
    const reports = /** @type {Report[]} */ ([...(await pc.getStats()).values()]);
    if (this.#session().session !== session) return;
    const sample = this.#rates.look(reports, publishes);
    write("rate", sample.kbps === null ? "–" : rateWords(sample.kbps));
    if (publishes) this.#tell(this.#faults.look(sample), changed);
    if (this.#details.open) showLines(lines(sample));
    if (performance.now() - this.#askedAt >= VIEWERS_MS) await this.#ask(token);
  }

  /** @param {Fault | null} fault @param {(fault: Fault | null) => void} changed */
  #tell(fault, changed) {
    if (this.fault === fault) return;
    this.fault = fault;
    changed(fault);
  }

  /** What to do about it. */
  get words() {
    return this.fault && FAULTS[this.fault];
  }

  /** @param {string | undefined} token */
  async #ask(token) {
    if (this.#refused === (token ?? null)) return;
    this.#askedAt = performance.now();
    const headers = token ? { Authorization: `Bearer ${token}` } : undefined;
    const response = await fetch(`channel/${encodeURIComponent(this.#channel)}`, { headers, cache: "no-store" });
    // A token that is refused is not shown again.
    if (response.status === 401) this.#refused = token ?? null;
    const said = response.ok ? await response.json() : {};
    write("viewers", typeof said.viewers === "number" ? said.viewers : "–");
  }
}

/** @param {[name: string, value: string][]} all */
function showLines(all) {
  const list = part("stats", HTMLDListElement);
  all.forEach(([name, value], i) => {
    let row = list.children[i];
    if (!row) {
      row = document.createElement("div");
      row.append(document.createElement("dt"), document.createElement("dd"));
      list.append(row);
    }
    const [term, text] = row.children;
    if (term && term.textContent !== name) term.textContent = name;
    if (text && text.textContent !== value) text.textContent = value;
  });
}
