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
 * needs no message. How is in rekindle-description.js and rekindle-connection.js, when in rekindle-outage.js; rekindle-keeper.js does it.
 *
 * Its types are in rekindle.d.ts, which is what "./rekindle.js" means in a type here.
 *
 * @module
 */

import { Session } from "./rekindle-session.js";

const OPTIONS = ["token", "fetch", "signal", "cushion", "leaveOnPagehide", "iceServers", "rtc"];
export { Session };

/** @type {typeof import("./rekindle.js").publish} */
export function publish(url, source, options) {
  check(options);
  const stream = Array.isArray(source) ? new MediaStream(source) : source;
  if (!(stream instanceof MediaStream)) throw new TypeError("publish: the source is a MediaStream or a list of tracks");
  return new Session(url, stream, options);
}

/** @type {typeof import("./rekindle.js").watch} */
export function watch(url, options) {
  check(options);
  return new Session(url, null, options);
}

/** Misspelt and unsupported options must not be ignored in silence. @param {object} [options] */
function check(options = {}) {
  if (typeof RTCPeerConnection === "undefined") {
    throw new Error("rekindle.js needs a browser: there is no RTCPeerConnection here, or it is switched off");
  }
  for (const name of Object.keys(options)) {
    if (OPTIONS.includes(name)) continue;
    // What other modules have.
    const why = name === "pc" ? "the module makes its connections itself, and takes what their constructor takes as rtc" : `there are ${OPTIONS.join(", ")}`;
    throw new TypeError(`rekindle: there is no option "${name}": ${why}`);
  }
}
