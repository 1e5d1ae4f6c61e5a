/**
 * rekindle: publish to, or watch, a rekindle server, and keep the same RTCPeerConnection when the server dies and comes back.
 *
 *     import { publish, watch } from "/rekindle.js";
 *     const session = watch("/whep/main", { token });
 *     session.addEventListener("track", () => { video.srcObject = session.stream; });
 *     session.addEventListener("state", (event) => console.log(event.detail.state));
 *
 * After a restart the server has the same certificate and the same ICE credentials, but no keys. A browser runs DTLS again when
 * it is given an *offer* that differs a little from the answer it joined with. The page makes that offer itself; the server
 * needs no message. How is in rekindle-description.js and rekindle-connection.js, when in rekindle-outage.js.
 *
 * @module
 */

import { Session } from "./rekindle-session.js";

export { Session };

/**
 * Publishes a stream.
 * @param {string | URL} url the WHIP endpoint, for example `/whip/main`
 * @param {MediaStream} stream at most one audio and one video track of it are sent
 * @param {Options} [options]
 * @returns {Session}
 */
export function publish(url, stream, options) {
  return new Session("publisher", url, stream, options);
}

/**
 * Watches a channel.
 * @param {string | URL} url the WHEP endpoint, for example `/whep/main`
 * @param {Options} [options]
 * @returns {Session}
 */
export function watch(url, options) {
  return new Session("viewer", url, null, options);
}

/**
 * @typedef {object} Options
 * @property {string} [token] bearer token
 * @property {typeof fetch} [fetch] used in place of the global one
 * @property {AbortSignal} [signal] closes the session
 * @property {"auto" | number} [cushion] viewers: how long media is kept back, in ms, so that a restart does not show (default "auto": 100 to
 *   500 ms by the round trip). It is so much more delay: 0 is for conversations
 * @property {boolean} [leaveOnPagehide] tell the server when the page goes away (default true)
 */
