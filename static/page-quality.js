/**
 * How large the picture is and how many bits it may have: the publisher's choice.
 *
 * @module
 */

/** @typedef {keyof typeof QUALITIES} Quality */

/** kbps: the most that the picture may take, in kbit/s; null leaves it to the browser. */
export const QUALITIES = {
  1080: { name: "1080p, up to 5 Mbit/s", width: 1920, height: 1080, kbps: 5000 },
  720: { name: "720p, the browser's own rate", width: 1280, height: 720, kbps: null },
  "720-low": { name: "720p, up to 1.5 Mbit/s", width: 1280, height: 720, kbps: 1500 },
  480: { name: "480p, up to 800 kbit/s", width: 854, height: 480, kbps: 800 },
  240: { name: "240p, up to 250 kbit/s", width: 426, height: 240, kbps: 250 },
};
/** @type {Quality} */
export const USUAL = 720;

/** @param {string} name @returns {Quality} */
export const quality = (name) => /** @type {Quality} */ (name in QUALITIES ? name : USUAL);

/** What is asked of a camera. @param {Quality} of @returns {MediaTrackConstraints} */
export function wishes(of) {
  const { width, height } = QUALITIES[of];
  return { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30 } };
}

/**
 * Limits what a connection sends of the picture. Does nothing where there is nothing to change.
 *
 * @param {RTCPeerConnection | null} connection
 * @param {Quality} of
 */
export async function limit(connection, of) {
  const sender = connection?.getSenders().find(({ track }) => track?.kind === "video");
  if (!sender) return;
  const parameters = sender.getParameters();
  const { kbps } = QUALITIES[of];
  const most = kbps === null ? undefined : kbps * 1000;
  if ((parameters.encodings ?? []).every(({ maxBitrate }) => maxBitrate === most)) return;
  for (const encoding of parameters.encodings) {
    if (most === undefined) delete encoding.maxBitrate;
    else encoding.maxBitrate = most;
  }
  await sender.setParameters(parameters);
}
