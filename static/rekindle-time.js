/**
 * The page's clock.
 *
 * @module
 */

/** In ms, of a clock that only goes on. */
export const now = () => performance.now();

/** A round trip in ms, which is infinite while it is not known: then none. @param {number} rtt */
export const known = (rtt) => (rtt < Infinity ? rtt : 0);

/** @param {number} ms @returns {Promise<void>} */
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
