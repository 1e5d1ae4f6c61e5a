/**
 * What a viewer really saw and heard of a restart: the longest time between two frames that were shown
 * (`requestVideoFrameCallback`), and the sound that the browser made up because none had come (`getStats`); and whether there is a picture at all.
 *
 * @module
 */

const MOST_FRAMES = 2000;

/** What is read of a track's reports. @typedef {{ type: string, kind: string, concealedSamples?: number, packetsReceived?: number }} Report */

export class Seen {
  /** @type {number[]} */
  #frames = [];
  /** @type {number | null} */
  #madeUp = null;
  #packets = { audio: 0, video: 0 };
  /** At the last look sound had arrived, and no picture. */
  soundOnly = false;

  /** A frame is shown. @param {number} at the time in ms */
  frame(at) {
    this.#frames.push(at);
    if (this.#frames.length > MOST_FRAMES) this.#frames.splice(0, MOST_FRAMES / 2);
  }

  /** To be called now and then while all is well. @param {RTCPeerConnection | null} connection */
  async calm(connection) {
    const reports = await received(connection);
    this.#madeUp = madeUp(reports);
    const before = this.#packets;
    this.#packets = { audio: packets(reports, "audio"), video: packets(reports, "video") };
    this.soundOnly = this.#packets.audio > before.audio && this.#packets.video === before.video;
  }

  /** What it was since a time. @param {RTCPeerConnection | null} connection @param {number} since ms */
  async since(connection, since) {
    const before = this.#madeUp;
    const after = madeUp(await received(connection));
    this.#madeUp = after;
    let still = 0;
    let last = Infinity;
    for (const frame of this.#frames) {
      if (frame >= since) still = Math.max(still, frame - last);
      last = frame;
    }
    return { still_ms: Math.round(still), made_up_ms: before === null || after === null || after < before ? null : Math.round(after - before) };
  }
}

/** @param {RTCPeerConnection | null} connection */
async function received(connection) {
  /** @type {Report[]} */
  const reports = [...((await connection?.getStats().catch(() => null))?.values() ?? [])];
  return reports.filter(({ type }) => type === "inbound-rtp");
}

/** Sound that was made up so far, in ms; null without any sound. @param {Report[]} reports */
function madeUp(reports) {
  const sound = reports.find(({ kind }) => kind === "audio");
  // Opus is always decoded at 48 kHz.
  return sound?.concealedSamples === undefined ? null : sound.concealedSamples / 48;
}

/** @param {Report[]} reports @param {import("./page-camera-words.js").Kind} wanted */
function packets(reports, wanted) {
  return reports.filter(({ kind }) => kind === wanted).reduce((sum, { packetsReceived = 0 }) => sum + packetsReceived, 0);
}

/**
 * Tells of every frame that is shown, and when that was; null where the browser counts them only.
 *
 * @param {HTMLVideoElement} video
 * @param {(at: number | null) => void} shown
 */
export function followFrames(video, shown) {
  if ("requestVideoFrameCallback" in video) {
    /** @param {number} at */
    const next = (at) => {
      shown(at);
      video.requestVideoFrameCallback(next);
    };
    video.requestVideoFrameCallback(next);
    return;
  }
  /** @type {HTMLVideoElement} */
  const other = video;
  let last = 0;
  setInterval(() => {
    const count = other.getVideoPlaybackQuality?.().totalVideoFrames ?? other.currentTime;
    if (count !== last) shown(null);
    last = count;
  }, 200);
}
