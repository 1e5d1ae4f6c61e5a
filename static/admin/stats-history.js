/**
 * What the page has seen while it was open: rates between two answers, and the boots. Pure: it is told all that it knows.
 *
 * @module
 */

/**
 * An answer of `/api/stats`; openapi.json describes it.
 *
 * @typedef {object} Stats
 * @property {string} version
 * @property {number} boot
 * @property {string} process
 * @property {number} started_ms
 * @property {number} uptime_ms
 * @property {{ connected: number, awaited: number, joining: number }} peers
 * @property {number} live
 * @property {number} viewers
 * @property {{ name: string, live: boolean, live_since?: number, viewers: number, media: Passed }[]} channels
 * @property {number} more_channels
 * @property {Passed & { sent: number, retransmitted: number, overrun: number, dropped: number }} media
 * @property {Resume} resume
 *
 * @typedef {{ ready_ms?: number, back: number, lost: Record<string, number>, median_ms?: number, p90_ms?: number, last_ms?: number, curve: [number, number][] }} Resume
 *
 * @typedef {{ boot: number, process: string, startedAt: number, awaited: number, resume: Resume }} Boot
 *
 * @typedef {{ received_bytes: number, sent_bytes: number, loss_reports: number, loss_sum: number }} Passed
 *
 * What went in and out between two answers, in bit/s, and the share of packets that viewers reported as lost; null where nobody reported.
 *
 * @typedef {{ bitsIn: number, bitsOut: number, loss: number | null }} Rates
 * @typedef {Rates & { at: number, isFirst: boolean }} Sample
 */

/** Rates are over at least so long, in ms: the server itself looks only five times a second, and what a new process has sent at once is no rate. */
const RATE_MS = 900;
/** How many samples and boots are kept. */
const SAMPLES = 180;
const BOOTS = 20;
/** What had passed at the start of a process. */
const NOTHING = { received_bytes: 0, sent_bytes: 0, loss_reports: 0, loss_sum: 0 };

/** What has passed since `before`, in `ms`. @param {Passed} now @param {Passed | undefined} before @param {number} ms @returns {Rates} */
function rates(now, before, ms) {
  // A channel that has gone and come again counts anew.
  const since = before && before.received_bytes <= now.received_bytes && before.sent_bytes <= now.sent_bytes && before.loss_reports <= now.loss_reports ? before : NOTHING;
  const reports = now.loss_reports - since.loss_reports;
  return {
    bitsIn: (8000 * (now.received_bytes - since.received_bytes)) / ms,
    bitsOut: (8000 * (now.sent_bytes - since.sent_bytes)) / ms,
    loss: reports > 0 ? (now.loss_sum - since.loss_sum) / reports : null,
  };
}

export class History {
  /** The newest first. @type {Boot[]} */
  boots = [];
  /** The oldest first. @type {Sample[]} */
  samples = [];
  /** The newest sample of each channel, by its name, with the loss that was reported last; without those of which it is not known when they have begun. @type {Map<string, Rates>} */
  channels = new Map();
  /** The answer that the next sample is counted from; null where that is the start of the process. @type {{ at: number, stats: Stats } | null} */
  #base = null;
  /** The next sample is the first of its process. */
  #isFirst = false;

  /** Another answer. @param {Stats} stats @param {number} at when it came, in ms */
  take(stats, at) {
    const { boot, process, started_ms: startedAt, uptime_ms: uptime, resume, peers, media } = stats;
    const [newest] = this.boots;
    if (newest?.process === process) {
      Object.assign(newest, { awaited: peers.awaited, resume });
    } else {
      this.boots.unshift({ boot, process, startedAt, awaited: peers.awaited, resume });
      this.boots.length = Math.min(this.boots.length, BOOTS);
      // What a process has counted that began while this page was open, it has counted since its start.
      this.#base = newest ? null : { at, stats };
      this.#isFirst = newest !== undefined;
      this.channels = new Map();
    }
    const before = this.#base?.stats;
    const ms = this.#base ? at - this.#base.at : uptime;
    if (ms < RATE_MS) return;
    this.samples.push({ at, isFirst: this.#isFirst, ...rates(media, before?.media, ms) });
    const earlier = new Map(before?.channels.map((one) => [one.name, one.media]));
    // Where some were left out, one that was not there need not be new.
    const known = stats.channels.filter(({ name }) => earlier.has(name) || !before?.more_channels);
    const latest = known.map(({ name, media }) => {
      const now = rates(media, earlier.get(name), ms);
      // Few viewers report less often than the page asks.
      return /** @type {const} */ ([name, { ...now, loss: now.loss ?? this.channels.get(name)?.loss ?? null }]);
    });
    this.channels = new Map(latest);
    this.#base = { at, stats };
    this.#isFirst = false;
    if (this.samples.length > SAMPLES) this.samples.shift();
  }
}

/** @param {number} share of 1 */
export const shareWords = (share) => `${(100 * share).toFixed(1)} %`;

/** @param {Record<string, number>} lost */
export const total = (lost) => Object.values(lost).reduce((sum, count) => sum + count, 0);

/** @param {number} [ms] */
export function timeWords(ms) {
  if (ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  return durationWords(ms);
}

/** @param {number} ms */
export function durationWords(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return both(seconds, 60, "min", 1, "s");
  if (seconds < 86_400) return both(seconds, 3600, "h", 60, "min");
  return both(seconds, 86_400, "d", 3600, "h");
}

/** @param {number} seconds @param {number} large @param {string} one @param {number} small @param {string} other */
function both(seconds, large, one, small, other) {
  const rest = Math.floor((seconds % large) / small);
  return `${Math.floor(seconds / large)} ${one}${rest > 0 ? ` ${rest} ${other}` : ""}`;
}

/** @param {number} bits a second */
export function rateWords(bits) {
  if (bits < 1e6) return `${Math.round(bits / 1000)} kbit/s`;
  return bits < 1e9 ? `${(bits / 1e6).toFixed(1)} Mbit/s` : `${(bits / 1e9).toFixed(2)} Gbit/s`;
}

/** How a boot's browsers came back, in words. @param {Boot} boot */
export function comebackWords({ boot, awaited, resume }) {
  const lost = total(resume.lost);
  if (resume.back + lost + awaited === 0) return `Boot ${boot} had no browsers of an earlier one to wait for.`;
  const back = resume.back === 0 ? "nobody is back yet" : `${resume.back} came back, half of them after ${timeWords(resume.median_ms)}, 90 % after ${timeWords(resume.p90_ms)}, the last after ${timeWords(resume.last_ms)}`;
  const reasons = Object.entries(resume.lost).map(([reason, count]) => `${count} ${reason}`);
  return `Boot ${boot}: ${back}${awaited > 0 ? `; ${awaited} awaited` : ""}${lost > 0 ? `; ${lost} lost (${reasons.join(", ")})` : ""}.`;
}

/** A round number that is not less, so that a scale ends with it. @param {number} value */
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 2.5, 5, 10].find((step) => step * power >= value) ?? 10);
}
