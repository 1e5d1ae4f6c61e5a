/**
 * A session with the server: joins, follows the event stream, decides when keys are renewed and when a new connection is needed.
 *
 * @module
 */

import { Connection } from "./rekindle-connection.js";
import { Cushion, checked } from "./rekindle-cushion.js";
import { follow } from "./rekindle-events.js";
import { Refusal, join } from "./rekindle-join.js";
import { Outage, isFar } from "./rekindle-outage.js";
import { Signalling } from "./rekindle-signalling.js";
import { flows, pause, watchPicture } from "./rekindle-watch.js";

/** @import { Data, Stream } from "./rekindle-signalling.js" */
/** @import { Options, SessionEvents, State } from "./rekindle.js" */

/** A publisher's media that is not heard of this long after its keys were renewed needs a new session. */
const SILENT_MS = 4000;
/** The round trip is looked at after this time, and after twice as long each further time. */
const MEASURE_MS = 250;
/** What the last renewal left behind is cleared away when all has been well for so long. */
const TIDY_MS = 1000;

/** How many this page has. */
let sessions = 0;

const now = () => performance.now();

/**
 * A session with the server, for as long as the page wants it.
 *
 * Events, all with a `detail`:
 * - `state` `{ state, previous, reason?, took_ms? }`: see {@link Session#state}
 * - `restart` `{ boot, took_ms, renewed }`: the server has come back as another process and media flows again on the same connection
 * - `track` `{ track, stream }`: a track to show (viewers)
 * - `source` `{ live }`: the publisher came or went (viewers)
 * - `replaced` `{ pc, stream, reason }`: a new connection had to be made and has taken over
 * - `unheard` `{ unheard }`: the server has been asked for media and has heard nothing of this browser over UDP for 8 s, or now has
 * - `error` `{ reason, message, status? }`: the session cannot go on; its state is `failed`
 */
export class Session extends EventTarget {
  /** @type {RTCPeerConnection | null} */
  pc = null;
  /** What is received (viewers) or sent (publishers). @type {MediaStream | null} */
  stream = null;
  /** Which life of the server this session last heard of. @type {number | null} */
  boot = null;
  /** How many restarts of the server were survived on one and the same connection. */
  restarts = 0;
  /** How many times a new connection had to be made. */
  replacements = 0;
  /** Whether a publisher is there (viewers); null while that is not known. @type {boolean | null} */
  live = null;
  /** Nothing of this browser's gets through to the server's media port, as far as is known. */
  unheard = false;
  /**
   * - `connecting`: joining for the first time
   * - `waiting`: nobody publishes on this channel yet
   * - `connected`
   * - `server-gone`: the server cannot be reached
   * - `renewing`: the server is back, and keys are being renewed
   * - `reconnecting`: the connection could not be kept, and a new one is being made
   * - `failed`, `closed`
   *
   * @type {State}
   */
  state = "connecting";

  #role;
  #source;
  #signalling;
  #cushion;
  #mode = "rehandshake";
  /** The process that this session's keys are shared with. @type {string | null} */
  #process = null;
  /** The connection in use, and the one that it is about to replace. @type {Connection | null} */
  #connection = null;
  /** @type {Connection | null} */
  #old = null;
  /** @type {string | null} */
  #replaceReason = null;
  /** The outage in progress; null while all is well. @type {Outage | null} */
  #outage = null;
  /** How many there have been. */
  #outages = 0;
  #streamOpen = false;
  /** The last attempt to open the event stream was refused at once. */
  #refused = false;
  /** The server says that the publisher's media arrives. @type {boolean | null} */
  #arrives = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #abort = new AbortController();
  #wake = () => {};

  /** @param {"publisher" | "viewer"} role @param {string | URL} url @param {MediaStream | null} source @param {Options} [options] */
  constructor(role, url, source, options = {}) {
    super();
    this.#role = role;
    this.#source = source;
    this.#signalling = new Signalling(new URL(url, globalThis.document?.baseURI), options, this.#abort.signal);
    this.stream = source;
    this.#cushion = new Cushion(role === "viewer" ? checked(options.cushion) : 0);
    if (options.signal?.aborted) queueMicrotask(() => this.close());
    options.signal?.addEventListener("abort", () => this.close(), { signal: this.#abort.signal });
    const listen = { signal: this.#abort.signal };
    if (options.leaveOnPagehide !== false) globalThis.addEventListener("pagehide", () => this.close(), listen);
    for (const event of ["online", "pageshow"]) globalThis.addEventListener(event, () => this.#nudge(), listen);
    globalThis.document?.addEventListener("visibilitychange", () => this.#nudge(), listen);
    sessions += 1;
    queueMicrotask(() => this.#run());
  }

  /** Leaves: tells the server, closes the connection. */
  close() {
    if (this.state === "closed") return;
    this.#teardown();
    this.#set("closed");
  }

  #teardown() {
    if (this.#abort.signal.aborted) return;
    sessions -= 1;
    clearTimeout(this.#timer);
    const connection = this.#connection;
    const old = this.#old;
    this.#abort.abort();
    this.#wake();
    for (const each of [connection, old]) {
      if (!each) continue;
      this.#leave(each);
      each.close();
    }
  }

  // -- joining ------------------------------------------------------------------------------------------------------------

  async #run() {
    let failures = 0;
    while (!this.#done) {
      const connection = await this.#join();
      if (!connection || this.#done) return;
      this.#listen(connection);
      const reason = await connection.over;
      if (this.#done) return;
      if (reason === "replaced" && this.#role === "publisher") {
        // A new session would replace the other one in turn.
        this.#fail("channel-taken", "Another publisher has taken this channel over.", 409);
        return;
      }
      failures = connection.served ? 0 : failures + 1;
      this.#outage = null;
      this.#replaceReason = reason;
      // The last picture stays up until the new connection has one: the old connection is closed only then.
      if (!this.#old) this.#old = connection;
      else connection.pc.close();
      this.#set("reconnecting", { reason });
      await Promise.race([this.#leave(connection), pause(1000)]);
      if (failures > 0) await this.#pause(Math.min(15_000, 500 * 2 ** failures));
    }
  }

  get #done() {
    return this.state === "closed" || this.state === "failed";
  }

  /** Makes a connection and joins with it, however long that takes. */
  async #join() {
    const connection = new Connection(this.#source, () => this.#assess(connection));
    this.#connection = connection;
    this.pc ??= connection.pc;
    // Before the first frame: a buffer that grows later stops the picture for a moment.
    connection.cushion(this.#cushion.ms);
    connection.pc.addEventListener("track", ({ track, transceiver }) => {
      if (this.#role !== "viewer" || transceiver.direction === "inactive") return;
      connection.stream.addTrack(track);
      if (connection === this.#connection && !this.#old) this.#show(connection, track);
    });
    /** @type {import("./rekindle-join.js").Circumstances} */
    const circumstances = {
      isViewer: this.#role === "viewer",
      again: this.#old !== null,
      isDone: () => this.#done,
      waits: (state, reason) => {
        if (state === "waiting" || this.state !== "reconnecting") this.#set(state, { reason });
      },
      pause: (ms) => this.#pause(ms),
    };
    try {
      const joined = await join(this.#signalling, await connection.offer(), circumstances);
      if (!joined) return null;
      this.boot ??= joined.boot;
      this.#process = joined.process;
      this.#mode = joined.mode;
      this.#set(this.#old ? "reconnecting" : "connecting");
      // The connection may be up before this returns.
      await connection.accept(joined);
      return connection;
    } catch (error) {
      if (error instanceof Refusal) this.#fail(error.reason, error.message, error.status);
      else if (!this.#done) this.#fail("join", error instanceof Error ? error.message : String(error));
    }
    return null;
  }

  /** @param {Connection} connection @param {MediaStreamTrack} track */
  #show(connection, track) {
    this.stream = connection.stream;
    this.#emit("track", { track, stream: this.stream });
  }

  /** @param {Connection} connection */
  async #leave(connection) {
    if (!connection.join || connection.left) return;
    connection.left = true;
    await this.#signalling.leave(connection.join.location);
  }

  // -- the event stream: its end is the first sign that the server is gone ---------------------------------------------------

  /** @param {Connection} connection */
  #listen(connection) {
    if (!connection.join) return;
    const feed = follow(connection.join, this.#signalling, {
      heard: (event, data) => connection.ended || this.#heard(connection, event, data),
      closed: (refused) => {
        if (connection.ended) return;
        this.#streamOpen = false;
        this.#refused = refused;
      },
      lost: () => connection.ended || this.#lost(connection),
      unknown: () => connection.end("unknown-session"),
    });
    connection.feed = feed;
    connection.over.then(() => feed.stop());
  }

  /** @param {Connection} connection @param {string} event @param {Data} data */
  #heard(connection, event, data) {
    if (event === "hello") {
      this.#streamOpen = true;
      connection.serverHasKeys = data.connected === true;
      this.#mode = data.mode ?? this.#mode;
      const another = (data.process ?? null) !== this.#process;
      // Without a lost stream before it: the server died and came back while the connection was being made.
      if (another && !this.#outage) this.#begin(connection);
      if (!another && this.#outage?.applied === 0 && (!this.#outage.renewed || connection.connected)) {
        // A false alarm: only the stream was lost, and the keys are what they were.
        this.#outage = null;
        if (connection.encoders.held) this.#refresh(connection);
        if (connection.served) this.#set("connected");
        // A look at this that was on its way has ended with the alarm.
        if (this.#role === "publisher") this.#watchArrival(connection);
      }
      if (this.#outage) {
        this.#outage.greeted(data, now(), sessions);
        if (this.#outage.upAt === null && !this.#outage.keepsKeys(connection, this.#present)) this.#set("renewing");
      } else {
        this.boot = data.boot ?? null;
      }
      if (data.unheard === true) this.#setUnheard(true);
      this.#tune(connection, data.streams);
      if (typeof data.source === "boolean") this.#setLive(data.source);
    } else if (event === "connected") {
      connection.serverHasKeys = true;
    } else if (event === "handshake") {
      this.#outage?.saw(now());
    } else if (event === "source") {
      this.#tune(connection, data.streams);
      this.#setLive(data.live === true);
    } else if (event === "unheard") {
      this.#setUnheard(data.unheard === true);
    } else if (event === "gone") {
      connection.end(data.reason ?? "gone");
    }
    this.#assess(connection);
  }

  /** @param {Connection} connection @param {Stream[] | null} [streams] */
  #tune(connection, streams) {
    if (this.#role === "viewer" && streams && streams.length > 0) connection.setStreams(streams);
  }

  /** @param {boolean} unheard */
  #setUnheard(unheard) {
    if (this.unheard === unheard) return;
    this.unheard = unheard;
    this.#emit("unheard", { unheard });
  }

  /** @param {boolean} live */
  #setLive(live) {
    this.#arrives = live;
    if (this.#role !== "viewer") return;
    // After a restart the publisher is away for a moment as everybody is. It counts as gone if it has not come back by the end.
    if (this.#outage) this.#outage.live = live;
    if (this.live === live || (this.#outage && this.live !== null && !live)) return;
    this.live = live;
    this.#emit("source", { live });
  }

  // -- the outage --------------------------------------------------------------------------------------------------------------

  /** @param {Connection} connection */
  #lost(connection) {
    this.#begin(connection);
    this.#set("server-gone");
    if (connection.served && this.#mode !== "full-state") connection.prepare()?.catch(() => {});
    this.#assess(connection);
  }

  /** An outage begins, or gets worse. @param {Connection} connection */
  #begin(connection) {
    connection.serverHasKeys = false;
    this.#outages += 1;
    clearTimeout(connection.readying);
    connection.readying = undefined;
    this.#outage = new Outage(connection, now(), this.#outage);
  }

  /** @returns {import("./rekindle-outage.js").Present} */
  get #present() {
    const hidden = globalThis.document?.hidden === true;
    return { at: now(), mode: this.#mode, streamOpen: this.#streamOpen, refused: this.#refused, hidden };
  }

  /**
   * Looks at all that is known and does what is due. Called whenever something changed; timers are only deadlines.
   *
   * @param {Connection} connection
   */
  #assess(connection) {
    if (this.#done || connection.ended || connection !== this.#connection || !connection.join) return;
    const outage = this.#outage;
    clearTimeout(this.#timer);
    if (connection.iceIsDown) connection.iceDownSince ??= now();
    else [connection.iceDownSince, connection.iceDoubted] = [null, false];
    if (!outage) {
      if (connection.connected) {
        this.#serve(connection);
        connection.retune()?.catch(() => connection.end("retune-failed"));
        this.#makeReady(connection);
      } else if (connection.pc.connectionState === "failed" && !connection.served) connection.end("no-media-path");
      // ICE noticed what the event stream did not: a host that is gone closes nothing.
      else if (connection.served && connection.iceIsDown && !connection.iceDoubted) {
        connection.iceDoubted = true;
        connection.feed?.look();
      }
      return;
    }
    if (connection.renewing) return;
    const present = this.#present;
    if (outage.hasKeys(connection, present)) {
      if (outage.upAt === null) {
        outage.upAt = present.at;
        // From far away a picture that needs nothing of what was lost is there sooner than what was lost.
        if (this.#role === "publisher" && (isFar(connection) || connection.encoders.held)) this.#refresh(connection);
        this.#nudge();
        this.#settle(connection, outage);
      }
      // With the stream open, the server has to know of the keys as well: they may be those of a process that died since.
      if (!this.#streamOpen || connection.serverHasKeys) return this.#finish(connection, outage);
    } else {
      outage.upAt = null;
    }
    if (outage.isHopeless(connection, present)) return connection.end("renewal-failed");
    const due = outage.renewalAt(connection, present);
    if (due <= present.at) {
      if (outage.shouldAsk(connection, present)) connection.ask().finally(() => this.#assess(connection));
      else this.#renew(connection, outage);
      return;
    }
    const next = Math.min(due, outage.lookAgainAt(connection, present));
    if (next < Infinity) this.#timer = setTimeout(() => this.#assess(connection), Math.max(1, next - present.at));
  }

  /** @param {Connection} connection @param {Outage} outage */
  async #renew(connection, outage) {
    if (outage.isBack(this.#present)) this.#set("renewing");
    outage.renews(connection, now());
    // Where the connection was closed meanwhile, or would not take the description, the deadline finds out.
    await connection.renew().catch(() => {});
    // Keys that were there before this returned have had their key frame: encoders stopped now would stay so.
    if (this.#role === "publisher" && isFar(connection) && outage.upAt === null) connection.encoders.hold()?.catch(() => {});
    this.#assess(connection);
  }

  /** Keys are there: waits until media flows under them, and says so. @param {Connection} connection @param {Outage} outage */
  async #settle(connection, outage) {
    const wanted = () => this.#outage === outage && outage.upAt !== null && !connection.ended;
    if (this.#role === "viewer" && this.live !== false) {
      const flow = await flows(connection.pc, wanted, () => outage.live === true);
      if (wanted() && !flow && outage.live === true) return connection.end("no-media");
    }
    if (!wanted()) return;
    outage.tookMs = Math.round(now() - outage.since);
    this.#assess(connection);
  }

  /** @param {Connection} connection @param {Outage} outage */
  #finish(connection, outage) {
    if (outage.tookMs === null) return;
    this.#set("connected", { took_ms: outage.tookMs });
    // Which process it is that answered is known when the stream is back.
    if (!this.#streamOpen) return;
    this.#outage = null;
    // Where keys were kept ICE may be down still, and the server has just answered.
    connection.iceDoubted = connection.iceIsDown;
    this.#serve(connection);
    const another = this.#process !== outage.process;
    this.#process = outage.process;
    const { boot, tookMs } = outage;
    this.boot = boot;
    if (outage.live !== null) this.#setLive(outage.live);
    queueMicrotask(() => this.#assess(connection));
    if (this.#role === "publisher") this.#watchArrival(connection);
    if (!another || boot === null) return;
    this.restarts += 1;
    this.#cushion.took(tookMs);
    this.#look(connection);
    this.#emit("restart", { boot, took_ms: tookMs, renewed: outage.renewed });
  }

  /** @param {Connection} connection */
  #refresh(connection) {
    connection.encoders.refresh().catch(() => connection.encoders.held && connection.end("no-picture"));
  }

  /**
   * When all has been well for a while: clears away what the last renewal left behind, and prepares the next one.
   *
   * @param {Connection} connection
   */
  #makeReady(connection) {
    const ready = async () => {
      connection.readying = undefined;
      if (connection.ended || !connection.connected) return;
      await connection.tidy();
      // What cannot be prepared is tried again when it is needed.
      if (!this.#outage && this.#mode !== "full-state") connection.prepare()?.catch(() => {});
    };
    if (connection.prepared) return;
    connection.readying ??= setTimeout(() => ready().catch(() => connection.end("tidy-failed")), TIDY_MS);
  }

  /**
   * A publisher that is connected, and whose media does not arrive all the same, is helped only by a new connection.
   *
   * @param {Connection} connection
   */
  async #watchArrival(connection) {
    const outages = this.#outages;
    await pause(SILENT_MS);
    // After a later outage the server may not have heard of it yet, and it is looked at then.
    if (this.#outages !== outages || connection.ended || !this.#streamOpen || this.#arrives !== false || !connection.sends) return;
    connection.end("no-media");
  }

  /**
   * Learns the round trip, which is known only after some checks, and whose first values are those of a busy moment.
   *
   * @param {Connection} connection
   */
  async #watchRoundTrip(connection) {
    for (let ms = MEASURE_MS; !connection.ended && !this.#done; ms *= 2) {
      await pause(ms);
      if (this.#outage) continue;
      await connection.measure().catch(() => {});
      this.#look(connection);
    }
  }

  /** The cushion follows what was measured. @param {Connection} connection */
  #look(connection) {
    if (this.#cushion.look(connection.rtt)) connection.cushion(this.#cushion.ms);
  }

  /**
   * How long what is shown is kept back so that a restart does not show, in ms (viewers): "auto" or a number.
   *
   * @param {"auto" | number} wanted
   */
  set cushion(wanted) {
    this.#cushion = new Cushion(this.#role === "viewer" ? checked(wanted) : 0);
    const connection = this.#connection;
    this.#cushion.look(connection?.rtt ?? Infinity);
    connection?.cushion(this.#cushion.ms);
  }

  /** Its present length in ms; null where the browser has its own way. @type {number | null} */
  get cushion() {
    return this.#cushion.ms;
  }

  /** The first connect of a connection. @param {Connection} connection */
  #serve(connection) {
    if (connection.served) return;
    connection.served = true;
    this.#setUnheard(false);
    this.#watchRoundTrip(connection);
    if (this.#role === "viewer") {
      if (this.#mode !== "full-state") connection.prime()?.catch(() => {});
      watchPicture(connection.pc, {
        isOver: () => connection.ended || this.#done,
        isExcused: () => this.#outage !== null || globalThis.document?.hidden === true,
        stands: () => connection.end("no-picture"),
      });
    }
    this.#takeOver(connection);
    this.#set("connected");
  }

  /** @param {Connection} connection */
  #takeOver(connection) {
    const old = this.#old;
    if (!old) return;
    this.#old = null;
    old.pc.close();
    this.pc = connection.pc;
    this.replacements += 1;
    this.stream = this.#source ?? connection.stream;
    this.#emit("replaced", { pc: this.pc, stream: this.stream, reason: this.#replaceReason });
  }

  // -- small things -------------------------------------------------------------------------------------------------------------

  /** @param {SessionEvents["error"]["detail"]["reason"]} reason @param {string} message @param {number} [status] */
  #fail(reason, message, status) {
    this.#teardown();
    this.#set("failed", { reason });
    this.#emit("error", { reason, message, status });
  }

  /** @param {State} state @param {{ reason?: string, took_ms?: number }} [more] */
  #set(state, more = {}) {
    if (this.state === state) return;
    const previous = this.state;
    this.state = state;
    this.#emit("state", { state, previous, ...more });
  }

  /** @template {keyof SessionEvents} Name @param {Name} name @param {SessionEvents[Name]["detail"]} detail */
  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** Waits, but no longer than until something happens that makes trying again worth while. @param {number} ms */
  #pause(ms) {
    return /** @type {Promise<void>} */ (new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    }));
  }

  #nudge() {
    this.#wake();
    this.#connection?.feed?.nudge();
    if (this.#connection) this.#assess(this.#connection);
  }
}
