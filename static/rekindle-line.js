/**
 * One event stream that is kept open.
 *
 * @module
 */

import { now } from "./rekindle-time.js";

/** @import { Data } from "./rekindle-signalling.js" */

/**
 * A retry follows the first failures after this time, later ones ever more slowly, up to the second number.
 *
 * @type {[number, number]}
 */
const RETRY_MS = [10, 500];
/**
 * An attempt to open the event stream is given up after this time, a little later with every failure, up to the second number.
 *
 * @type {[number, number]}
 */
const ATTEMPT_MS = [1000, 4000];
/** An attempt that fails sooner than this was refused: the machine is there, and nobody listens. */
const REFUSED_MS = 500;
/** Why an attempt is given up to which nothing was said. */
const SILENCE = "silence";
/** Sessions that begin together are asked for together. */
const GATHER_MS = 5;

/**
 * The longer it has been failing, the longer the wait: about a sixteenth of it, with some jitter against herds. Where many lose their streams at
 * once the server names a spread, in ms: the first retry comes at any time of it, and later ones that far apart.
 *
 * @param {number} failingMs
 * @param {number} [spreadMs]
 * @param {boolean} [first]
 */
export function retryDelay(failingMs, spreadMs = 0, first = false) {
  const wait = first && spreadMs > 0 ? spreadMs * Math.random() : Math.max(spreadMs, failingMs / 16);
  return Math.min(RETRY_MS[1], Math.max(RETRY_MS[0], wait)) * (0.8 + 0.4 * Math.random());
}

/** Splits a stream of server-sent events into `{ event, data }`, and `session` where a line names it; data is JSON. */
export class EventParser {
  #rest = "";

  /** @param {string} text @returns {{ event: string, data: Data, session?: string }[]} */
  push(text) {
    const blocks = (this.#rest + text).replaceAll("\r\n", "\n").split("\n\n");
    this.#rest = blocks.pop() ?? "";
    return blocks.flatMap((block) => {
      /** @type {any} */
      const fields = {};
      // A field that comes again goes on in a line of its own.
      for (const [, name = "", value] of block.matchAll(/^(event|data|session):(.*)/gm)) fields[name] = [fields[name], value?.trim()].join("\n").trim();
      try {
        return { ...fields, data: JSON.parse(fields.data) };
      } catch {
        // Not ours: an event that is not JSON is left alone.
        return [];
      }
    });
  }
}

/**
 * What became of an attempt to read a stream: it has "ended", is "unknown" (the server has no such stream), or did not begin: "refused", "denied" (the
 * server said no), "silent" (nothing was said in its time: the server's host is gone, or holds the request for the next server) or "failed".
 *
 * @typedef {"ended" | "unknown" | "refused" | "denied" | "silent" | "failed"} Outcome
 */

/**
 * A stream that is kept open, for as many sessions as are wanted. A change of these opens another one beside it, and the old one ends
 * when the new one has begun.
 */
export class Line {
  #request;
  #follower;
  /** @type {string[]} */
  #ids = [];
  /** Those that the latest attempt asked for. @type {Set<string>} */
  #asked = new Set();
  /** The attempt that has begun, and the one that is being made. @type {AbortController | null} */
  #current = null;
  /** @type {AbortController | null} */
  #next = null;
  #tries = 0;
  /** Somebody has asked whether the server is there. */
  #doubts = false;
  #failingSince = now();
  /** How far apart retries are to be, for each session that the server has said it of. @type {Map<string | undefined, number>} */
  #spreads = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {(ids: string[], signal: AbortSignal) => Promise<Response>} request @param {import("./rekindle-events.js").Follower} follower */
  constructor(request, follower) {
    this.#request = request;
    this.#follower = follower;
  }

  /** Follows these sessions from now on; none ends it. @param {string[]} ids */
  follow(ids) {
    this.#ids = ids;
    if (ids.length === 0) return this.stop();
    if (!this.#current && !this.#next) this.#failingSince = this.#tries === 0 ? now() : this.#failingSince;
    else if (ids.every((id) => this.#asked.has(id))) return;
    this.#soon(GATHER_MS);
  }

  /** Sees whether the server is there: a host that is gone closes no stream. */
  look() {
    if (!this.#current) return;
    this.#doubts = true;
    if (!this.#next) this.#soon(0);
  }

  /** What was asked by {@link look} is not waited for any longer. */
  giveUp() {
    if (this.#doubts) this.#next?.abort(SILENCE);
  }

  /** The server is there: what it has been asked may have been lost on the way, and is asked again. */
  retry() {
    if (this.#next || !this.#current) this.nudge(true);
  }

  /** Something has happened that makes another attempt worthwhile. */
  nudge(again = !this.#current && !this.#next) {
    if (again && this.#ids.length > 0) this.#soon(0);
  }

  /** Follows nobody any more. */
  stop() {
    this.#ids = [];
    clearTimeout(this.#timer);
    const attempts = [this.#current, this.#next];
    this.#current = this.#next = null;
    this.#tries = 0;
    for (const attempt of attempts) attempt?.abort();
  }

  /** @param {number} ms */
  #soon(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), ms);
  }

  async #open() {
    const attempt = new AbortController();
    this.#next?.abort();
    this.#next = attempt;
    this.#asked = new Set(this.#ids);
    const outcome = await this.#read(attempt);
    if (attempt === this.#current) {
      // With another one on its way, that one says how things are; but that this one has ended is told at once.
      this.#ends("ended");
    } else if (attempt === this.#next) {
      this.#next = null;
      if (outcome === "unknown") this.#follower.unknown();
      else if (!this.#current) this.#fails(this.#tries === 0, outcome);
      else if (outcome === "refused" || (this.#doubts && outcome !== "denied")) {
        // A stream does not know that its host is gone.
        this.#doubts = false;
        this.#current.abort();
        this.#ends(outcome);
      } else this.#soon(RETRY_MS[1]);
    }
  }

  /** Reads a stream until it ends, or is ended. @param {AbortController} attempt @returns {Promise<Outcome>} */
  async #read(attempt) {
    const timer = setTimeout(() => attempt.abort(SILENCE), Math.min(ATTEMPT_MS[1], ATTEMPT_MS[0] + 500 * this.#tries));
    const start = now();
    /** @type {Outcome} */
    let outcome = "refused";
    try {
      const response = await this.#request(this.#ids, attempt.signal);
      if ([404, 405, 410].includes(response.status)) return "unknown";
      outcome = response.ok ? "failed" : "denied";
      if (!response.ok || !response.body) return outcome;
      this.#follower.answers();
      const parser = new EventParser();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || attempt.signal.aborted) break;
        for (const { event, data, session } of parser.push(value)) {
          if (event === "hello" || event === "gone") {
            outcome = "ended";
            clearTimeout(timer);
          }
          this.#heard(attempt, event, data, session);
        }
      }
    } catch {
      // A process that is killed ends its streams with an error as often as with an end.
    } finally {
      clearTimeout(timer);
      attempt.abort();
    }
    if (attempt.signal.reason === SILENCE) return "silent";
    return outcome === "refused" && now() - start > REFUSED_MS ? "failed" : outcome;
  }

  /** @param {AbortController} attempt @param {string} event @param {Data} data @param {string} [session] */
  #heard(attempt, event, data, session) {
    if (this.#next === attempt) {
      this.#next = null;
      this.#current?.abort();
      this.#current = attempt;
      this.#tries = 0;
      this.#doubts = false;
      this.#spreads.clear();
    }
    if (this.#current !== attempt) return;
    if (data.spread_ms !== undefined) this.#spreads.set(session, data.spread_ms);
    this.#follower.heard(event, data, session);
  }

  /** The stream that there was is none any more. @param {Outcome} outcome */
  #ends(outcome) {
    this.#current = null;
    this.#failingSince = now();
    this.#fails(true, outcome);
  }

  /** @param {boolean} first @param {Outcome} outcome */
  #fails(first, outcome) {
    this.#follower.down(first, outcome === "refused");
    this.#tries += 1;
    // The first retry goes out at once, unless many do: the process may have been replaced already. So does one after silence, which was a wait itself:
    // where somebody holds the server's port, the request that waits there is the first to be answered.
    // The session that may come back first decides for all.
    const spread = this.#spreads.size > 0 ? Math.min(...this.#spreads.values()) : 0;
    const wait = outcome === "silent" ? RETRY_MS[0] : retryDelay(now() - this.#failingSince, spread, this.#tries === 1);
    if (!this.#next && this.#ids.length > 0) this.#soon(wait);
  }
}
