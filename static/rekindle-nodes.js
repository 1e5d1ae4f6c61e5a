/**
 * Where a session is looked for when its server is gone: which places are to be asked, and when. Decides and does nothing; is told the time.
 *
 * @module
 */

/** Where the session was, nobody else is asked before this time: a server that is started again greets its pages sooner. */
const ALONE_MS = 500;
/** The others are asked one after the other, so long apart, and the first that has the session wins (as in RFC 8305 §5). */
const APART_MS = 250;
/**
 * A place that does not have the session is asked again after this time, and ever later up to the second number: it may read from a store that
 * is behind.
 *
 * @type {[number, number]}
 */
const AGAIN_MS = [250, 2000];
/** Another place that says nothing for so long is not counted on. */
const SILENT_MS = 3000;
/** Nor is the one where the session was, after this time. */
const GONE_MS = 10_000;

/**
 * A place that may have the session: since when it is to be asked, and how often it has said that it does not.
 *
 * @typedef {{ askAt: number, noes: number }} Place
 */
export class Nodes {
  /** Where the session is, or was when it was last heard of: the URL that its server's paths begin with. */
  here;
  /** Since when it is looked for; null while it is where it is. @type {number | null} */
  since = null;
  /** Where else it may be. @type {string[]} */
  #others = [];
  /** Where it has been: there is a way back, also where a server does not tell of it. @type {Set<string>} */
  #been;
  /** @type {Map<string, Place>} */
  #places = new Map();

  /** @param {string} here */
  constructor(here) {
    this.here = here;
    this.#been = new Set([here]);
  }

  /** The server names other places. @param {{ url: string }[]} [nodes] */
  named(nodes = []) {
    const all = new Set([...nodes.map(({ url }) => `${url}/`), ...this.#been]);
    all.delete(this.here);
    this.#others = [...all];
  }

  /**
   * The server is gone. It has said nothing for a while where its host is gone too: then it has been waited for already.
   *
   * @param {number} at
   * @param {boolean} silent
   */
  lost(at, silent) {
    this.#begin(at, silent ? at : at + ALONE_MS);
  }

  /** A place says that it does not have the session. @param {string} place @param {number} at */
  lacks(place, at) {
    this.#begin(at, at);
    const state = this.#places.get(place) ?? { askAt: at, noes: 0 };
    this.#places.set(place, { askAt: at + Math.min(AGAIN_MS[1], AGAIN_MS[0] * 2 ** state.noes), noes: state.noes + 1 });
    if (place !== this.here) return;
    // The others need not wait for it any more.
    this.#others.forEach((other, i) => {
      const { askAt = 0, noes = 0 } = this.#places.get(other) ?? {};
      if (noes === 0) this.#places.set(other, { askAt: Math.min(askAt, at + i * APART_MS), noes });
    });
  }

  /** A place has it. @param {string} place */
  found(place) {
    this.here = place;
    this.#been.add(place);
    this.since = null;
    this.#places.clear();
  }

  /** Those that are to be asked now. @param {number} at */
  asked(at) {
    return [this.here, ...this.#others].filter((place) => this.#of(place).askAt <= at);
  }

  /** When to look again at the latest. @param {number} at */
  lookAgainAt(at) {
    if (this.since === null) return Infinity;
    const times = [this.since + GONE_MS];
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
    const says = (/** @type {string} */ place) => this.#of(place).noes > 0;
    if (!this.#others.every((place) => says(place) || at - this.#of(place).askAt >= SILENT_MS)) return null;
    if (says(this.here)) return this.here;
    return at - this.since >= GONE_MS ? (this.#others.find(says) ?? null) : null;
  }

  /** @param {number} at @param {number} othersAt when the first of the others is to be asked */
  #begin(at, othersAt) {
    if (this.since !== null) return;
    this.since = at;
    this.#others.forEach((place, i) => this.#places.set(place, { askAt: othersAt + i * APART_MS, noes: 0 }));
  }

  /** @param {string} place @returns {Place} */
  #of(place) {
    return this.#places.get(place) ?? { askAt: place === this.here ? -Infinity : Infinity, noes: 0 };
  }
}
