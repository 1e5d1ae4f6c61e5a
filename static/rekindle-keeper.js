/**
 * Keeps one connection: follows the server's events, does what is due when it is gone and when it is back, and ends the connection where nothing
 * else helps. What is due, rekindle-outage.js decides.
 *
 * @module
 */

import { listen } from "./rekindle-feed.js";
import { Outage, isFar } from "./rekindle-outage.js";
import { flows, isSilent, pause, watchMedia, watchPicture, watchSilence } from "./rekindle-watch.js";

/** @import { Connection } from "./rekindle-connection.js" */
/** @import { Data, Join, Signalling, Stream } from "./rekindle-signalling.js" */
/** @import { SessionEvents, State } from "./rekindle.js" */

/** A publisher's media that is not heard of this long after its keys were renewed needs a new session. */
const SILENT_MS = 4000;
/**
 * How long nothing may come on a connection whose way to the server is doubted, in ms. A publisher gets reports about every second.
 */
const LOST_MS = { viewer: 500, publisher: 1200 };
/** The round trip is looked at after this time, and after twice as long each further time. */
const MEASURE_MS = 250;
/** What the last renewal left behind is removed when all has been well for this time. */
const TIDY_MS = 1000;
/** A server refuses a browser by a DTLS alert, and gives the reason by an event, which may come this much later. */
const REASON_MS = 1000;

const now = () => performance.now();

/**
 * The session, as far as those who keep its connections need it.
 *
 * @typedef {object} Owner
 * @property {"publisher" | "viewer"} role
 * @property {Signalling} signalling
 * @property {() => number} among how many sessions the page has
 * @property {() => boolean | null} live whether a publisher is there
 * @property {(live: boolean) => void} setLive
 * @property {(state: State, more?: { took_ms?: number }) => void} setState
 * @property {(boot: number | null) => void} setBoot
 * @property {(unheard: boolean) => void} setUnheard
 * @property {(keys: import("./rekindle-signalling.js").Keys) => void} setKeys
 * @property {(connection: Connection) => void} serves it is connected for the first time
 * @property {(connection: Connection) => void} measured
 * @property {(connection: Connection, how: SessionEvents["restart"]["detail"]) => void} restarted
 * @property {() => void} wake something has happened that makes trying again worth while
 */

export class Keeper {
  #connection;
  #owner;
  #mode;
  /** The process that this connection's keys are shared with. */
  #process;
  /** The outage in progress; null while all is well. @type {Outage | null} */
  #outage = null;
  /** How many there have been. */
  #outages = 0;
  /** What is heard of the server. @type {ReturnType<typeof listen> | null} */
  #feed = null;
  #streamOpen = false;
  /** The last attempt to open the event stream was refused at once. */
  #refused = false;
  /** The server says that the publisher's media arrives. @type {boolean | null} */
  #arrives = null;
  /** Video came while all was well: it has to come again. */
  #pictured = true;
  /** Silence is watched for: there is another place to go to. */
  #listens = false;
  /** ICE is down, and the event stream was asked whether the server is. */
  #iceDoubted = false;
  /** The way to the server is doubted: whether anything comes is being looked at; and nothing did, so that the server is asked. */
  #doubting = false;
  #silent = false;
  /** What the server last greeted us with, and when. @type {Data | null} */
  #hello = null;
  #greetedAt = -Infinity;
  /** Since when the connection has failed without ever having been up. @type {number | null} */
  #failedSince = null;
  /** When to look again. @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** When to prepare the next renewal. @type {ReturnType<typeof setTimeout> | undefined} */
  #readying;

  /** @param {Connection} connection @param {Join} join @param {Owner} owner */
  constructor(connection, join, owner) {
    this.#connection = connection;
    this.#owner = owner;
    this.#mode = join.mode;
    this.#process = join.process;
  }

  get #isViewer() {
    return this.#owner.role === "viewer";
  }

  // -- the event stream: its end is the first sign that the server is gone ---------------------------------------------------

  /** Follows the session's events. @param {Join} join */
  listen(join) {
    const connection = this.#connection;
    const feed = listen(join, this.#owner.signalling, {
      heard: (event, data) => connection.ended || this.#heard(event, data),
      down: (first, refused) => {
        if (connection.ended) return;
        this.#streamOpen = false;
        this.#refused = refused;
        if (first) this.#lost();
      },
      others: () => connection.ended || this.#watchSilence(),
      moved: (location, from, to, alive) => {
        join.location = location;
        connection.rank += Number(alive);
        connection.media ??= "elsewhere";
        this.#owner.signalling.move(from, to);
      },
      unknown: (place) => {
        this.#owner.signalling.move(new URL("..", join.location).href, place);
        connection.end("unknown-session");
      },
    });
    this.#feed = feed;
    connection.over.then(() => {
      clearTimeout(this.#timer);
      feed().stop();
    });
  }

  /** Something has happened that makes another attempt worthwhile. */
  nudge() {
    this.#feed?.().nudge();
    this.assess();
  }

  /** The browser's own network may be another one, or the server is there and its media is not. What nothing comes by from a server that greets us is lost. */
  async doubt() {
    const connection = this.#connection;
    if (this.#doubting || !connection.served) return;
    const since = now();
    this.#doubting = connection.adrift = true;
    if (connection.iceIsDown) this.#feed?.().look(connection.rtt);
    const silent = await isSilent(connection.pc, LOST_MS[this.#owner.role]);
    this.#doubting = false;
    // Nothing comes to a viewer without a publisher.
    this.#silent = silent && (connection.iceIsDown || !this.#isViewer || this.#arrives === true);
    if (!this.#silent) connection.adrift = false;
    else this.#freshen();
    if (this.#silent && !connection.ended && !this.#outage && this.#streamOpen) {
      if (this.#greetedAt < since) this.#feed?.().look(connection.rtt);
      else this.#loseWay();
    }
  }

  #freshen() {
    const { join } = this.#connection;
    if (join) this.#owner.signalling.freshen(new URL("..", join.location).href);
  }

  #loseWay() {
    this.#silent = false;
    this.#begin();
    const outage = this.#outage;
    if (!outage || !this.#hello) return;
    outage.roams = true;
    outage.greeted(this.#hello, now(), this.#owner.among());
    this.#owner.setState("renewing");
    this.assess();
  }

  /** @param {string} event @param {Data} data */
  #heard(event, data) {
    const connection = this.#connection;
    if (event === "hello") {
      this.#streamOpen = true;
      [this.#hello, this.#greetedAt] = [data, now()];
      connection.serverHasKeys = data.connected === true;
      if (data.keys) this.#owner.setKeys(data.keys);
      this.#mode = data.mode ?? this.#mode;
      const moved = data.media !== undefined && connection.move(data.media);
      const another = (data.process ?? null) !== this.#process;
      // Without a lost stream before it: the server died and came back while the connection was being made.
      if (another && !this.#outage) this.#begin();
      if (!another && this.#outage?.applied === 0 && (!this.#outage.renewed || connection.connected)) {
        // A false alarm: only the stream was lost, and the keys are what they were.
        this.#outage = null;
        if (connection.encoders.held) this.#refresh();
        if (connection.served) this.#owner.setState("connected");
        // A look at this that was on its way has ended with the alarm.
        if (!this.#isViewer) this.#watchArrival();
        if (!this.#silent) this.doubt();
      }
      if (!another && !this.#outage && this.#silent) this.#loseWay();
      // What was renewed meanwhile with a server that had its keys all the time was renewed by the wrong way.
      if (!another && this.#outage && this.#outage.applied > 0 && !connection.connected) connection.adrift = true;
      if (this.#outage) {
        this.#outage.greeted(data, now(), this.#owner.among());
        this.#outage.moved ||= moved;
        if (this.#outage.upAt === null && !this.#outage.keepsKeys(connection, this.#present)) this.#owner.setState("renewing");
      } else {
        this.#owner.setBoot(data.boot ?? null);
      }
      if (data.unheard === true) this.#owner.setUnheard(true);
      this.#tune(data.streams);
      if (typeof data.source === "boolean") this.#setLive(data.source);
    } else if (event === "connected") {
      connection.serverHasKeys = true;
      if (data.keys) this.#owner.setKeys(data.keys);
    } else if (event === "handshake") {
      this.#outage?.saw(now());
    } else if (event === "source") {
      this.#tune(data.streams);
      this.#setLive(data.live === true);
      // What a publisher sends does not arrive.
      if (!this.#isViewer && data.live === false && !this.#outage && connection.sends) this.doubt();
    } else if (event === "unheard") {
      this.#owner.setUnheard(data.unheard === true);
    } else if (event === "gone") {
      connection.end(data.reason ?? "gone");
    }
    this.#watchSilence();
    this.assess();
  }

  /** @param {Stream[] | null} [streams] */
  #tune(streams) {
    if (this.#isViewer && streams && streams.length > 0) this.#connection.setStreams(streams);
  }

  /** @param {boolean} live */
  #setLive(live) {
    this.#arrives = live;
    if (!this.#isViewer) return;
    // After a restart the publisher is away for a moment as everybody is. It counts as gone if it has not come back by the end.
    if (this.#outage) this.#outage.live = live;
    const before = this.#owner.live();
    if (before === live || (this.#outage && before !== null && !live)) return;
    this.#owner.setLive(live);
  }

  // -- the outage --------------------------------------------------------------------------------------------------------------

  #lost() {
    this.#begin();
    this.#owner.setState("server-gone");
    if (this.#connection.served && this.#mode !== "full-state") this.#connection.prepare()?.catch(() => {});
    if (this.#feed?.().hasOthers) this.#watchMedia();
    this.assess();
  }

  #watchMedia() {
    const [connection, outage] = [this.#connection, this.#outage];
    const isOver = () => connection.ended || this.#streamOpen || this.#outage !== outage;
    watchMedia(connection.pc, { isOver, comes: () => this.#feed?.().plays() });
  }

  /** An outage begins, or gets worse. */
  #begin() {
    this.#connection.serverHasKeys = false;
    this.#outages += 1;
    clearTimeout(this.#readying);
    this.#readying = undefined;
    this.#outage = new Outage(this.#connection, now(), this.#outage);
  }

  /** @returns {import("./rekindle-outage.js").Present} */
  get #present() {
    const hidden = globalThis.document?.hidden === true;
    return { at: now(), mode: this.#mode, streamOpen: this.#streamOpen, refused: this.#refused, hidden };
  }

  /** Evaluates all that is known and does what is due. Called whenever something changed; timers are only deadlines. */
  assess() {
    const connection = this.#connection;
    if (connection.ended || !connection.join) return;
    const outage = this.#outage;
    clearTimeout(this.#timer);
    if (connection.iceIsDown) connection.iceDownSince ??= now();
    else [connection.iceDownSince, this.#iceDoubted] = [null, false];
    if (!outage) {
      if (connection.connected) {
        this.#serve();
        connection.retune()?.catch(() => connection.end("retune-failed"));
        this.#makeReady();
      } else if (connection.pc.connectionState === "failed" && !connection.served) this.#fails();
      // ICE noticed what the event stream did not: a host that is gone closes nothing.
      else if (connection.served && connection.iceIsDown && !this.#iceDoubted) {
        this.#iceDoubted = true;
        this.doubt();
      }
      return;
    }
    if (connection.renewing) return;
    const present = this.#present;
    if (outage.hasKeys(connection, present)) {
      if (outage.upAt === null) {
        outage.upAt = present.at;
        if (!this.#isViewer && this.#wantsKeyFrame(outage)) this.#refresh();
        this.#owner.wake();
        this.nudge();
        this.#settle(outage);
      }
      // With the stream open, the server has to know of the keys as well: they may be those of a process that died since.
      if (!this.#streamOpen || connection.serverHasKeys) return this.#finish(outage);
    } else {
      outage.upAt = null;
    }
    if (outage.isHopeless(connection, present)) return connection.end("renewal-failed");
    const due = outage.renewalAt(connection, present);
    if (due <= present.at) {
      if (outage.shouldAsk(connection, present)) connection.ask().finally(() => this.assess());
      else this.#renew(outage);
      return;
    }
    const next = Math.min(due, outage.lookAgainAt(connection, present));
    if (next < Infinity) this.#timer = setTimeout(() => this.assess(), Math.max(1, next - present.at));
  }

  /** The first connect has failed. While the server is there, it may be about to say why. */
  #fails() {
    this.#failedSince ??= now();
    const wait = this.#streamOpen ? this.#failedSince + REASON_MS - now() : 0;
    if (wait <= 0) this.#connection.end("no-media-path");
    else this.#timer = setTimeout(() => this.assess(), Math.max(1, wait));
  }

  /** @param {Outage} outage */
  async #renew(outage) {
    const connection = this.#connection;
    if (outage.isBack(this.#present)) this.#owner.setState("renewing");
    const blind = outage.isBlind(this.#present);
    // It may be the browser's own network that is gone, of which Firefox does not tell. It is asked only while no attempt is under way, which that would disturb.
    if (!connection.mixes && (connection.iceIsDown || connection.isStranded || (blind && outage.applied === 0))) connection.adrift = true;
    if (blind) this.#freshen();
    outage.roams ||= connection.adrift;
    outage.renews(connection, now());
    // Where the connection was closed meanwhile, or would not take the description, the deadline finds out.
    await connection.renew().catch(() => {});
    // Keys that were there before this returned have had their key frame: encoders stopped now would stay so.
    if (!this.#isViewer && isFar(connection) && outage.isLong(this.#present) && outage.upAt === null) connection.encoders.hold()?.catch(() => {});
    this.assess();
  }

  /**
   * Keys are there: whether a picture that needs nothing of what was lost helps. From far away it is there sooner than what was lost. But an
   * encoder that has to be stopped for it leaves frames out that viewers with a cushion would have seen.
   *
   * @param {Outage} outage
   */
  #wantsKeyFrame(outage) {
    const { encoders } = this.#connection;
    return encoders.held || (isFar(this.#connection) && (!encoders.stops || outage.isLong(this.#present)));
  }

  /** Keys are there: waits until media flows under them, and says so. @param {Outage} outage */
  async #settle(outage) {
    const connection = this.#connection;
    const wanted = () => this.#outage === outage && outage.upAt !== null && !connection.ended;
    if (this.#isViewer && this.#owner.live() !== false) {
      const flow = await flows(connection.pc, wanted, () => outage.live === true, this.#pictured);
      if (wanted() && !flow && outage.live === true) return connection.end("no-media");
    }
    if (!wanted()) return;
    outage.tookMs = Math.round(now() - outage.since);
    this.assess();
  }

  /** @param {Outage} outage */
  #finish(outage) {
    const connection = this.#connection;
    const { boot, tookMs, renewed } = outage;
    if (tookMs === null) return;
    this.#owner.setState("connected", { took_ms: tookMs });
    // Which process it is that answered is known when the stream is back.
    if (!this.#streamOpen) return;
    this.#outage = null;
    this.#silent = connection.adrift = false;
    // Where keys were kept ICE may be down still, and the server has just answered.
    this.#iceDoubted = connection.iceIsDown;
    this.#serve();
    const another = this.#process !== outage.process;
    this.#process = outage.process;
    this.#owner.setBoot(boot);
    if (outage.live !== null) this.#setLive(outage.live);
    queueMicrotask(() => this.assess());
    if (!this.#isViewer) this.#watchArrival();
    if (another && boot !== null) this.#owner.restarted(connection, { boot, took_ms: tookMs, renewed });
  }

  // -- while all is well ---------------------------------------------------------------------------------------------------------

  /** The first connect. */
  #serve() {
    const connection = this.#connection;
    if (connection.served) return;
    connection.served = true;
    this.#owner.setUnheard(false);
    this.#watchRoundTrip();
    if (this.#isViewer) {
      if (this.#mode !== "full-state") connection.prime()?.catch(() => {});
      watchPicture(connection.pc, {
        isOver: () => connection.ended,
        isExcused: () => this.#outage !== null || globalThis.document?.hidden === true,
        stands: () => connection.end("no-picture"),
        comes: (video) => {
          if (!this.#outage) this.#pictured = video;
        },
      });
    }
    this.#owner.serves(connection);
    this.#owner.setState("connected");
  }

  #refresh() {
    const connection = this.#connection;
    connection.encoders.refresh().catch(() => connection.encoders.held && connection.end("no-picture"));
  }

  /** When all has been well for a while: clears away what the last renewal left behind, and prepares the next one. */
  #makeReady() {
    const connection = this.#connection;
    const ready = async () => {
      this.#readying = undefined;
      if (connection.ended || !connection.connected) return;
      await connection.tidy();
      // What cannot be prepared is tried again when it is needed.
      if (!this.#outage && this.#mode !== "full-state") connection.prepare()?.catch(() => {});
    };
    if (connection.prepared) return;
    this.#readying ??= setTimeout(() => ready().catch(() => connection.end("tidy-failed")), TIDY_MS);
  }

  /** A publisher that is connected, and whose media does not arrive all the same, is helped only by a new connection. */
  async #watchArrival() {
    const connection = this.#connection;
    const outages = this.#outages;
    await pause(SILENT_MS);
    // After a later outage the server may not have heard of it yet, and it is looked at then.
    if (this.#outages !== outages || connection.ended || !this.#streamOpen || this.#arrives !== false || !connection.sends) return;
    connection.end("no-media");
  }

  /** Where there is somewhere else to go, a host that is gone is noticed by the silence. */
  async #watchSilence() {
    const connection = this.#connection;
    if (!this.#feed?.().hasOthers || this.#listens) return;
    this.#listens = true;
    await watchSilence(connection.pc, {
      isOver: () => connection.ended || !this.#feed?.().hasOthers,
      isExcused: () => this.#outage !== null || !this.#streamOpen || !connection.served || (this.#isViewer && this.#arrives !== true),
      falls: (isSilent) => this.#feed?.().look(connection.rtt, isSilent),
    });
    this.#listens = false;
  }

  /** Learns the round trip, which is known only after some checks, and whose first values are those of a busy moment. */
  async #watchRoundTrip() {
    const connection = this.#connection;
    for (let ms = MEASURE_MS; !connection.ended; ms *= 2) {
      await pause(ms);
      if (this.#outage) continue;
      await connection.measure().catch(() => {});
      this.#owner.measured(connection);
    }
  }
}
