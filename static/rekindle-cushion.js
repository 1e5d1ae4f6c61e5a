/**
 * How long a viewer's browser keeps media back before it is shown: a cushion that an outage of that length does not show through.
 * It only decides; the caller supplies the measurements.
 *
 * What was lost over a restart comes again, but a few round trips late: the news, the handshake (which takes Firefox one more), the request, the answer. With a jitter
 * buffer (`RTCRtpReceiver.jitterBufferTarget`, WebRTC Extensions) longer than that, it comes before its turn. The price is so much more
 * delay, so 0 is for conversations.
 *
 * @module
 */

import { known } from "./rekindle-time.js";

/** Bounds in ms, and what it is while nothing is known of the way. An outage that was longer than the most is none that a cushion could hide. */
const LEAST_MS = 100;
export const MOST_MS = 500;
const FIRST_MS = 150;
/** What an instant restart takes besides the way: a process starts, two handshakes are made, a frame is waited for. */
const RESTART_MS = 100;
/** Round trips that pass until what was lost has come again, where the publisher is Firefox; Chromium takes three. */
const ROUND_TRIPS = 4;
/** A frame at 30 a second: the first one to come tells what is missing. */
const FRAME_MS = 34;
/** It shrinks at most by this share in one step, since browsers shorten the buffer by playing faster. */
const SHRINK = 0.1;
/** Outages that were measured and count. */
const REMEMBERED = 5;

/**
 * What a page may ask for: "auto", or a number of ms; 0 leaves the browser its own way.
 *
 * @param {unknown} value
 * @returns {"auto" | number}
 */
export function checked(value) {
  if (value === undefined || value === "auto") return "auto";
  if (typeof value === "number" && value >= 0 && value <= 4000) return value;
  throw new TypeError('cushion: "auto", or milliseconds from 0 to 4000');
}

export class Cushion {
  #wanted;
  #ms;
  /** @type {number[]} */
  #outages = [];

  /** @param {"auto" | number} wanted */
  constructor(wanted) {
    this.#wanted = wanted;
    this.#ms = wanted === "auto" ? FIRST_MS : wanted;
  }

  /** The length in ms; null for the browser's own. */
  get ms() {
    return this.#ms > 0 ? Math.round(this.#ms) : null;
  }

  /**
   * How long media stayed away at a restart, in ms. What flows first tells what is missing, which comes a round trip later.
   *
   * @param {number} ms
   * @param {number} rtt as for {@link Cushion.look}
   */
  took(ms, rtt) {
    const missing = ms + FRAME_MS + known(rtt);
    if (missing <= MOST_MS) this.#outages = [...this.#outages, missing].slice(-REMEMBERED);
  }

  /**
   * Looks again.
   *
   * @param {number} rtt the round trip to the server in ms; `Infinity` while it is not known
   * @returns {boolean} whether the length is another now
   */
  look(rtt) {
    if (this.#wanted !== "auto") return false;
    const before = this.ms;
    const way = rtt < Infinity ? RESTART_MS + ROUND_TRIPS * rtt : FIRST_MS;
    const due = Math.min(MOST_MS, Math.max(LEAST_MS, way, ...this.#outages));
    this.#ms = Math.max(due, this.#ms * (1 - SHRINK));
    return this.ms !== before;
  }
}
