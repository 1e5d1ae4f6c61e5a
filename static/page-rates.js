/**
 * What the browser's statistics (WebRTC Statistics, W3C) say of a connection's media, in the page's words; and what a publisher has to be
 * told of it. Pure: it is given reports.
 *
 * @module
 */

/**
 * What is read of reports; which of these one has, its type and the browser say.
 *
 * @typedef {object} Report
 * @property {string} type
 * @property {string} [id]
 * @property {string} [kind]
 * @property {number} timestamp ms
 * @property {number} [bytesSent]
 * @property {number} [bytesReceived]
 * @property {number} [packetsReceived]
 * @property {number} [packetsLost]
 * @property {number} [fractionLost]
 * @property {number} [frameWidth]
 * @property {number} [frameHeight]
 * @property {number} [framesPerSecond]
 * @property {number} [freezeCount]
 * @property {number} [jitterBufferDelay] s
 * @property {number} [jitterBufferEmittedCount]
 * @property {string} [qualityLimitationReason]
 * @property {string} [codecId]
 * @property {string} [mimeType]
 * @property {number} [currentRoundTripTime] s
 * @property {number} [responsesReceived]
 *
 * @typedef {object} Sample
 * @property {number | null} kbps of sound and picture together
 * @property {number} [width] of the picture
 * @property {number} [height]
 * @property {number} [fps]
 * @property {string} codecs
 * @property {number | null} lost share of packets since the last sample, 0 to 1
 * @property {number | null} rtt ms
 * @property {number | null} delay for how long media is kept back, ms
 * @property {number | null} freezes
 * @property {string} [limited] by what the picture's quality is, as the browser says
 */

/** How many of the last samples are considered, and how many bad ones among them are a fault: a browser begins with a low rate. */
const LOOKS = 12;
const BAD = 10;
/** More loss than this, as a share, is seen. */
const LOSSY = 0.1;

export class Rates {
  /** @type {{ at: number, bytes: number, received: number, lost: number, kept: number, emitted: number } | null} */
  #before = null;

  /** @param {Report[]} reports @param {boolean} sends @returns {Sample} */
  look(reports, sends) {
    const media = reports.filter(({ type }) => type === (sends ? "outbound-rtp" : "inbound-rtp"));
    const video = media.find(({ kind }) => kind === "video");
    /** @param {(report: Report) => number | undefined} what @param {Report[]} [of] */
    const sum = (what, of = media) => of.reduce((total, report) => total + (what(report) ?? 0), 0);
    const now = {
      at: Math.max(0, ...media.map(({ timestamp }) => timestamp)),
      bytes: sum(({ bytesSent, bytesReceived }) => (sends ? bytesSent : bytesReceived)),
      received: sum(({ packetsReceived }) => packetsReceived),
      lost: sum(({ packetsLost }) => packetsLost),
      kept: sum(({ jitterBufferDelay }) => jitterBufferDelay, video ? [video] : media),
      emitted: sum(({ jitterBufferEmittedCount }) => jitterBufferEmittedCount, video ? [video] : media),
    };
    const before = this.#before;
    this.#before = now;
    // A new connection counts from zero.
    const goesOn = before && now.at > before.at && now.bytes >= before.bytes ? before : null;
    return {
      kbps: goesOn && Math.round(((now.bytes - goesOn.bytes) * 8) / (now.at - goesOn.at)),
      width: video?.frameWidth,
      height: video?.frameHeight,
      fps: video?.framesPerSecond,
      codecs: codecs(reports, media),
      lost: sends ? told(reports) : goesOn && share(now.lost - goesOn.lost, now.received - goesOn.received),
      rtt: roundTrip(reports),
      delay: goesOn && now.emitted > goesOn.emitted ? Math.round(((now.kept - goesOn.kept) * 1000) / (now.emitted - goesOn.emitted)) : null,
      freezes: video?.freezeCount ?? null,
      limited: video?.qualityLimitationReason,
    };
  }
}

/** @param {number} lost @param {number} received */
function share(lost, received) {
  return lost > 0 ? lost / (lost + Math.max(0, received)) : 0;
}

/** What the server says of loss. @param {Report[]} reports */
function told(reports) {
  const said = reports.flatMap(({ type, fractionLost }) => (type === "remote-inbound-rtp" && fractionLost !== undefined ? [fractionLost] : []));
  return said.length > 0 ? Math.max(...said) : null;
}

/** @param {Report[]} reports */
function roundTrip(reports) {
  const known = reports.flatMap(({ type, responsesReceived = 0, currentRoundTripTime }) =>
    type === "candidate-pair" && responsesReceived > 0 && currentRoundTripTime !== undefined ? [currentRoundTripTime] : [],
  );
  return known.length > 0 ? Math.round(Math.min(...known) * 1000) : null;
}

/** @param {Report[]} reports @param {Report[]} media */
function codecs(reports, media) {
  const used = media.flatMap(({ codecId }) => reports.find(({ id }) => id !== undefined && id === codecId)?.mimeType ?? []);
  return [...new Set(used.map((type) => type.replace(/^\w+\//, "")))].join(", ");
}

/** @param {number} kbps */
export const rateWords = (kbps) => (kbps < 1000 ? `${kbps} kbit/s` : `${(kbps / 1000).toFixed(1)} Mbit/s`);

/** The lines of the statistics. @param {Sample} sample @returns {[name: string, value: string][]} */
export function lines({ kbps, width, height, fps, codecs: used, lost, rtt, delay, freezes }) {
  /** @type {[string, string | null | undefined | false][]} */
  const all = [
    ["Rate", kbps !== null && rateWords(kbps)],
    ["Picture", width && height ? `${width} × ${height}` : null],
    ["Frames per second", fps !== undefined && String(Math.round(fps))],
    ["Codecs", used],
    ["Lost on the way", lost !== null && `${(lost * 100).toFixed(1)} %`],
    ["Round trip", rtt !== null && `${rtt} ms`],
    ["Kept back", delay !== null && `${delay} ms`],
    ["Freezes", freezes !== null && String(freezes)],
  ];
  return all.map(([name, value]) => [name, value || "–"]);
}

/** What keeps a publisher's picture from being as it should be. @typedef {"line" | "loss" | "computer"} Fault */

/** @type {Record<Fault, string>} */
export const FAULTS = {
  line: "Your line carries less than this picture needs: viewers see a coarser one. Choose a lower quality, or a faster network.",
  loss: "Much of what you send is lost on the way: viewers see a picture that stops. Come nearer to your Wi-Fi, or choose a lower quality.",
  computer: "This computer cannot encode the picture fast enough: viewers see a coarser one. Choose a lower quality, or close other programs.",
};

export class Faults {
  /** @type {(Fault | null)[]} */
  #seen = [];

  /** Forgets what was: it began anew. */
  clear() {
    this.#seen = [];
  }

  /** What has been wrong for a while, with this sample. @param {Sample} sample @returns {Fault | null} */
  look({ lost, limited }) {
    /** @type {Fault | null} */
    const bad = (lost ?? 0) > LOSSY ? "loss" : limited === "bandwidth" ? "line" : limited === "cpu" ? "computer" : null;
    this.#seen = [...this.#seen, bad].slice(-LOOKS);
    const all = this.#seen.filter((each) => each !== null);
    return all.length >= BAD ? (all.at(-1) ?? null) : null;
  }
}
