/**
 * The event stream that sessions share: all of a page, and, where the browser has what it takes (Web Locks and BroadcastChannel), all pages of an origin.
 *
 * It is loaded when there is more than one session, and so gets what the module has already from there.
 *
 * @module
 */

/** @import { Feed, Followed, Follower } from "./rekindle-events.js" */

/** A page whose sessions no other page has greeted after this time reads their events itself. */
const PATIENCE_MS = 2000;
/** A page that hands the stream over continues to read for this time, so that nothing is missed. */
const HANDOVER_MS = 3000;

/**
 * @typedef {object} Tools of the module
 * @property {typeof import("./rekindle-line.js").keepOpen} keepOpen
 * @property {typeof import("./rekindle-events.js").alone} alone
 * @property {string} name what the pages of an origin call their channel and lock
 *
 * @typedef {object} Entry one of this page's sessions
 * @property {Followed} join
 * @property {import("./rekindle-signalling.js").Signalling} signalling
 * @property {Follower} follower
 * @property {boolean} greeted
 * @property {boolean} down it has been told that there is no stream
 * @property {Feed} [instead] its own stream, where the server shares none
 */

/**
 * What pages of an origin say to each other: that one is there, which sessions one follows, what is heard of them, and who reads.
 *
 * @typedef {{ type: "hail" }
 *   | { type: "follow", tab: string, ids: string[] }
 *   | { type: "look" | "giveUp" | "retry" | "nudge" | "seen" | "answers" | "unknown" }
 *   | { type: "lead" | "state", hidden: boolean }
 *   | { type: "event", session: string | undefined, event: string, data: import("./rekindle-signalling.js").Data }
 *   | { type: "down", first: boolean, refused: boolean }} Message
 */

/** What all sessions with one server share. */
export class Hub {
  /** The server does not know how: an older one after a restart. */
  #refused = false;
  #url;
  #tools;
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

  /** @param {string} url @param {Tools} tools */
  constructor(url, tools) {
    this.#url = url;
    this.#tools = tools;
    this.#line = tools.keepOpen((ids, signal) => this.#request(ids, signal), {
      heard: (event, data, session) => {
        if (this.#isElsewhere(session)) this.#say({ type: "event", session, event, data });
        this.#heard(event, data, session);
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
   * Follows a session's events. A stream of the session's own ends when this one has greeted it, so that nothing is missed.
   *
   * @param {Followed} join
   * @param {import("./rekindle-signalling.js").Signalling} signalling
   * @param {Follower} follower
   * @param {Feed | null} [own]
   * @returns {Feed}
   */
  add(join, signalling, follower, own) {
    if (!own) return this.#add(join, signalling, follower);
    const shared = this.#add(join, signalling, {
      heard: (event, data) => {
        if (event === "hello") {
          own?.("stop");
          own = null;
        }
        if (!own) follower.heard(event, data);
      },
      answers: () => own || follower.answers(),
      down: (first, refused) => own || follower.down(first, refused),
      unknown: () => own || follower.unknown(),
    });
    return (what) => {
      own?.(what);
      shared(what);
    };
  }

  /** @param {Followed} join @param {import("./rekindle-signalling.js").Signalling} signalling @param {Follower} follower @returns {Feed} */
  #add(join, signalling, follower) {
    if (this.#refused) return this.#tools.alone(join, signalling, follower);
    /** @type {Entry} */
    const entry = { join, signalling, follower, greeted: false, down: false };
    if (this.#own.size === 0) this.#arrive();
    this.#own.set(join.id, entry);
    this.#changed();
    return (what) => {
      if (what !== "stop") return this.#ask(what);
      if (entry.instead) return entry.instead("stop");
      if (this.#own.get(join.id) !== entry) return;
      this.#own.delete(join.id);
      this.#changed();
      if (this.#own.size === 0) this.#part();
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
  #heard(event, data, session) {
    const entry = session === undefined ? undefined : this.#own.get(session);
    if (!entry) return;
    if (event === "hello") [entry.greeted, entry.down] = [true, false];
    if (event === "disconnected") {
      // The session's keys are gone, and the server is there: how things are, the next greeting says.
      entry.follower.down(true, false);
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
      entry.follower.down(isNews, refused);
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
    this.#refused = true;
    this.#say({ type: "unknown" });
    for (const entry of [...this.#own.values()]) entry.instead = this.#tools.alone(entry.join, entry.signalling, entry.follower);
    this.#own.clear();
    this.#part();
  }

  // -- the pages of an origin among each other ---------------------------------------------------------------------------------

  /** The first session of this page. */
  #arrive() {
    if (!globalThis.navigator?.locks || !globalThis.BroadcastChannel) return;
    const channel = new BroadcastChannel(this.#tools.name);
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

  /** Reads for all as soon as nobody else does; at once where it takes that over. */
  #queue(steal = false) {
    this.#asking?.abort();
    const asking = new AbortController();
    this.#asking = steal ? null : asking;
    const options = steal ? { steal } : { signal: asking.signal };
    const held = navigator.locks.request(this.#tools.name, options, () => {
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
      case "hail":
        if (leads) this.#say({ type: "state", hidden: this.#hidden });
        return;
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
        this.#heard(message.event, message.data, message.session);
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
