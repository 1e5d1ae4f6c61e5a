/**
 * The event streams of sessions. A browser keeps six connections to a server at the most, so all sessions of a page share one stream, and
 * where the browser has what it takes (Web Locks and BroadcastChannel), so do all pages of an origin.
 *
 * @module
 */

import { Line } from "./rekindle-line.js";

/** A page whose sessions no other page has greeted after this time reads their events itself. */
const PATIENCE_MS = 2000;
/** A page that hands the stream over continues to read for this time, so that nothing is missed. */
const HANDOVER_MS = 3000;

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
  if (!join.shared || signalling.isOwn || Hub.refused.has(join.shared.href)) return alone(join, signalling, follower);
  return Hub.at(join.shared).add(join, signalling, follower);
}

/**
 * A stream of the session's own.
 *
 * @param {Followed} join
 * @param {import("./rekindle-signalling.js").Signalling} signalling
 * @param {Follower} follower
 * @returns {Feed}
 */
function alone(join, signalling, follower) {
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
function tell(follower, first, refused) {
  follower.closed(refused);
  if (first) follower.lost();
}

/**
 * @typedef {object} Entry one of this page's sessions
 * @property {Followed} join
 * @property {import("./rekindle-signalling.js").Signalling} signalling
 * @property {Follower} follower
 * @property {boolean} greeted
 * @property {boolean} down it has been told that there is no stream
 * @property {Feed} [instead] its own stream, where the server shares none
 *
 * What pages of an origin say to each other: which sessions one follows, what is heard of them, and who reads.
 *
 * @typedef {{ type: "follow", tab: string, ids: string[] }
 *   | { type: "look" | "giveUp" | "retry" | "nudge" | "seen" | "answers" | "unknown" }
 *   | { type: "lead" | "state", hidden: boolean }
 *   | { type: "event", session: string | undefined, event: string, data: import("./rekindle-signalling.js").Data }
 *   | { type: "down", first: boolean, refused: boolean }} Message
 */

/** What all sessions with one server share. */
class Hub {
  /** @type {Map<string, Hub>} */
  static #all = new Map();
  /** Servers that do not know how: an older one after a restart. @type {Set<string>} */
  static refused = new Set();

  /** @param {URL} url */
  static at(url) {
    const hub = Hub.#all.get(url.href) ?? new Hub(url);
    Hub.#all.set(url.href, hub);
    return hub;
  }

  #url;
  /** This page's sessions, by id. @type {Map<string, Entry>} */
  #own = new Map();
  /** Other pages' sessions, by page; while this page leads. @type {Map<string, string[]>} */
  #others = new Map();
  #line;
  #tab = `${Math.random()}`.slice(2);
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** This page reads for all: its hold on the lock, which a call gives up. @type {(() => void) | null} */
  #release = null;
  /** It reads for itself, since nobody else does. */
  #alone = false;
  /** A request for the lock waits. @type {AbortController | null} */
  #asking = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #patience;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #handover;

  /** @param {URL} url */
  constructor(url) {
    this.#url = url;
    this.#line = new Line((ids, signal) => this.#request(ids, signal), {
      heard: (session, event, data) => {
        if (this.#isElsewhere(session)) this.#say({ type: "event", session, event, data });
        this.#heard(session, event, data);
      },
      answers: () => {
        this.#say({ type: "answers" });
        this.#answers();
      },
      down: (first, refused) => {
        this.#say({ type: "down", first, refused });
        this.#down(first, refused);
      },
      unknown: () => this.#fallBack(),
    });
    if (globalThis.navigator?.locks && globalThis.BroadcastChannel) {
      globalThis.document?.addEventListener("visibilitychange", () => this.#seen());
    }
  }

  /**
   * @param {Followed} join
   * @param {import("./rekindle-signalling.js").Signalling} signalling
   * @param {Follower} follower
   * @returns {Feed}
   */
  add(join, signalling, follower) {
    /** @type {Entry} */
    const entry = { join, signalling, follower, greeted: false, down: false };
    if (this.#own.size === 0) this.#arrive();
    this.#own.set(join.id, entry);
    this.#changed();
    return {
      look: () => this.#ask("look"),
      giveUp: () => this.#ask("giveUp"),
      retry: () => this.#ask("retry"),
      nudge: () => this.#ask("nudge"),
      stop: () => {
        if (entry.instead) return entry.instead.stop();
        if (this.#own.get(join.id) !== entry) return;
        this.#own.delete(join.id);
        this.#changed();
        if (this.#own.size === 0) this.#part();
      },
    };
  }

  get #reads() {
    return this.#release !== null || this.#alone || this.#channel === null;
  }

  /** @param {string[]} ids @param {AbortSignal} signal */
  #request(ids, signal) {
    return fetch(this.#url, {
      method: "POST",
      headers: { "Content-Type": "text/plain", Accept: "text/event-stream" },
      body: ids.join("\n"),
      cache: "no-store",
      credentials: "same-origin",
      signal,
    });
  }

  /** The sessions that are followed have changed. */
  #changed() {
    if (this.#reads) this.#line.follow([...new Set([...this.#own.keys(), ...[...this.#others.values()].flat()])]);
    if (this.#channel === null || this.#release !== null) return;
    this.#say({ type: "follow", tab: this.#tab, ids: [...this.#own.keys()] });
    clearTimeout(this.#patience);
    const waits = () => [...this.#own.values()].some(({ greeted, down }) => !greeted && !down);
    this.#patience = setTimeout(() => {
      if (this.#release !== null || this.#alone || !waits()) return;
      this.#alone = true;
      this.#changed();
    }, PATIENCE_MS);
  }

  /** @type {import("./rekindle-signalling.js").Heard} */
  #heard(session, event, data) {
    const entry = session === undefined ? undefined : this.#own.get(session);
    if (!entry) return;
    if (event === "hello") [entry.greeted, entry.down] = [true, false];
    if (event === "disconnected") {
      // The session's keys are gone, and the server is there: how things are, the next greeting says.
      tell(entry.follower, true, false);
      this.#ask("look");
      return;
    }
    entry.follower.heard(event, data);
  }

  #answers() {
    for (const { follower } of [...this.#own.values()]) follower.answers();
  }

  /** @param {boolean} first @param {boolean} refused */
  #down(first, refused) {
    for (const entry of [...this.#own.values()]) {
      // One that has begun since has not been told yet.
      const isNews = first || !entry.down;
      entry.down = true;
      tell(entry.follower, isNews, refused);
    }
  }

  /**
   * Has whoever reads look whether the server is there, which gives every session a greeting, or give that up, or try again now.
   *
   * @param {"look" | "giveUp" | "retry" | "nudge"} what
   */
  #ask(what) {
    if (this.#reads) this.#line[what]();
    else this.#say({ type: what });
  }

  /** The server does not share streams: each session gets its own. */
  #fallBack() {
    Hub.refused.add(this.#url.href);
    this.#say({ type: "unknown" });
    for (const entry of [...this.#own.values()]) entry.instead = alone(entry.join, entry.signalling, entry.follower);
    this.#own.clear();
    this.#part();
  }

  // -- the pages of an origin among each other ---------------------------------------------------------------------------------

  /** The first session of this page. */
  #arrive() {
    if (!globalThis.navigator?.locks || !globalThis.BroadcastChannel) return;
    const channel = new BroadcastChannel(this.#name);
    this.#channel = channel;
    channel.onmessage = ({ data }) => this.#told(data);
    this.#queue();
  }

  /** The last one has ended. */
  #part() {
    clearTimeout(this.#patience);
    clearTimeout(this.#handover);
    this.#line.stop();
    this.#others.clear();
    this.#alone = false;
    this.#say({ type: "follow", tab: this.#tab, ids: [] });
    this.#asking?.abort();
    this.#asking = null;
    this.#release?.();
    this.#release = null;
    this.#channel?.close();
    this.#channel = null;
  }

  get #name() {
    return `rekindle ${this.#url.href}`;
  }

  /** Reads for all as soon as nobody else does; at once where it takes that over. */
  #queue(steal = false) {
    this.#asking?.abort();
    const asking = new AbortController();
    this.#asking = steal ? null : asking;
    const options = steal ? { steal } : { signal: asking.signal };
    const held = navigator.locks.request(this.#name, options, () => {
      if (this.#channel === null || asking.signal.aborted) return undefined;
      return /** @type {Promise<void>} */ (new Promise((resolve) => {
        this.#asking = null;
        this.#lead(resolve);
      }));
    });
    held.catch((error) => {
      if (error.name !== "AbortError" && this.#channel !== null) {
        // Locks are not for every page: not for one of an opaque origin.
        this.#alone = true;
        this.#changed();
        return;
      }
      // Another page has taken it over. Both read until that one does.
      if (this.#release === null || asking.signal.aborted) return;
      this.#release = null;
      this.#handover = setTimeout(() => this.#handedOver(), HANDOVER_MS);
      this.#queue();
    });
  }

  /** @param {() => void} release */
  #lead(release) {
    clearTimeout(this.#handover);
    this.#release = release;
    this.#alone = false;
    this.#others.clear();
    this.#say({ type: "lead", hidden: this.#hidden });
    this.#changed();
  }

  /** Another page reads for this one. */
  #handedOver() {
    clearTimeout(this.#handover);
    if (this.#reads) return;
    this.#line.stop();
    this.#others.clear();
  }

  get #hidden() {
    return globalThis.document?.hidden === true;
  }

  /** A page that nobody looks at has slow timers, so one that is looked at reads for all. */
  #seen() {
    if (this.#channel === null) return;
    if (this.#release !== null) this.#say({ type: "state", hidden: this.#hidden });
    else if (!this.#hidden) this.#say({ type: "seen" });
  }

  /** @param {{ hidden: boolean }} other what another page says of itself */
  #comparesItself({ hidden }) {
    if (hidden && !this.#hidden) this.#queue(true);
  }

  /** @param {string | undefined} session */
  #isElsewhere(session) {
    if (session === undefined) return false;
    for (const ids of this.#others.values()) if (ids.includes(session)) return true;
    return false;
  }

  /** @param {Message} message */
  #say(message) {
    if (this.#others.size > 0 || !["event", "down", "answers"].includes(message.type)) this.#channel?.postMessage(message);
  }

  /** @param {Message} message */
  #told(message) {
    const leads = this.#release !== null;
    switch (message.type) {
      case "follow":
        if (!leads) return;
        if (message.ids.length > 0) this.#others.set(message.tab, message.ids);
        else this.#others.delete(message.tab);
        this.#say({ type: "state", hidden: this.#hidden });
        this.#changed();
        return;
      case "look":
      case "giveUp":
      case "retry":
      case "nudge":
        if (leads) this.#line[message.type]();
        return;
      case "seen":
        if (leads && this.#hidden) this.#say({ type: "state", hidden: true });
        return;
      case "lead":
        if (leads) return;
        this.#alone = false;
        this.#changed();
        this.#comparesItself(message);
        return;
      case "state":
        if (!leads) this.#comparesItself(message);
        return;
      case "event":
        if (leads) return;
        if (message.event === "hello" && !this.#reads) this.#handedOver();
        this.#heard(message.session, message.event, message.data);
        return;
      case "down":
        if (!leads && !this.#alone) this.#down(message.first, message.refused);
        return;
      case "answers":
        if (!leads && !this.#alone) this.#answers();
        return;
      case "unknown":
        if (!leads) this.#fallBack();
    }
  }
}
