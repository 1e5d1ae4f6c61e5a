/**
 * A session with the server, as a page has it: one connection after the other, each kept for as long as it can be.
 *
 * @module
 */

import { Connection, load } from "./rekindle-connection.js";
import { Cushion, checked } from "./rekindle-cushion.js";
import { join } from "./rekindle-join.js";
import { keep } from "./rekindle-keeper.js";
import { Signalling } from "./rekindle-signalling.js";
import { pause } from "./rekindle-time.js";

/** @import { Refusal } from "./rekindle-join.js" */
/** @import { Keeper } from "./rekindle-keeper.js" */
/** @import { Options, SessionEvents, State } from "./rekindle.js" */

/** How many this page has. */
let sessions = 0;

/**
 * The session, as far as those who keep its connections need it.
 *
 * @typedef {object} Owner
 * @property {boolean} isViewer
 * @property {Signalling} signalling
 * @property {() => number} among how many sessions the page has
 * @property {() => boolean | null} live whether a publisher is there
 * @property {(state: State, more?: { took_ms?: number }) => void} set
 * @property {(name: "live" | "unheard" | "keys", value: any, event?: keyof SessionEvents, detail?: any) => void} learn something that the session tells of, by
 *   an event of this name where it is news
 * @property {(boot: number | null) => void} setBoot
 * @property {() => void} serves the connection is up for the first time
 * @property {() => void} measured
 * @property {(how: SessionEvents["restart"]["detail"]) => void} restarted
 * @property {() => void} wake something has happened that makes trying again worth while
 */

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
 * - `keys` `{ dtls, group, srtp, post_quantum }`: how the keys in use were agreed on, when that is told for the first time or anew
 * - `error` `{ reason, message, status? }`: the session cannot go on; its state is `failed`
 */
export class Session extends EventTarget {
  /** @type {RTCPeerConnection | null} */
  pc = null;
  /** What is received (viewers) or sent (publishers). @type {MediaStream | null} */
  stream = null;
  /** The number of the server's boot that this session last heard of. @type {number | null} */
  boot = null;
  /** How many restarts of the server were survived on one and the same connection. */
  restarts = 0;
  /** How many times a new connection had to be made. */
  replacements = 0;
  /** Whether a publisher is there (viewers); null while that is not known. @type {boolean | null} */
  live = null;
  /** Whether nothing from this browser reaches the server's media port, as far as is known. */
  unheard = false;
  /** How the keys in use were agreed on, as the server tells it. @type {import("./rekindle-signalling.js").Keys | null} */
  keys = null;
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

  #isViewer;
  #source;
  #signalling;
  #rtc;
  #cushion;
  /** The connection in use, and the one that it is about to replace. @type {Connection | null} */
  #connection = null;
  /** @type {Connection | null} */
  #old = null;
  /** Keeps the one in use; null until it has joined. @type {Keeper | null} */
  #keeper = null;
  /** @type {string | null} */
  #replaceReason = null;
  #abort = new AbortController();
  #wake = () => {};

  /** @param {string | URL} url @param {MediaStream | null} source what is sent; null for viewers @param {Options} [options] */
  constructor(url, source, options = {}) {
    super();
    this.#isViewer = source === null;
    this.#source = source;
    this.#signalling = new Signalling(new URL(url, globalThis.document?.baseURI), options, this.#abort.signal);
    this.#rtc = { ...options.rtc, iceServers: options.iceServers ?? [] };
    this.stream = source;
    this.#cushion = new Cushion(this.#isViewer ? checked(options.cushion) : 0);
    const { signal } = options;
    if (signal?.aborted) queueMicrotask(() => this.close());
    /** @param {EventTarget | undefined} target @param {string} event @param {() => void} listener */
    const on = (target, event, listener) => target?.addEventListener?.(event, listener, { signal: this.#abort.signal });
    on(signal, "abort", () => this.close());
    if (options.leaveOnPagehide !== false) on(globalThis, "pagehide", () => this.#close("pagehide"));
    for (const event of ["online", "pageshow"]) on(globalThis, event, () => this.#nudge());
    on(globalThis.document, "visibilitychange", () => this.#nudge());
    const doubt = () => this.#keeper?.doubt();
    on(globalThis, "online", doubt);
    // Not in all browsers, and not only where the network is another one.
    on(/** @type {any} */ (globalThis.navigator)?.connection, "change", doubt);
    sessions += 1;
    queueMicrotask(() => this.#run());
  }

  /** Leaves: tells the server, closes the connection. */
  close() {
    this.#close();
  }

  /** @param {string} [reason] */
  #close(reason) {
    if (this.state === "closed") return;
    this.#teardown();
    this.#set("closed", { reason });
  }

  /**
   * Sends this track in place of the one of its kind, now and on later connections (publishers). Viewers keep theirs.
   *
   * @param {MediaStreamTrack} track
   */
  async replaceTrack(track) {
    const source = this.#source;
    if (!source) throw new TypeError("replaceTrack: a viewer sends nothing");
    for (const old of source.getTracks()) if (old.kind === track.kind) source.removeTrack(old);
    source.addTrack(track);
    await Promise.all([this.#connection, this.#old].map((each) => each?.exchange(track)));
  }

  #teardown() {
    if (this.#abort.signal.aborted) return;
    sessions -= 1;
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
      if (!connection?.join || this.#done) return;
      this.#keeper?.follow();
      const reason = await connection.over;
      if (this.#done) return;
      if (reason === "replaced" && !this.#isViewer) {
        // A new session would replace the other one in turn.
        this.#fail("channel-taken", "Another publisher has taken this channel over.", 409);
        return;
      }
      if (reason === "not-post-quantum") {
        // Another session would end in the same way.
        const text = "This server takes only browsers with a post-quantum key exchange (X25519MLKEM768), and this one offers none. Try a current browser.";
        this.#fail("refused", text, 403);
        return;
      }
      failures = connection.served ? 0 : failures + 1;
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
    /** @type {Keeper | null} */
    let keeper = null;
    try {
      await load();
      if (this.#done) return null;
      const connection = new Connection(this.#source, () => keeper?.assess(), this.#rtc);
      this.#connection = connection;
      this.#keeper = null;
      this.pc ??= connection.pc;
      // Before the first frame: a buffer that grows later stops the picture for a moment.
      connection.cushion(this.#cushion.ms);
      connection.pc.addEventListener("track", ({ track, transceiver }) => {
        if (!this.#isViewer || transceiver.direction === "inactive") return;
        connection.stream.addTrack(track);
        if (connection === this.#connection && !this.#old) this.#show(connection, track);
      });
      /** @type {import("./rekindle-join.js").Circumstances} */
      const circumstances = {
        isViewer: this.#isViewer,
        again: this.#old !== null,
        isDone: () => this.#done,
        waits: (state, reason) => {
          if (state === "waiting" || this.state !== "reconnecting") this.#set(state, { reason });
        },
        pause: (ms) => this.#pause(ms),
      };
      const joined = await join(this.#signalling, await connection.offer(), circumstances);
      if (!joined) return null;
      this.boot ??= joined.boot;
      this.#set(this.#old ? "reconnecting" : "connecting");
      keeper = keep(connection, joined, this.#owner(connection));
      this.#keeper = keeper;
      // The connection may be up before this returns.
      await connection.accept(joined);
      return connection;
    } catch (error) {
      const { reason = "join", message = `${error}`, status } = /** @type {Partial<Refusal>} */ (error);
      if (!this.#done) this.#fail(reason, message, status);
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

  /**
   * How long what is shown is kept back so that a restart does not show, in ms (viewers): "auto" or a number.
   *
   * @param {"auto" | number} wanted
   */
  set cushion(wanted) {
    this.#cushion = new Cushion(this.#isViewer ? checked(wanted) : 0);
    const connection = this.#connection;
    this.#cushion.look(connection?.rtt ?? Infinity);
    connection?.cushion(this.#cushion.ms);
  }

  /** Its present length in ms; null where the browser has its own way. @type {number | null} */
  get cushion() {
    return this.#cushion.ms;
  }

  // -- what keepers tell --------------------------------------------------------------------------------------------------------

  /** @param {Connection} connection @returns {Owner} */
  #owner(connection) {
    return {
      isViewer: this.#isViewer,
      signalling: this.#signalling,
      among: () => sessions,
      live: () => this.live,
      set: (state, more) => this.#set(state, more),
      learn: (name, value, event = /** @type {keyof SessionEvents} */ (name), detail = { [name]: value }) => {
        if (JSON.stringify(this[name]) === JSON.stringify(value)) return;
        Object.assign(this, { [name]: value });
        this.#emit(event, detail);
      },
      setBoot: (boot) => (this.boot = boot),
      serves: () => this.#takeOver(connection),
      measured: () => this.#look(connection),
      restarted: (how) => {
        this.restarts += 1;
        this.#cushion.took(how.took_ms, connection.rtt);
        this.#look(connection);
        this.#emit("restart", how);
      },
      wake: () => this.#wake(),
    };
  }

  /** The cushion follows what was measured. @param {Connection} connection */
  #look(connection) {
    if (this.#cushion.look(connection.rtt)) connection.cushion(this.#cushion.ms);
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
    this.#keeper?.nudge();
  }
}
