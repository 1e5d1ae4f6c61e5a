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
      // A field that comes again goes on.
      for (const [, name = "", value] of block.matchAll(/^(event|data|session): ?(.*)/gm)) fields[name] = (fields[name] ?? "") + value;
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
 *
 * @param {(ids: string[], signal: AbortSignal) => Promise<Response>} request
 * @param {import("./rekindle-events.js").Follower} follower
 */
export function keepOpen(request, follower) {
  /** @type {string[]} */
  let ids = [];
  /** Those that the latest attempt asked for. @type {Set<string>} */
  let asked = new Set();
  /** The attempt that has begun, and the one that is being made. @type {AbortController | null} */
  let current = null;
  /** @type {AbortController | null} */
  let next = null;
  let tries = 0;
  /** Somebody has asked whether the server is there. */
  let doubts = false;
  let failingSince = now();
  /** How far apart retries are to be, for each session that the server has said it of. @type {Map<string | undefined, number>} */
  const spreads = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  /** Follows these sessions from now on; none ends it. @param {string[]} wanted */
  const follow = (wanted) => {
    ids = wanted;
    if (ids.length === 0) return stop();
    if (current || next) {
      if (ids.every((id) => asked.has(id))) return;
    } else if (tries === 0) failingSince = now();
    soon(GATHER_MS);
  };

  /** Sees whether the server is there: a host that is gone closes no stream. */
  const look = () => {
    if (!current) return;
    doubts = true;
    if (!next) soon(0);
  };

  /** What was asked by {@link look} is not waited for any longer. */
  const giveUp = () => {
    if (doubts) next?.abort(SILENCE);
  };

  /** The server is there: what it has been asked may have been lost on the way, and is asked again. */
  const retry = () => {
    if ((next || !current) && ids.length > 0) soon(0);
  };

  /** Something has happened that makes another attempt worthwhile. */
  const nudge = () => {
    if (!next) retry();
  };

  /** Follows nobody any more. */
  const stop = () => {
    ids = [];
    clearTimeout(timer);
    const attempts = [current, next];
    current = next = null;
    tries = 0;
    for (const attempt of attempts) attempt?.abort();
  };

  /** @param {number} ms */
  const soon = (ms) => {
    clearTimeout(timer);
    timer = setTimeout(open, ms);
  };

  const open = async () => {
    const attempt = new AbortController();
    next?.abort();
    next = attempt;
    asked = new Set(ids);
    const outcome = await read(attempt);
    if (attempt === current) {
      // With another one on its way, that one says how things are; but that this one has ended is told at once.
      ends("ended");
    } else if (attempt === next) {
      next = null;
      if (outcome === "unknown") follower.unknown();
      else if (!current) fails(tries === 0, outcome);
      else if (outcome === "refused" || (doubts && outcome !== "denied")) {
        // A stream does not know that its host is gone.
        doubts = false;
        current.abort();
        ends(outcome);
      } else soon(RETRY_MS[1]);
    }
  };

  /** Reads a stream until it ends, or is ended. @param {AbortController} attempt @returns {Promise<Outcome>} */
  const read = async (attempt) => {
    const patience = setTimeout(() => attempt.abort(SILENCE), Math.min(ATTEMPT_MS[1], ATTEMPT_MS[0] + 500 * tries));
    const start = now();
    /** @type {Outcome} */
    let outcome = "refused";
    try {
      const response = await request(ids, attempt.signal);
      if ([404, 405, 410].includes(response.status)) return "unknown";
      outcome = response.ok ? "failed" : "denied";
      if (!response.ok || !response.body) return outcome;
      follower.answers();
      const parser = new EventParser();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || attempt.signal.aborted) break;
        for (const { event, data, session } of parser.push(value)) {
          if (event === "hello" || event === "gone") {
            outcome = "ended";
            clearTimeout(patience);
          }
          heard(attempt, event, data, session);
        }
      }
    } catch {
      // A process that is killed ends its streams with an error as often as with an end.
    } finally {
      clearTimeout(patience);
      attempt.abort();
    }
    if (attempt.signal.reason === SILENCE) return "silent";
    return outcome === "refused" && now() - start > REFUSED_MS ? "failed" : outcome;
  };

  /** @param {AbortController} attempt @param {string} event @param {Data} data @param {string} [session] */
  const heard = (attempt, event, data, session) => {
    if (attempt === next) {
      next = null;
      current?.abort();
      current = attempt;
      tries = 0;
      doubts = false;
      spreads.clear();
    }
    if (attempt !== current) return;
    if (data.spread_ms !== undefined) spreads.set(session, data.spread_ms);
    follower.heard(event, data, session);
  };

  /** The stream that there was is none any more. @param {Outcome} outcome */
  const ends = (outcome) => {
    current = null;
    failingSince = now();
    fails(true, outcome);
  };

  /** @param {boolean} first @param {Outcome} outcome */
  const fails = (first, outcome) => {
    follower.down(first, outcome === "refused");
    tries += 1;
    // The first retry goes out at once, unless many do: the process may have been replaced already. So does one after silence, which was a wait itself:
    // where somebody holds the server's port, the request that waits there is the first to be answered.
    // The session that may come back first decides for all.
    const spread = spreads.size > 0 ? Math.min(...spreads.values()) : 0;
    const wait = outcome === "silent" ? RETRY_MS[0] : retryDelay(now() - failingSince, spread, tries === 1);
    if (!next && ids.length > 0) soon(wait);
  };

  return { follow, look, giveUp, retry, nudge, stop };
}
