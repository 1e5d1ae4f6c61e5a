/**
 * The event streams of sessions. Each session has one of its own until there are several on this page, or other pages of the origin have some:
 * a browser keeps six connections to a server at the most, so they then share one. What that takes is in rekindle-hub.js, which is loaded when it is needed.
 *
 * @module
 */

import { Line } from "./rekindle-line.js";

/**
 * How long the first session of a page waits for word from other pages before it opens a stream of its own, and how long any waits for what they share, in ms:
 * streams of their own must not keep the browser's last connection from it.
 */
const HAIL_MS = 30;
const LOAD_MS = 10_000;

/**
 * What a session hears.
 *
 * @typedef {object} Follower
 * @property {(event: string, data: import("./rekindle-signalling.js").Data) => void} heard
 * @property {() => void} lost the stream has ended
 * @property {() => void} answers the server has taken the request for it
 * @property {(refused: boolean) => void} closed it is not open; whether the last attempt to open it was refused at once
 * @property {() => void} unknown the server has no such session
 *
 * @typedef {Pick<import("./rekindle-signalling.js").Join, "id" | "events" | "shared">} Followed what is followed
 *
 * @typedef {object} Feed what a session has in hand while it follows
 * @property {() => void} look sees whether the server is there
 * @property {() => void} giveUp it is not, as far as one can see
 * @property {() => void} retry it is, and what was asked before is asked again
 * @property {() => void} nudge something has happened that makes trying again worth while
 * @property {() => void} stop
 */

/**
 * Follows a session's events.
 *
 * @param {Followed} join
 * @param {import("./rekindle-signalling.js").Signalling} signalling
 * @param {Follower} follower
 * @returns {Feed}
 */
export function follow(join, signalling, follower) {
  if (!join.shared || signalling.isOwn) return alone(join, signalling, follower);
  return Company.at(join.shared).add(join, signalling, follower);
}

/**
 * A stream of the session's own.
 *
 * @param {Followed} join
 * @param {import("./rekindle-signalling.js").Signalling} signalling
 * @param {Follower} follower
 * @returns {Feed}
 */
export function alone(join, signalling, follower) {
  const line = new Line((_, signal) => signalling.events(join.events, signal), {
    heard: (_, event, data) => follower.heard(event, data),
    answers: () => follower.answers(),
    down: (first, refused) => tell(follower, first, refused),
    unknown: () => follower.unknown(),
  });
  line.follow([join.id]);
  return { look: () => line.look(), giveUp: () => line.giveUp(), retry: () => line.retry(), nudge: () => line.nudge(), stop: () => line.follow([]) };
}

/** @param {Follower} follower @param {boolean} first @param {boolean} refused */
export function tell(follower, first, refused) {
  follower.closed(refused);
  if (first) follower.lost();
}

/**
 * Goes over to what sessions share. A session's own stream ends when the other one has greeted it, so that nothing is missed.
 *
 * @param {Feed} own
 * @param {Followed} join
 * @param {import("./rekindle-signalling.js").Signalling} signalling
 * @param {Follower} follower
 * @param {import("./rekindle-hub.js").Hub} hub
 * @returns {Feed}
 */
function replaced(own, join, signalling, follower, hub) {
  let isOver = false;
  const shared = hub.add(join, signalling, {
    heard: (event, data) => {
      if (event === "hello" && !isOver) {
        isOver = true;
        own.stop();
      }
      if (isOver) follower.heard(event, data);
    },
    answers: () => isOver && follower.answers(),
    lost: () => isOver && follower.lost(),
    closed: (refused) => isOver && follower.closed(refused),
    unknown: () => isOver && follower.unknown(),
  });
  /** @param {keyof Feed} what */
  const both = (what) => () => [own, shared].forEach((feed) => feed[what]());
  return { look: both("look"), giveUp: both("giveUp"), retry: both("retry"), nudge: both("nudge"), stop: both("stop") };
}

/** The sessions of this page with one server, while they need not share a stream. */
class Company {
  /** @type {Map<string, Company>} */
  static #all = new Map();

  /** @param {URL} url */
  static at(url) {
    const company = Company.#all.get(url.href) ?? new Company(url);
    Company.#all.set(url.href, company);
    return company;
  }

  #url;
  /** What gives each of them a stream of its own, and what joins it to what they share. @type {Set<{ begins: () => void, shares: () => void }>} */
  #members = new Set();
  /** Other pages are hailed, and heard. @type {BroadcastChannel | null} */
  #channel = null;
  /** What sessions share, once it is there. @type {import("./rekindle-hub.js").Hub | null} */
  #hub = null;
  #loading = false;

  /** @param {URL} url */
  constructor(url) {
    this.#url = url;
  }

  /**
   * @param {Followed} join
   * @param {import("./rekindle-signalling.js").Signalling} signalling
   * @param {Follower} follower
   * @returns {Feed}
   */
  add(join, signalling, follower) {
    if (this.#hub) return this.#hub.add(join, signalling, follower);
    /** @type {Feed | null} */
    let feed = null;
    const begins = () => {
      feed ??= alone(join, signalling, follower);
    };
    if (this.#members.size > 0) this.#share();
    const isHailing = this.#hail();
    const timer = setTimeout(begins, this.#loading ? LOAD_MS : isHailing ? HAIL_MS : 0);
    const shares = () => {
      clearTimeout(timer);
      const hub = /** @type {import("./rekindle-hub.js").Hub} */ (this.#hub);
      feed = feed ? replaced(feed, join, signalling, follower, hub) : hub.add(join, signalling, follower);
    };
    const member = { begins, shares };
    this.#members.add(member);
    return {
      look: () => feed?.look(),
      giveUp: () => feed?.giveUp(),
      retry: () => feed?.retry(),
      nudge: () => feed?.nudge(),
      stop: () => {
        clearTimeout(timer);
        feed?.stop();
        feed = null;
        this.#members.delete(member);
        if (this.#members.size === 0) this.#part();
      },
    };
  }

  /** Asks whether other pages have sessions, where the browser has what they need for sharing; whether it has. */
  #hail() {
    if (!globalThis.navigator?.locks || !globalThis.BroadcastChannel) return false;
    if (this.#channel) return false;
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = () => this.#share();
    this.#channel.postMessage({ type: "hail" });
    return true;
  }

  /** There are several. */
  async #share() {
    if (this.#hub || this.#loading) return;
    this.#loading = true;
    try {
      const { Hub } = await import("./rekindle-hub.js");
      if (this.#members.size === 0) return;
      this.#hub = new Hub(this.#url, { Line, alone, tell, name: this.#name });
      this.#part();
      for (const { shares } of this.#members) shares();
      this.#members.clear();
    } catch {
      // Where it cannot be had now, each has its own; the next one tries again.
      for (const { begins } of this.#members) begins();
    } finally {
      this.#loading = false;
    }
  }

  /** Of the channel of an origin's pages. */
  get #name() {
    return `rekindle ${this.#url.href}`;
  }

  #part() {
    this.#channel?.close();
    this.#channel = null;
  }
}
