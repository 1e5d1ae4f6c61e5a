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

const OPTIONS = ["token", "fetch", "signal", "cushion", "leaveOnPagehide"];

export { Session };

/**
 * Publishes a stream.
 * @param {string | URL} url the WHIP endpoint, for example `/whip/main`
 * @param {MediaStream} stream at most one audio and one video track of it are sent
 * @param {Options} [options]
 * @returns {Session}
 */
export function publish(url, stream, options) {
  check(options);
  if (!(stream instanceof MediaStream)) throw new TypeError("publish: the second argument is a MediaStream, as getUserMedia gives it");
  return new Session("publisher", url, stream, options);
}

/**
 * Watches a channel.
 * @param {string | URL} url the WHEP endpoint, for example `/whep/main`
 * @param {Options} [options]
 * @returns {Session}
 */
export function watch(url, options) {
  check(options);
  return new Session("viewer", url, null, options);
}

/** What is misspelt, or cannot be had here, must not be ignored in silence. */
function check(options = {}) {
  if (typeof RTCPeerConnection === "undefined") {
    throw new Error("rekindle.js needs a browser: there is no RTCPeerConnection here (Node and the like have none, and some browsers switch it off)");
  }
  for (const name of Object.keys(options)) {
    if (OPTIONS.includes(name)) continue;
    const why =
      {
        iceServers: "the server is ICE-lite and names its own addresses, so there is nothing to configure",
        pc: "the module makes its connections itself, since it makes others where one cannot be kept; session.pc is the one in use",
      }[name] ?? `there are ${OPTIONS.join(", ")}`;
    throw new TypeError(`rekindle: there is no option "${name}": ${why}`);
  }
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
