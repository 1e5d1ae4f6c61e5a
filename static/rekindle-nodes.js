/**
 * Where a session is looked for when its server is gone: which places are to be asked, and when. It only decides; the caller supplies the time.
 *
 * @module
 */

/**
 * Where the session was, nobody else is asked before this time. A server that is started again greets its pages sooner: 155 to 211 ms after it was
 * killed, with up to 100 ms until it was started, on a machine with 2 cores that had others to do.
 */
const ALONE_MS = 300;
/** And not before this one where it has answered, but not greeted us yet (it has many records to read), or its media comes. */
const BUSY_MS = 2000;
/** The others are asked one after the other at this interval, and the first that has the session wins (as in RFC 8305 §5). */
const APART_MS = 250;
/**
 * A place that does not have the session is asked again after this time, and ever later up to the second number: it may read from a store that
 * is behind.
 *
 * @type {[number, number]}
 */
const AGAIN_MS = [250, 2000];
/** The same where the session has its place, and only its publisher is missed. @type {[number, number]} */
const LONELY_AGAIN_MS = [2000, 30_000];
/** A place that does not answer for this time is not counted on. */
const SILENT_MS = 3000;
/** Nor is the one where the session was, after this time. */
const GONE_MS = 10_000;
/**
 * How long a server that is asked whether it is there, since nothing comes from it, may take before another place is asked the same: where it
 * answers at once, nobody else hears of it.
 */
export const ASIDE_MS = 100;
/**
 * Where another place has answered, so that the way is open again if it was not, the server is asked once more, and is gone if it says
 * nothing for so long, or for so many round trips: a new connection, with TLS, takes four.
 */
const CONFIRM_MS = 250;
const CONFIRM_RTTS = 5;
/** The same where the round trip is not known. */
const CONFIRM_FAR_MS = 1000;
/**
 * Where no place answers, this page's own network may be gone. When it is back, the session is still where it was: the others are asked so
 * much later.
 */
const UNSURE_MS = 2000;
/**
 * A viewer that misses the publisher for this time, or up to twice as long, since all viewers miss it at once, looks for it: one of the two may
 * have gone elsewhere, and the other not.
 */
const LONELY_MS = 3000;
/**
 * One that has just left a server which said nothing asks there once more after this time, or up to half as long again: it may only have stood
 * still, and its publisher may have waited.
 */
const BACK_MS = 1000;

/** How long a server may take to say that it is there. @param {number} rtt the round trip to it, in ms */
export function answerTime(rtt) {
  return Number.isFinite(rtt) ? Math.max(CONFIRM_MS, CONFIRM_RTTS * rtt) : CONFIRM_FAR_MS;
}

/**
 * A place: since when it is to be asked, and how often it has said that it does not have what is looked for.
 *
 * @typedef {{ askAt: number, noes: number }} Place
 */
export class Nodes {
  /** Where the session is, or was when it was last heard of: the URL that its server's paths begin with. */
  here;
  /** Since when it is looked for; null while it is where it is. @type {number | null} */
  since = null;
  /** Over how much time its page spreads its attempts to come back, in ms: its server may not have been asked before. */
  spread = 0;
  /** Where else it may be. @type {string[]} */
  #others = [];
  /** Where it has been: there is a way back, also where a server does not tell of it. */
  #been = new Set();
  /** It is a viewer's, and its publisher is missed. */
  #lonely = false;
  /** Where it was until a moment ago, when nothing was heard from there. @type {string | null} */
  #left = null;
  /** Those to be asked, and where the session is if that has said no. @type {Map<string, Place>} */
  #places = new Map();

  /** @param {string} here */
  constructor(here) {
    this.here = here;
    this.#been.add(here);
  }

  /** The server names other places. @param {{ url: string }[]} [nodes] */
  named(nodes = []) {
    const all = new Set([...nodes.map(({ url }) => `${url}/`), ...this.#been]);
    all.delete(this.here);
    this.#others = [...all];
  }

  /** Whether there are any. */
  get hasOthers() {
    return this.#others.length > 0;
  }

  /** The one of them that is asked first. @returns {string | undefined} */
  get other() {
    return this.#others[0];
  }

  /**
   * The server is gone. Where its host is gone too, it has said nothing for a while: then it has been waited for already, and it is `sure` if another
   * place answers meanwhile.
   *
   * @param {number} at
   * @param {boolean} silent
   * @param {boolean} sure
   */
  lost(at, silent, sure) {
    if (this.since !== null) return;
    this.since = at;
    const wait = sure ? 0 : UNSURE_MS;
    this.#ask(at + (silent ? wait : ALONE_MS + this.spread));
  }

  /** Of a server that said nothing it is sure by now. @param {number} at */
  isGone(at) {
    if (this.since !== null) this.#ask(at, true);
  }

  /**
   * The server where the session was has answered, and may be about to greet us; or its media comes, so that only its events are missed.
   *
   * @param {number} at
   * @param {boolean} [media]
   */
  answers(at, media = false) {
    if (this.since !== null) this.#ask(media ? at + BUSY_MS : Math.min(at + BUSY_MS, this.since + GONE_MS));
  }

  /** A place does not have what is looked for. @param {string} place @param {number} at */
  lacks(place, at) {
    const noes = this.#noes(place);
    const [first, most] = this.since === null && place !== this.here ? LONELY_AGAIN_MS : AGAIN_MS;
    this.#places.set(place, { askAt: at + Math.min(most, first * 2 ** noes), noes: noes + 1 });
    if (place !== this.here) return;
    this.since ??= at;
    // The others need not wait for it any more.
    if (noes === 0) this.#ask(at, true);
  }

  /** The server says whether a viewer's publisher is there. @param {boolean} live @param {number} at */
  hears(live, at) {
    if (this.since !== null || this.#lonely === !live) return;
    this.#lonely = !live;
    this.#places.clear();
    if (live) return;
    this.#ask(at + LONELY_MS * (1 + Math.random()));
    if (this.#left !== null) this.#places.set(this.#left, { askAt: at + BACK_MS * (1 + Math.random() / 2), noes: 0 });
    this.#left = null;
  }

  /** Whether the server is there, also where it does not have the session any more. */
  get answered() {
    return this.since === null || this.#noes(this.here) > 0;
  }

  /** Whether the session moves to another place that has it; with the publisher or without. @param {boolean} live */
  wants(live) {
    return this.since !== null || live;
  }

  /** A place has it, and names others. @param {string} place @param {{ url: string }[]} [nodes] */
  found(place, nodes) {
    if (place !== this.here) this.#left = this.since === null ? null : this.here;
    this.here = place;
    this.#been.add(place);
    this.since = null;
    this.#lonely = false;
    this.#places.clear();
    this.named(nodes);
  }

  /** Those that are to be asked now. @param {number} at */
  asked(at) {
    for (const [place, { askAt }] of this.#places) {
      if (this.since === null && at - askAt >= SILENT_MS) this.lacks(place, at);
    }
    return [this.here, ...this.#others].filter((place) => this.#askAt(place) <= at);
  }

  /** When to look again at the latest. @param {number} at */
  lookAgainAt(at) {
    const times = this.since === null ? [] : [this.since + GONE_MS];
    for (const { askAt } of this.#places.values()) times.push(askAt, askAt + SILENT_MS);
    return Math.min(...times.filter((time) => time > at));
  }

  /**
   * The place where a new session is to be made, once nobody has this one: all who answer say so, and nobody else is waited for any more. Null
   * until then.
   *
   * @param {number} at
   */
  givesUp(at) {
    if (this.since === null) return null;
    if (!this.#others.every((place) => this.#noes(place) > 0 || at - this.#askAt(place) >= SILENT_MS)) return null;
    if (this.#noes(this.here) > 0) return this.here;
    return at - this.since >= GONE_MS ? (this.#others.find((place) => this.#noes(place) > 0) ?? null) : null;
  }

  /**
   * The others are asked from this time on, those that have said no already when their time comes.
   *
   * @param {number} at
   * @param {boolean} [orSooner] where that was so before
   */
  #ask(at, orSooner = false) {
    this.#others.forEach((place, i) => {
      if (this.#noes(place) > 0) return;
      const askAt = at + i * APART_MS;
      this.#places.set(place, { askAt: orSooner ? Math.min(askAt, this.#askAt(place)) : askAt, noes: 0 });
    });
  }

  /** @param {string} place */
  #noes(place) {
    return this.#places.get(place)?.noes ?? 0;
  }

  /** @param {string} place */
  #askAt(place) {
    return this.#places.get(place)?.askAt ?? (place === this.here ? -Infinity : Infinity);
  }
}
