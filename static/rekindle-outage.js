/**
 * A time without the server: what is known of it, and when keys are due to be renewed. It only decides; the caller supplies the time.
 *
 * @module
 */

import { MOST_MS } from "./rekindle-cushion.js";
import { known } from "./rekindle-time.js";

/**
 * Renewals wait for the server's return, which the event stream tells. An answer to an earlier one that is still on its way when
 * another begins spoils that (in DTLS 1.3 it looks like the answer to it), so the fewer the better. A renewal that got no answer is
 * tried again after the first of these times, later ones after up to the second; and longer by what the server says that it needs for
 * all who come back with us.
 *
 * @type {[number, number]}
 */
const REAPPLY_MS = [300, 1000];
/**
 * Where the event stream may come back late (a proxy says no, nobody answers, or timers are slow because nobody looks), renewals are
 * tried without it: after this time, again at ever longer intervals, and no more after the second number. A port that refuses at
 * once is another matter: there the return will be seen.
 *
 * @type {[number, number]}
 */
const BLIND_MS = [1000, 10_000];
/**
 * With a round trip longer than this, in ms, the first renewal does not wait for the return: hearing of it takes two round trips, and
 * a process that is replaced at once is there when the ClientHello arrives. With a shorter one that would lose the first ClientHello,
 * and the browser's own repetition comes later than the news.
 */
const FAR_MS = 20;
/** Never renew faster than a handshake can take: this time in ms, and this many round trips. */
const HANDSHAKE_MS = 40;
const HANDSHAKE_RTTS = 2.5;
/**
 * The browser repeats a ClientHello by itself, at times that the page cannot foresee. Where it says when it last sent something, a renewal
 * waits until the answer to that would have come: a round trip, and so many ms more, should the server not yet have been there. Half a
 * round trip more where a wrong answer was taken: the browser's own repetition comes after two round trips.
 */
const ANSWER_MS = 20;
const ANSWER_RTTS = 1.5;
/** How long what the browser said of that is used. */
const FRESH_MS = 5;
/** News of a ClientHello that comes within this part of a round trip after a renewal is of an earlier one. */
const SOONEST_RTTS = 0.75;
/**
 * Where the browser does not say it, an attempt that got a wrong answer is done again so many round trips after it began: its first
 * repetition (after two round trips or somewhat more) is answered by then, and the second one (three times as late) is yet to come.
 */
const BETWEEN_RTTS = 5;
/** What each other session of the page that comes back too takes the browser, in ms: 70 in Firefox on a machine with 2 cores, seen with fifty. */
const AMONG_MS = 100;
/** When the server has been back this long and the connection is still without keys, a new session is made. */
const GIVE_UP_MS = 5000;
/** The same where it is the browser that is elsewhere: Chromium hears of its own new address only 2 s later, or more on a slow machine. */
const ROAM_MS = 10_000;
/** A server that keeps session keys ("full-state") takes them over within this time after it is back; else keys are renewed. */
const KEPT_MS = 300;
/**
 * Keys are renewed all the same where ICE has been down for so long: consent ends 30 s after the last check that was answered (RFC 7675),
 * and the browser calls ICE down up to 10 s after it.
 */
const ICE_DOWN_MS = 12_000;

/**
 * What is asked of a connection.
 *
 * @typedef {Pick<import("./rekindle-connection.js").Connection,
 *   "rtt" | "handshakes" | "connected" | "broken" | "serverHasKeys" | "iceHasFailed" | "iceDownSince" | "sent" | "mixes">} Way
 */

/**
 * Whether the server is so far away that waiting for news of it costs more than a ClientHello that may be lost.
 *
 * @param {Pick<Way, "rtt">} connection
 */
export function isFar(connection) {
  return known(connection.rtt) > FAR_MS;
}

/** How long a handshake may take, in ms. @param {Way} connection */
function handshakeTime(connection) {
  return HANDSHAKE_MS + HANDSHAKE_RTTS * known(connection.rtt);
}

/**
 * What it is told of the present (all times in ms, of one clock):
 *
 * @typedef {object} Present
 * @property {number} at the time
 * @property {string} mode what a restart takes of this server: "rehandshake" or "full-state"
 * @property {boolean} streamOpen whether the event stream is open
 * @property {boolean} refused whether the last attempt to open it was refused at once
 * @property {boolean} hidden whether nobody looks at the page, so that its timers are slow
 */
export class Outage {
  /** When it began, and when it last got worse. */
  /** @type {number} */
  since;
  /** @type {number} */
  startedAt;
  /** Handshakes before the last renewal. @type {number} */
  base;
  /** When the server was back, as which boot, as which process. @type {number | null} */
  backAt = null;
  /** @type {number | null} */
  boot = null;
  /** @type {string | null} */
  process = null;
  /** When the server, since it is back, said that a ClientHello has come; and how often it said so since the last renewal. */
  seenAt = -Infinity;
  seen = 0;
  /** How long others may be served before us, according to the server. */
  patience = 0;
  /** Whether a publisher is there, if the server has said so. @type {boolean | null} */
  live = null;
  /** When keys were there; null while they are not. @type {number | null} */
  upAt = null;
  /** What it took until media flowed. @type {number | null} */
  tookMs = null;
  /** The last renewal; how many there were since it last got worse; whether there was any. */
  /** @type {number} */
  appliedAt;
  applied = 0;
  /** @type {boolean} */
  renewed;
  /** The server is at another place: the browser has to be told, and runs DTLS there. */
  moved = false;
  /** So may be the browser: it has another network. */
  roams = false;
  /** One that was spoiled has been done again at once. */
  redone = false;

  /**
   * It begins, or gets worse: whatever handshake there has been is of no use any more.
   *
   * @param {{ handshakes: number }} connection
   * @param {number} at
   * @param {Outage | null} previous what it was before it got worse
   */
  constructor(connection, at, previous) {
    this.since = previous?.since ?? at;
    this.startedAt = at;
    this.base = connection.handshakes;
    this.appliedAt = previous?.appliedAt ?? -Infinity;
    this.renewed = previous?.renewed ?? false;
    this.moved = previous?.moved ?? false;
    this.roams = previous?.roams ?? false;
  }

  /**
   * The server has greeted us on the event stream; so many sessions of this page come back together.
   *
   * @param {import("./rekindle-signalling.js").Data} hello
   * @param {number} at
   * @param {number} [among]
   */
  greeted(hello, at, among = 1) {
    this.backAt = at;
    this.boot = hello.boot ?? null;
    this.process = hello.process ?? null;
    this.patience = (hello.patience_ms ?? 0) + AMONG_MS * (among - 1);
    if (hello.handshaking) this.saw(at);
  }

  /** No cushion hides it any more. @param {Present} present */
  isLong(present) {
    return present.at - this.since > MOST_MS;
  }

  /** The server says that a ClientHello has come. @param {number} at */
  saw(at) {
    this.seenAt = at;
    this.seen += 1;
  }

  /** A renewal begins. @param {Way} connection @param {number} at */
  renews(connection, at) {
    this.redone ||= this.#isSpoiled(connection);
    this.appliedAt = at;
    this.base = connection.handshakes;
    this.upAt = null;
    this.applied += 1;
    this.seen = 0;
    this.renewed = true;
  }

  /**
   * Whether the browser should be asked what it sent before the renewal that is due begins.
   *
   * @param {Way} connection
   * @param {Present} present
   */
  shouldAsk(connection, present) {
    return this.renewed && !connection.connected && present.at - (connection.sent?.asOf ?? Infinity) > FRESH_MS;
  }

  /**
   * Whether the last renewal has got the answer to an earlier ClientHello: the server has seen more of them than there were renewals, or
   * sooner than it can have seen the last one. The browser goes by that answer, and takes no other.
   *
   * @param {Way} connection
   */
  #isSpoiled(connection) {
    if (!connection.mixes || this.appliedAt < (this.backAt ?? 0) || this.seen === 0) return false;
    return this.seen > 1 || this.seenAt - this.appliedAt < SOONEST_RTTS * connection.rtt;
  }

  /** @param {Pick<Present, "streamOpen">} present */
  isBack({ streamOpen }) {
    return this.backAt !== null && streamOpen;
  }

  /** Whether nothing has been heard of the server for a while, not even a refusal. @param {Present} present */
  isBlind(present) {
    return !this.isBack(present) && !present.refused && present.at - this.startedAt >= BLIND_MS[0];
  }

  /** Whether keys are there that will do. @param {Way} connection @param {Present} present */
  hasKeys(connection, present) {
    if (this.keepsKeys(connection, present)) return present.streamOpen && connection.serverHasKeys;
    return connection.handshakes > this.base && connection.connected;
  }

  /**
   * Whether it may end with the keys that there are: the server keeps them, and has not shown that it lost ours.
   *
   * @param {Way} connection
   * @param {Present} present
   */
  keepsKeys(connection, present) {
    if (present.mode !== "full-state" || this.applied > 0 || this.moved || this.roams) return false;
    const back = this.isBack(present);
    // A check that the server was not there to answer says nothing about the keys, and Firefox asks again only seconds later. But
    // where several in a row went unanswered, the browser's consent to send ends soon, and a renewal gives a new one.
    const iceIsLost = connection.iceHasFailed || present.at - (connection.iceDownSince ?? present.at) > ICE_DOWN_MS;
    if (back && iceIsLost) return false;
    return connection.serverHasKeys || !back || present.at - (this.backAt ?? 0) <= KEPT_MS;
  }

  get #giveUpTime() {
    return (this.roams ? ROAM_MS : GIVE_UP_MS) + this.patience;
  }

  /**
   * Whether the server has been back for so long that this connection does not come back with it.
   *
   * @param {Way} connection
   * @param {Present} present
   */
  isHopeless(connection, present) {
    if (!this.isBack(present) || present.at - (this.backAt ?? 0) <= this.#giveUpTime) return false;
    return this.upAt !== null || this.applied > 0 || this.keepsKeys(connection, present);
  }

  /** When the next renewal is due; `Infinity` where something else has to happen first. @param {Way} connection @param {Present} present */
  renewalAt(connection, present) {
    if (this.keepsKeys(connection, present)) return Infinity;
    const due = this.#withoutKeysAt(connection, present);
    return this.upAt === null ? due : Math.max(due, this.upAt + handshakeTime(connection));
  }

  /** When nothing is under way any more that another renewal could spoil, or that could spoil it. @param {Way} connection */
  #clearAt(connection) {
    const { rtt, sent } = connection;
    const handshake = handshakeTime(connection);
    const spoiled = this.#isSpoiled(connection);
    // What has got a wrong answer comes to nothing; what else the server has seen is answered, or waits there for its turn.
    const lost = spoiled || connection.broken;
    const seenAt = lost ? -Infinity : this.seenAt;
    if (sent && rtt < Infinity) {
      // It is asked before the renewal begins.
      if (sent.asOf <= this.appliedAt) return seenAt + handshake;
      // Something was sent at the last renewal, so that an earlier time is no answer.
      if (sent.at !== null && sent.at > this.appliedAt - FRESH_MS) return Math.max(seenAt + handshake, sent.at + this.#answerTime(connection, sent.at, lost));
    }
    return Math.max(this.appliedAt, seenAt) + (spoiled ? this.#apart(connection) : handshake);
  }

  /**
   * How long after something was sent nothing more comes of it.
   *
   * @param {Way} connection
   * @param {number} sentAt
   * @param {boolean} lost
   */
  #answerTime(connection, sentAt, lost) {
    const { rtt } = connection;
    if (lost) return Math.max(rtt + ANSWER_MS, ANSWER_RTTS * rtt);
    // What comes to the server after it has greeted us is answered for certain.
    return sentAt > (this.backAt ?? 0) - rtt ? handshakeTime(connection) : rtt + ANSWER_MS;
  }

  /** How long after an attempt that has got a wrong answer another one is less likely to get one. @param {Way} connection */
  #apart(connection) {
    return Math.max(handshakeTime(connection), BETWEEN_RTTS * known(connection.rtt));
  }

  /** The same where the keys that there were are lost. @param {Way} connection @param {Present} present */
  #withoutKeysAt(connection, present) {
    const earliest = this.#clearAt(connection) + this.patience;
    const backoff = 2 ** Math.max(0, this.applied - (this.redone ? 2 : 1));
    if (this.isBack(present)) {
      if (this.appliedAt < (this.backAt ?? 0) && !connection.serverHasKeys) return earliest;
      // Only once: whoever sends ClientHellos in the browser's name must not have it begin again and again.
      if (this.#isSpoiled(connection) && !this.redone) return earliest;
      if (connection.broken || this.#isSpoiled(connection)) return Math.max(earliest, this.appliedAt + this.#apart(connection));
      return Math.max(earliest, this.appliedAt + this.patience + Math.min(REAPPLY_MS[1], REAPPLY_MS[0] * backoff));
    }
    if (this.applied > 0) {
      if ((present.refused && !present.hidden) || present.at - this.startedAt > BLIND_MS[1]) return Infinity;
      return Math.max(earliest, this.appliedAt + 2 * BLIND_MS[0] * backoff);
    }
    if (isFar(connection) || present.hidden) return Math.max(earliest, this.startedAt);
    return present.refused ? Infinity : Math.max(earliest, this.startedAt + BLIND_MS[0]);
  }

  /**
   * When to look again at the latest, besides at {@link renewalAt}: something may have become true by the time alone.
   *
   * @param {Way} connection
   * @param {Present} present
   */
  lookAgainAt(connection, present) {
    if (!this.isBack(present)) return Infinity;
    const kept = this.keepsKeys(connection, present) && !connection.serverHasKeys ? KEPT_MS : Infinity;
    return (this.backAt ?? 0) + Math.min(kept, this.#giveUpTime) + 1;
  }
}
