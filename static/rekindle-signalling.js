/**
 * What a page and the server say to each other: WHIP (RFC 9725) and WHEP, and a session's event stream.
 *
 * @module
 */

import { pause } from "./rekindle-time.js";

/**
 * What the server says with a session that begins.
 *
 * @typedef {object} Join
 * @property {string} answer the server's description
 * @property {URL} location the session
 * @property {string} id its name in streams that sessions share
 * @property {URL} events its own event stream
 * @property {URL | null} shared the stream that sessions share
 * @property {string[]} fingerprints of one certificate, by different hash functions
 * @property {number | null} boot which life of the server this is
 * @property {string | null} process which process
 * @property {string} mode what a restart takes: "rehandshake" or "full-state"
 */

/**
 * What comes with an event; which of these, the event says.
 *
 * @typedef {object} Data
 * @property {number} [boot]
 * @property {string | null} [process]
 * @property {string} [mode]
 * @property {string} [role] "publisher" or "viewer"
 * @property {boolean} [connected] the server has keys for this session
 * @property {Keys | null} [keys] how they were agreed on
 * @property {boolean} [handshaking] a ClientHello of this session has come
 * @property {number} [patience_ms] for how long others may be before us
 * @property {number} [spread_ms] over how much time attempts to come back are to be spread
 * @property {boolean} [unheard] nothing has come over UDP
 * @property {Stream[] | null} [streams] what the publisher sends
 * @property {boolean} [source] a publisher is there
 * @property {boolean} [live] the same, in news of it
 * @property {string} [reason] why a session has ended
 * @property {string[]} [media] where the server receives media
 * @property {{ url: string }[]} [nodes] where else the session may be found
 */

/**
 * How the keys of media were agreed on: the DTLS version, the key exchange, the cipher, and whether a quantum computer of the future cannot
 * undo the key exchange.
 *
 * @typedef {{ dtls: string, group: string, srtp: string, post_quantum: boolean }} Keys
 */

/**
 * A publisher's stream (RFC 3550), and the one that repeats its packets (RFC 4588).
 *
 * @typedef {{ kind: string, ssrc: number, rtx: number | null }} Stream
 */

/**
 * An event of a stream, which has heard it of this session; a stream that is one session's names none.
 *
 * @typedef {(event: string, data: Data, session?: string) => void} Heard
 */

const JOIN_MS = 10_000;
/** Connections that browsers keep to a server at the most, and how long one that may lead nowhere is tried, in ms. */
const CONNECTIONS = 6;
const FRESHEN_MS = 500;
/** Whoever joins where this page is just leaving waits until that is done, but no longer than this, in ms. */
const LEAVE_MS = 1000;
/** Sessions that this page is leaving, by endpoint: the next one there must not find its own predecessor in its way. @type {Map<string, Promise<unknown>>} */
const leaving = new Map();

export class Signalling {
  #url;
  #options;
  #fetch;
  #signal;

  /**
   * @param {URL} url the WHIP or WHEP endpoint
   * @param {import("./rekindle.js").Options} options
   * @param {AbortSignal} signal ends all requests
   */
  constructor(url, options, signal) {
    this.#url = url;
    this.#options = options;
    this.#fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
    this.#signal = signal;
  }

  /** Sends an offer. Resolves with the response, or null if none came in time. @param {string} offer */
  async post(offer) {
    await Promise.race([leaving.get(this.#url.href), pause(LEAVE_MS)]);
    if (this.#signal.aborted) return null;
    try {
      // Not ended with the session: what the server has taken by then has to be left again.
      const all = this.#init({ method: "POST", headers: { "Content-Type": "application/sdp" }, body: offer }, AbortSignal.timeout(JOIN_MS));
      const response = await this.#fetch(this.#url, all);
      // The server may send us to another one, and browsers take the token off on the way (https://fetch.spec.whatwg.org/#http-redirect-fetch).
      return response.status === 401 && response.redirected ? await this.#fetch(response.url, all) : response;
    } catch {
      return null;
    }
  }

  /** What a 201 says, or null where its body did not arrive. @param {Response} response @returns {Promise<Join | null>} */
  async joined(response) {
    const answer = await response.text().catch(() => null);
    if (!answer) return null;
    const base = response.url || this.#url;
    const said = (/** @type {string} */ name) => response.headers.get(name);
    const place = said("Location");
    if (place === null) throw new Error("The answer names no session: something on the way took its Location away.");
    const location = new URL(place, base);
    const first = /^a=fingerprint:(.*)/m.exec(answer)?.[1];
    const boot = said("Rekindle-Boot");
    const shared = said("Rekindle-Events");
    return {
      answer,
      location,
      id: location.pathname.replace(/.*\//, ""),
      events: new URL(`${location.pathname}/events`, location),
      shared: shared ? new URL(shared, base) : null,
      fingerprints: [first, said("Rekindle-Fingerprint")].flatMap((each) => each || []),
      boot: boot === null ? null : Number(boot),
      process: said("Rekindle-Process"),
      mode: said("Rekindle-Mode") ?? "rehandshake",
    };
  }

  /** New sessions are made at another place from now on: what the paths of both begin with. @param {string} from @param {string} to */
  move(from, to) {
    const { href } = this.#url;
    if (href.startsWith(from)) this.#url = new URL(href.slice(from.length), to);
  }

  /** Ends a session. @param {URL} location */
  async leave(location) {
    const { href } = this.#url;
    // keepalive: it must get out although the page may be going. If it does not, the server forgets a silent peer by itself.
    const request = async () => this.#fetch(location, this.#init({ method: "DELETE", keepalive: true }));
    const left = request().catch(() => {});
    leaving.set(href, left);
    await left;
    if (leaving.get(href) === left) leaving.delete(href);
  }

  /** Requests go out by a function of the page's. */
  get isOwn() {
    return this.#options.fetch !== undefined;
  }

  /** Opens a session's own event stream. @param {URL} url @param {AbortSignal} signal */
  events(url, signal) {
    return this.#fetch(url, this.#init({ headers: { Accept: "text/event-stream" } }, AbortSignal.any([signal, this.#signal])));
  }

  /** Whether another place says anything at all; what, its page may not read. @param {string} place what its paths begin with */
  reaches(place) {
    return this.#ask(place, "omit", this.#signal);
  }

  /**
   * This browser's network is another one, and Firefox may not know: requests would wait on the connections of the old one, each until it is given up, one after
   * the other. Those that are idle are used up at once instead, beside the one of the event stream. @param {string} place what its paths begin with
   */
  freshen(place) {
    for (let i = 1; i < CONNECTIONS; i++) {
      // Requests of another credentials mode have other connections.
      this.#ask(place, "same-origin", AbortSignal.any([AbortSignal.timeout(FRESHEN_MS), this.#signal]));
    }
  }

  /** @param {string} place @param {RequestCredentials} credentials @param {AbortSignal} signal */
  #ask(place, credentials, signal) {
    const asked = this.#fetch(new URL("healthz", place), { mode: "no-cors", cache: "no-store", credentials, signal });
    return asked.then(
      () => true,
      () => false,
    );
  }

  /** @param {RequestInit & { headers?: Record<string, string> }} init @param {AbortSignal} [signal] @returns {RequestInit} */
  #init(init, signal) {
    /** @type {Record<string, string>} */
    const headers = { ...init.headers };
    if (this.#options.token) headers.Authorization = `Bearer ${this.#options.token}`;
    return { cache: "no-store", credentials: "same-origin", ...init, headers, signal };
  }
}
