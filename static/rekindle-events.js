/**
 * The event streams of sessions. Each session has one of its own until there are several on this page, or other pages of the origin have some:
 * a browser keeps six connections to a server at the most, so they then share one. What that takes is in rekindle-hub.js, which is loaded when it is needed.
 *
 * @module
 */

import { keepOpen } from "./rekindle-line.js";

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
 * @property {import("./rekindle-signalling.js").Heard} heard
 * @property {() => void} answers the server has taken a request for the stream, and will say something
 * @property {(first: boolean, refused: boolean) => void} down there is no stream: `first` where there was one until now or none was tried yet; whether
 *   the last attempt to open it was `refused` at once
 * @property {() => void} unknown the server has no such session
 *
 * @typedef {Pick<import("./rekindle-signalling.js").Join, "id" | "events" | "shared">} Followed what is followed
 *
 * @typedef {(what: "look" | "giveUp" | "retry" | "nudge" | "stop") => void} Feed what a session does while it follows: as the functions of `keepOpen` that are called so
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
  const { href } = join.shared;
  const company = companies.get(href) ?? new Company(href);
  companies.set(href, company);
  return company.add(join, signalling, follower);
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
  const line = keepOpen((_, signal) => signalling.events(join.events, signal), follower);
  line.follow([join.id]);
  return (what) => line[what]();
}

/** By the URL of what they could share. @type {Map<string, Company>} */
const companies = new Map();

/** The sessions of this page with one server, while they need not share a stream. */
class Company {
  #href;
  /** What joins each of them to what they share, or gives it a stream of its own where that cannot be had. @type {Set<(hub?: import("./rekindle-hub.js").Hub) => void>} */
  #members = new Set();
  /** Other pages are hailed, and heard. @type {BroadcastChannel | null} */
  #channel = null;
  /** What sessions share, once it is there. @type {import("./rekindle-hub.js").Hub | undefined} */
  #hub;
  #loading = false;

  /** @param {string} href */
  constructor(href) {
    this.#href = href;
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
    if (this.#members.size > 0) this.#share();
    const isHailing = this.#hail();
    /** @param {import("./rekindle-hub.js").Hub} [hub] */
    const begin = (hub) => {
      clearTimeout(timer);
      feed = hub?.add(join, signalling, follower, feed) ?? feed ?? alone(join, signalling, follower);
    };
    const timer = setTimeout(begin, this.#loading ? LOAD_MS : isHailing ? HAIL_MS : 0);
    this.#members.add(begin);
    return (what) => {
      feed?.(what);
      if (what !== "stop") return;
      clearTimeout(timer);
      feed = null;
      this.#members.delete(begin);
      if (this.#members.size === 0) this.#part();
    };
  }

  /** Asks whether other pages have sessions, where the browser has what they need for sharing; whether it does. */
  #hail() {
    if (this.#channel || !globalThis.navigator?.locks || !globalThis.BroadcastChannel) return false;
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = () => this.#share();
    this.#channel.postMessage({ type: "hail" });
    return true;
  }

  /** There are several. */
  async #share() {
    if (this.#hub || this.#loading) return;
    this.#loading = true;
    const module = await import("./rekindle-hub.js").catch(() => null);
    this.#loading = false;
    if (module && this.#members.size > 0) {
      this.#hub = new module.Hub(this.#href, { keepOpen, alone, name: this.#name });
      this.#part();
    }
    // Where it cannot be had now, each has its own; the next one tries again.
    for (const begin of this.#members) begin(this.#hub);
    if (this.#hub) this.#members.clear();
  }

  /** Of the channel of an origin's pages. */
  get #name() {
    return `rekindle ${this.#href}`;
  }

  #part() {
    this.#channel?.close();
    this.#channel = null;
  }
}
