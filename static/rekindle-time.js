/**
 * The page's clock.
 *
 * @module
 */

/** In ms, of a clock that only goes on. */
export const now = () => performance.now();

/** @param {number} ms @returns {Promise<void>} */
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
