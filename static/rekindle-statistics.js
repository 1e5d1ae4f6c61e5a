/**
 * What a browser's statistics (WebRTC Statistics, W3C) say of a connection.
 *
 * @module
 */

import { now, pause } from "./rekindle-time.js";

/** Longest wait for the browser's answer, in ms, where time counts. */
const ASK_MS = 30;

/**
 * What the module reads of a report; which of these it has, its type and the browser say.
 *
 * @typedef {object} Report
 * @property {string} type
 * @property {number} timestamp
 * @property {string} [kind]
 * @property {string} [dtlsState]
 * @property {number} [responsesReceived]
 * @property {number} [currentRoundTripTime] in s
 * @property {number} [lastPacketSentTimestamp]
 * @property {number} [packetsReceived]
 * @property {number} [framesDecoded]
 * @property {number} [bytesReceived]
 */

/** @param {RTCPeerConnection} pc @returns {Promise<Report[]>} */
async function reports(pc) {
  return [...(await pc.getStats()).values()];
}

/** The shortest round trip to the server that is known, in ms; `Infinity` while none is. @param {RTCPeerConnection} pc */
export async function roundTrip(pc) {
  let shortest = Infinity;
  for (const { type, responsesReceived = 0, currentRoundTripTime = -1 } of await reports(pc)) {
    // Firefox knows it of the pair in use only after a while; the others lead to the same server. Zero is what a near one takes, unless
    // nothing was answered.
    if (type !== "candidate-pair" || !(responsesReceived > 0 && currentRoundTripTime >= 0)) continue;
    shortest = Math.min(shortest, currentRoundTripTime * 1000);
  }
  return shortest;
}

/**
 * When the browser last sent something but ICE checks, as of when it was asked (ms, of the page's clock); no time where it did not say
 * soon enough.
 *
 * @typedef {{ at: number | null, asOf: number }} Sent
 */

/** Asks the browser for that; null where it never says it. @param {RTCPeerConnection} pc @returns {Promise<Sent | null>} */
export async function lastSent(pc) {
  const late = /** @type {Promise<undefined>} */ (pause(ASK_MS));
  const said = await Promise.race([reports(pc), late]).catch(() => undefined);
  const asOf = now();
  /** @type {number | null} */
  let at = null;
  for (const { type, timestamp, lastPacketSentTimestamp = 0 } of said ?? []) {
    if (type === "candidate-pair" && lastPacketSentTimestamp > 0) at = Math.max(at ?? -Infinity, asOf - (timestamp - lastPacketSentTimestamp));
  }
  return said && at === null ? null : { at, asOf };
}

/**
 * What has arrived: video frames where there are any, and how many bytes of media, or of reports on it. (Receivers know when they last played
 * something, but what they keep back may last for longer than a server is gone.)
 *
 * @typedef {{ packets: number, videoPackets: number, frames: number, bytes: number }} Count
 */

/** @param {RTCPeerConnection} pc @returns {Promise<Count>} */
export async function received(pc) {
  const count = { packets: 0, videoPackets: 0, frames: 0, bytes: 0 };
  for (const { type, kind, packetsReceived = 0, framesDecoded = 0, bytesReceived = 0 } of await reports(pc)) {
    if (type === "inbound-rtp") {
      count.packets += packetsReceived;
      count.frames += framesDecoded;
      if (kind === "video") count.videoPackets += packetsReceived;
    } else if (type === "candidate-pair" || type === "transport") count.bytes += bytesReceived;
  }
  return count;
}

/** Whether all transports are connected. @param {RTCPeerConnection} pc */
export async function isConnected(pc) {
  const transports = (await reports(pc)).filter(({ type }) => type === "transport");
  return transports.length > 0 && transports.every(({ dtlsState }) => dtlsState === "connected");
}
