/**
 * How a session begins: the offer is sent until the server accepts it, or refuses it for good.
 *
 * @module
 */

import { retryDelay } from "./rekindle-line.js";
import { now } from "./rekindle-time.js";

/** How long a publisher assumes that the publisher in its way is its own lost request. */
const OWN_GHOST_MS = 40_000;

/** The server's no. */
export class Refusal extends Error {
  /** @param {"channel-taken" | "refused"} reason @param {string} message @param {number} status of HTTP */
  constructor(reason, message, status) {
    super(message);
    this.reason = reason;
    this.status = status;
  }
}

/**
 * @typedef {object} Circumstances
 * @property {boolean} isViewer
 * @property {boolean} again there was a session before this one
 * @property {() => boolean} isDone nobody wants it any more
 * @property {(state: "server-gone" | "waiting", reason: string) => void} waits what is waited for
 * @property {(ms: number) => Promise<void>} pause
 */

/**
 * Joins, however long that takes; null where it is not wanted any more. Throws a {@link Refusal}.
 *
 * @param {import("./rekindle-signalling.js").Signalling} signalling
 * @param {string} offer
 * @param {Circumstances} circumstances
 * @returns {Promise<import("./rekindle-signalling.js").Join | null>}
 */
export async function join(signalling, offer, { isViewer, again, isDone, waits, pause }) {
  // A request that got no answer may have been heard all the same. Then the publisher in the way is ourselves.
  let lostAt = again ? now() : -Infinity;
  for (let tries = 1; !isDone(); tries++) {
    const response = await signalling.post(offer);
    const joined = response?.status === 201 ? await signalling.joined(response) : null;
    if (isDone()) {
      // The page has left meanwhile, and the server must not keep a place for it.
      if (joined) await signalling.leave(joined.location);
      return null;
    }
    if (joined) return joined;
    if (!response) {
      lostAt = now();
      waits("server-gone", "unreachable");
      await pause(retryDelay(tries * 50));
      continue;
    }
    if (response.status === 201) {
      lostAt = now();
      continue;
    }
    const mayWait = isViewer || now() - lostAt < OWN_GHOST_MS;
    if (response.status === 409 && mayWait) {
      if (isViewer) waits("waiting", "no-publisher");
    } else if (response.status !== 429 && response.status < 500) {
      const problem = await response.json().catch(() => ({}));
      const message = problem.detail ?? problem.title ?? `The server answered ${response.status}.`;
      throw new Refusal(response.status === 409 ? "channel-taken" : "refused", message, response.status);
    } else {
      waits("server-gone", "unavailable");
    }
    const seconds = Number(response.headers.get("Retry-After"));
    const wait = seconds > 0 ? seconds * 1000 : 250 * tries;
    await pause(Math.min(Math.max(wait, 3000), wait * (1 + tries / 10)) * (0.9 + 0.2 * Math.random()));
  }
  return null;
}
