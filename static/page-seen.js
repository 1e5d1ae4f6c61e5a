/**
 * What a viewer really saw and heard of a restart: the longest time between two frames that were shown
 * (`requestVideoFrameCallback`), and the sound that the browser made up because none had come (`getStats`).
 *
 * @module
 */

const MOST_FRAMES = 2000;

export class Seen {
  #frames = [];
  #madeUp = null;

  /** A frame is shown. @param {number} at the time in ms */
  frame(at) {
    this.#frames.push(at);
    if (this.#frames.length > MOST_FRAMES) this.#frames.splice(0, MOST_FRAMES / 2);
  }

  /** To be called now and then while all is well. @param {RTCPeerConnection | null} connection */
  async calm(connection) {
    this.#madeUp = await madeUp(connection);
  }

  /** What it was since a time. @param {RTCPeerConnection | null} connection @param {number} since ms */
  async since(connection, since) {
    const before = this.#madeUp;
    const after = await madeUp(connection);
    this.#madeUp = after;
    let still = 0;
    for (let i = 1; i < this.#frames.length; i++) if (this.#frames[i] >= since) still = Math.max(still, this.#frames[i] - this.#frames[i - 1]);
    return { still_ms: Math.round(still), made_up_ms: before === null || after === null || after < before ? null : Math.round(after - before) };
  }
}

/** Sound that was made up so far, in ms; null without any sound. */
async function madeUp(connection) {
  const reports = [...((await connection?.getStats().catch(() => null))?.values() ?? [])];
  const sound = reports.find(({ type, kind }) => type === "inbound-rtp" && kind === "audio");
  // Opus is always decoded at 48 kHz.
  return sound?.concealedSamples === undefined ? null : sound.concealedSamples / 48;
}
