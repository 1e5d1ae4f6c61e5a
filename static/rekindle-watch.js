/**
 * What is watched of a connection's media.
 *
 * @module
 */

import { received } from "./rekindle-statistics.js";
import { now, pause } from "./rekindle-time.js";

/** A viewer's picture that stands still this long although packets arrive needs a new session. */
const STILL_MS = 4000;
/** Media that does not flow this long after the handshake is no longer waited for; if it should flow, a new session is made. */
const FLOW_MS = { unsure: 2000, sure: 4000 };

/** How long nothing may come on a connection whose way to the server is doubted, in ms. A publisher gets reports about every second. */
const LOST_MS = { viewer: 500, publisher: 1200 };
/** How often it is looked at within that time. */
const LOOKS = 5;
/** The round trip is looked at after this time, and after twice as long each further time. */
const MEASURE_MS = 250;

/**
 * Waits until video frames (or, without video, packets) arrive on a connection, longer if they `should`; whether they did.
 *
 * @param {RTCPeerConnection} pc
 * @param {() => boolean} isWanted whether anybody waits still
 * @param {() => boolean} should
 * @param {boolean} [pictured] whether there was a picture before: a publisher without a camera sends sound alone
 */
export async function flows(pc, isWanted, should, pictured = true) {
  const before = await received(pc).catch(() => null);
  const start = now();
  while (before && isWanted() && now() < start + (should() ? FLOW_MS.sure : FLOW_MS.unsure)) {
    const after = await received(pc).catch(() => before);
    // Fewer than before are those of another publisher's streams.
    const [was, is] = pictured && before.frames > 0 ? [before.frames, after.frames] : [before.packets, after.packets];
    if (is > 0 && is !== was) return true;
    // Not more often: statistics cost as much as a frame, at the moment when there is most to do.
    await pause(30);
  }
  return false;
}

/**
 * Looks at what has been received at this interval, and each time compares it with what it was before.
 *
 * @param {RTCPeerConnection} pc
 * @param {number} ms
 * @param {() => boolean} isOver
 * @param {(before: import("./rekindle-statistics.js").Count, after: import("./rekindle-statistics.js").Count) => void} compare
 */
export async function watch(pc, ms, isOver, compare) {
  let before = null;
  while (!isOver()) {
    await pause(ms);
    const after = await received(pc).catch(() => null);
    if (before && after && !isOver()) compare(before, after);
    before = after ?? before;
  }
}

/**
 * Watches a viewer that may receive packets and decode nothing: its requests for key frames are not heard.
 *
 * @param {RTCPeerConnection} pc
 * @param {{ isOver: () => boolean, isExcused: () => boolean, stands: () => void, comes: (video: boolean) => void }} how `isExcused`: nobody looks,
 *   or it must stand still; `comes`: whether video has come since the last look
 */
export function watchPicture(pc, { isOver, isExcused, stands, comes }) {
  let stillSince = now();
  return watch(pc, STILL_MS / 4, isOver, (before, after) => {
    const video = after.videoPackets > before.videoPackets;
    comes(video);
    if (!video || after.frames !== before.frames || isExcused()) stillSince = now();
    if (now() - stillSince > STILL_MS) stands();
  });
}

/**
 * Looks whether anything comes on a connection within the time in which something should. Resolves with whether nothing does.
 *
 * @param {RTCPeerConnection} pc
 * @param {boolean} isViewer
 */
export async function isSilent(pc, isViewer) {
  let before = Infinity;
  for (let look = 0; look <= LOOKS; look++) {
    if (look > 0) await pause(LOST_MS[isViewer ? "viewer" : "publisher"] / LOOKS);
    const { bytes } = await received(pc).catch(() => ({ bytes: before }));
    if (bytes > before) return false;
    before = bytes;
  }
  return true;
}

/**
 * Learns the round trip, which is known only after some checks, and whose first values are those of a busy moment.
 *
 * @param {import("./rekindle-connection.js").Connection} connection
 * @param {{ isExcused: () => boolean, measured: () => void }} how
 */
export async function watchRoundTrip(connection, { isExcused, measured }) {
  for (let ms = MEASURE_MS; !connection.ended; ms *= 2) {
    await pause(ms);
    if (isExcused()) continue;
    await connection.measure().catch(() => {});
    measured();
  }
}
