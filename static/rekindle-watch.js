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

/** Interval in ms between checks whether media comes while the event stream is gone: two before another place is asked. */
const COMES_MS = 130;
/** A host that is gone closes no stream, but its media stops. How long a silence is suspicious, and up to half as long again, so that a crowd does not ask at once. */
const SUSPECT_MS = 500;

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
async function watch(pc, ms, isOver, compare) {
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
 * Watches a connection that media should come on, or news of what is sent.
 *
 * @param {RTCPeerConnection} pc
 * @param {{ isOver: () => boolean, isExcused: () => boolean, falls: (isSilent: () => Promise<boolean>) => void }} how `falls`: it has fallen silent, and whether
 *   it still is can be asked
 */
export function watchSilence(pc, { isOver, isExcused, falls }) {
  const patience = SUSPECT_MS * (1 + Math.random() / 2);
  // From the first look on; once it has been told of, it is told of again only after something has come.
  let since = now() + SUSPECT_MS / 2;
  return watch(pc, SUSPECT_MS / 2, isOver, (before, after) => {
    if (after.bytes !== before.bytes || (since < Infinity && isExcused())) since = now();
    if (now() - since < patience) return;
    since = Infinity;
    falls(async () => (await received(pc).catch(() => after)).bytes === after.bytes);
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
 * Watches a connection whose event stream is gone. While media comes the server is there, whatever is wrong with the stream.
 *
 * @param {RTCPeerConnection} pc
 * @param {{ isOver: () => boolean, comes: () => void }} how
 */
export function watchMedia(pc, { isOver, comes }) {
  // What was on its way when the server died has arrived by the first look.
  return watch(pc, COMES_MS, isOver, (before, after) => after.bytes > before.bytes && comes());
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
