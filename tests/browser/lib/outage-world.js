// A restart by a virtual clock: a server that is down for a while, a browser that repeats its ClientHellos by timers of its own, and a page
// that asks rekindle-outage.js what is due, as rekindle-keeper.js does. Every way takes half a round trip.
import { Outage } from "../../../static/rekindle-outage.js";

/** @import { Way } from "../../../static/rekindle-outage.js" */

/** From the start of a process until it answers, and for a handshake's sums, in ms. */
const START_MS = 10;
const SUMS_MS = 2;
/** A server that finds a ClientHello waiting takes it before it greets the page. */
const TURN_MS = 2;
/** An attempt to open the event stream is given up after the first of these times, later ones after up to the second; another one follows. */
const ATTEMPT_MS = [1000, 4000];
const AGAIN_MS = 10;
/** A page that asks its browser hears from it after this time. */
const ASK_MS = 3;

/**
 * @typedef {object} Conditions
 * @property {number} rtt
 * @property {number} downMs
 * @property {number} repeatMs the browser's first repetition comes after this time, each later one after twice as long
 * @property {boolean} [tells] whether the browser says when it last sent something
 * @property {boolean} [ports] whether each attempt has a port of its own, whose way to the server is tried first
 * @property {number} [roundTrips] what a handshake takes: 1 with DTLS 1.3, 2 with DTLS 1.2
 * @property {number} [applyMs] from a renewal's beginning until the browser has left the attempt before
 * @property {number} tryMs the page tries to open the event stream again so long after a failure
 * @property {(attempt: number) => boolean} [lost] whether a ClientHello of an attempt, or the answer to it, is lost on its way
 * @property {() => number} [late] how much longer a way takes than half a round trip
 * @property {boolean} [held] whether somebody holds the ports while no server runs: datagrams and requests wait there, and the next server finds them
 */
export class World {
  // The conditions, and what is so where they say nothing else.
  /** @type {number} */
  rtt;
  /** @type {number} */
  downMs;
  /** @type {number} */
  repeatMs;
  /** @type {number} */
  tryMs;
  tells = true;
  ports = false;
  applyMs = 0;
  roundTrips = 1;
  /** @type {(attempt: number) => boolean} */
  lost = () => false;
  late = () => 0;
  held = false;
  /** What waits for the next server. @type {(() => void)[]} */
  waiting = [];

  /** @type {{ at: number, number: number, action: () => void }[]} */
  #queue = [];
  #number = 0;
  at = 0;
  /** Of every attempt: when it began, and whether it got the answer to another one. */
  attempts = [];
  /** When the browser and the server both had keys. @type {number | null} */
  keyedAt = null;
  /** What the page knows of its connection. @type {{ -readonly [Name in keyof Way]: Way[Name] }} */
  connection;
  /** @type {Outage} */
  outage;
  streamOpen = false;
  /** The page applies a description. */
  renewing = false;
  /** It asks the browser what was sent last. */
  asking = false;
  /** How often it has looked. */
  looks = 0;
  /** When the browser sent something. */
  lastSentAt = -Infinity;
  /** Attempts whose ClientHello the server has seen. @type {Set<number>} */
  begun = new Set();
  /** The server has keys. */
  completed = false;
  /** The server has the page's event stream. */
  told = false;

  /** @param {Conditions} conditions */
  constructor(conditions) {
    Object.assign(this, conditions);
    const sent = this.tells && !this.ports ? { at: null, asOf: -Infinity } : null;
    const { rtt, ports } = this;
    this.connection = { rtt, handshakes: 1, connected: true, broken: false, serverHasKeys: true, iceHasFailed: false, iceDownSince: null, sent, mixes: !ports };
  }

  /** Runs from the kill, at 0, until keys are there; resolves with the time, or null. */
  run(until = 10_000) {
    this.#in(this.#way, () => {
      this.outage = new Outage(this.connection, this.at, null);
      this.connection.serverHasKeys = false;
      this.#assess();
      this.#try();
    });
    while (this.#queue.length > 0 && this.keyedAt === null) {
      this.#queue.sort((a, b) => a.at - b.at || a.number - b.number);
      const { at, action } = this.#queue.shift();
      if (at > until) return null;
      this.at = at;
      action();
    }
    return this.keyedAt;
  }

  get spoiled() {
    return this.attempts.filter(({ spoiled }) => spoiled).length;
  }

  #in(ms, action) {
    this.#queue.push({ at: this.at + ms, number: ++this.#number, action });
  }

  /** One way, in ms. */
  get #way() {
    return this.rtt / 2 + this.late();
  }

  get #upAt() {
    return this.downMs + START_MS;
  }

  get #isUp() {
    return this.at >= this.#upAt;
  }

  // -- the page, as rekindle-keeper.js has it -----------------------------------------------------------------------------------

  #present() {
    return { at: this.at, mode: "rehandshake", streamOpen: this.streamOpen, refused: !this.held, hidden: false };
  }

  #assess() {
    const { connection, outage } = this;
    if (this.renewing) return;
    const present = this.#present();
    const number = (this.looks += 1);
    if (outage.hasKeys(connection, present)) {
      outage.upAt ??= this.at;
      if (connection.serverHasKeys) {
        this.keyedAt = this.at;
        return;
      }
    } else {
      outage.upAt = null;
    }
    const due = outage.renewalAt(connection, present);
    if (due > this.at) {
      if (due < Infinity) this.#in(Math.max(1, due - this.at), () => this.looks === number && this.#assess());
    } else if (outage.shouldAsk(connection, present)) {
      if (this.asking) return;
      this.asking = true;
      this.#in(ASK_MS, () => {
        this.asking = false;
        connection.sent = { at: this.lastSentAt, asOf: this.at };
        this.#assess();
      });
    } else {
      outage.renews(connection, this.at);
      this.renewing = true;
      this.#in(this.applyMs, () => {
        this.renewing = false;
        this.#begin();
      });
    }
  }

  #try(tries = 0) {
    const begun = this.at;
    this.#in(this.#way, () => {
      if (!this.#isUp && this.held) {
        // The page gives an attempt up that nobody answers, as rekindle-signalling.js has it, and begins another one.
        const patience = Math.min(ATTEMPT_MS[1], ATTEMPT_MS[0] + 500 * tries);
        if (begun + patience > this.#upAt + this.rtt / 2) return this.#in(this.#upAt + TURN_MS - this.at, () => this.#greet());
        return this.#in(begun + patience + AGAIN_MS - this.at, () => this.#try(tries + 1));
      }
      if (!this.#isUp) return this.#in(this.#way + this.tryMs, () => this.#try());
      this.#greet();
    });
  }

  #greet() {
    const hello = { boot: 2, process: "another", handshaking: this.begun.size > 0 && !this.completed, patience_ms: 0 };
    const connected = this.completed;
    this.told = true;
    this.#in(this.#way, () => {
      this.streamOpen = true;
      this.connection.serverHasKeys = connected;
      this.outage.greeted(hello, this.at);
      this.#assess();
    });
  }

  #tell(action) {
    if (this.told) this.#in(this.#way, () => (action(), this.#assess()));
  }

  // -- the browser's DTLS -------------------------------------------------------------------------------------------------------

  #begin() {
    const attempt = { number: this.attempts.length, at: this.at, answered: false, spoiled: false };
    this.attempts.push(attempt);
    Object.assign(this.connection, { connected: false, broken: false });
    this.#assess();
    const say = (repeatMs) => {
      if (attempt !== this.attempts.at(-1) || this.connection.broken || (attempt.answered && !attempt.spoiled)) return;
      this.#send(() => this.#heard(attempt.number), attempt.number);
      this.#in(repeatMs, () => say(2 * repeatMs));
    };
    if (!this.ports) return say(this.repeatMs);
    const check = (repeatMs) => {
      if (attempt !== this.attempts.at(-1) || attempt.checked) return;
      const answered = () => {
        if (!attempt.checked) say(this.repeatMs);
        attempt.checked = true;
      };
      this.#in(this.#way, () => (this.#isUp || this.held) && this.#in(Math.max(0, this.#upAt - this.at) + this.#way, answered));
      this.#in(repeatMs, () => check(2 * repeatMs));
    };
    check(this.repeatMs);
  }

  #send(arrives, number) {
    this.lastSentAt = this.at;
    if (this.lost(number)) return;
    this.#in(this.#way, () => {
      if (this.#isUp) return arrives();
      if (!this.held) return;
      // Of all that has waited the server answers the last attempt only (src/net/turns.rs), and that before it greets anybody.
      if (this.waiting.length === 0) this.#in(this.#upAt - this.at, () => this.waiting.at(-1)());
      this.waiting.push(arrives);
    });
  }

  /** The answer to the ClientHello of an attempt has come. The browser cannot tell whose it is. */
  #answered(number) {
    const attempt = this.attempts.at(-1);
    if (attempt.answered || (this.ports && attempt.number !== number)) return;
    attempt.answered = true;
    attempt.spoiled = attempt.number !== number;
    if (attempt.spoiled) {
      // In DTLS 1.2 a signature shows it at once; in DTLS 1.3 the browser waits for what it can decrypt.
      this.connection.broken = this.roundTrips > 1;
      return this.#assess();
    }
    if (this.roundTrips === 1) {
      this.#connected(attempt);
      return this.#send(() => this.#completed(), number);
    }
    this.#send(() => {
      this.#completed();
      this.#in(this.#way, () => this.#connected(attempt));
    }, number);
  }

  #connected(attempt) {
    if (attempt !== this.attempts.at(-1)) return;
    this.connection.handshakes += 1;
    this.connection.connected = true;
    this.#assess();
  }

  // -- the server ---------------------------------------------------------------------------------------------------------------

  #heard(number) {
    if (!this.begun.has(number)) this.#tell(() => this.outage.saw(this.at));
    this.begun.add(number);
    if (!this.lost(number)) this.#in(SUMS_MS + this.#way, () => this.#answered(number));
  }

  #completed() {
    this.completed = true;
    this.#tell(() => (this.connection.serverHasKeys = true));
  }
}
