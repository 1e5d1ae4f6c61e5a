/**
 * rekindle: publish to, or watch, a rekindle server, and keep the same RTCPeerConnection when the server dies and comes back.
 *
 *     import { publish, watch } from "/rekindle.js";
 *     const session = watch("/whep/main", { token });
 *     session.addEventListener("track", () => { video.srcObject = session.stream; });
 *     session.addEventListener("state", (event) => console.log(event.detail.state));
 *
 * After a restart the server has the same certificate and the same ICE credentials, but no keys. A browser runs DTLS again when
 * it is given an *offer* that differs a little from the answer it joined with. The page makes that offer itself; the server
 * needs no message. See {@link reoffer} for the two ways, and {@link Session} for when it is done.
 *
 * @module
 */

/** A retry of the event stream follows the first failures after this time, later ones ever more slowly, up to the second number. */
const RETRY_MS = [15, 250];
/** An attempt to open the event stream is given up after this time, a little later with every failure, up to the second number. */
const ATTEMPT_MS = [1000, 4000];
/**
 * Renewals wait for the server's return, which the event stream tells. An answer to an earlier one that is still on its way when
 * another begins spoils that (in DTLS 1.3 it looks like the answer to it), so the fewer the better. A renewal that got no answer is
 * tried again after the first of these times, later ones after up to the second.
 */
const REAPPLY_MS = [300, 1000];
/**
 * Where the event stream may come back late (a proxy says no, nobody answers, or timers are slow because nobody looks), renewals are
 * tried without it: after this time, again at ever longer intervals, and no more after the second number. A port that refuses at
 * once is another matter: there the return will be seen.
 */
const BLIND_MS = [1000, 10_000];
/**
 * Firefox has a race when the BUNDLE owner moves: if the end of the old transport is heard before the move, the connection never
 * sends again. Measured: 1 in 4 when it moves again within 30 ms, rarely up to 90 ms, never at 500 ms, nor when it moves once.
 * So moves are kept apart: in one page by the first time, between the tabs of one browser, which share a network process, by the
 * second.
 */
const FLIP_MS = [500, 100];
/** Never renew faster than a handshake can take: at least this, and at least {@link HANDSHAKE_RTTS} round trips. */
const HANDSHAKE_MS = 40;
const HANDSHAKE_RTTS = 2.5;
/** When the server has been back this long and the connection is still without keys, a new session is made. */
const GIVE_UP_MS = 3000;
/** A server that keeps session keys ("full-state") takes them over within this time after it is back; else keys are renewed. */
const KEPT_MS = 300;
/** A publisher's media that is not heard of this long after its keys were renewed, and a viewer's picture that stands still this
 * long although packets arrive, need a new session. */
const SILENT_MS = 1500;
const STILL_MS = 4000;
/** Media that does not flow this long after the handshake is no longer waited for; if it should flow, a new session is made. */
const FLOW_MS = [2000, 4000];
/** For how long a publisher believes that the publisher in its way is its own lost request. */
const OWN_GHOST_MS = 40_000;

/**
 * The way in which this browser was seen to run DTLS again: "fingerprint", "bundle", or null while it is not known. A DTLS transport that
 * cannot report errors is Firefox's, whose way is known: there, finding it out by trial would put two descriptions close together, which
 * is what its race (see {@link FLIP_MS}) needs.
 */
let learned = globalThis.RTCDtlsTransport && !("onerror" in RTCDtlsTransport.prototype) ? "bundle" : null;

/**
 * Publishes a stream.
 * @param {string | URL} url the WHIP endpoint, for example `/whip/main`
 * @param {MediaStream} stream at most one audio and one video track of it are sent
 * @param {Options} [options]
 * @returns {Session}
 */
export function publish(url, stream, options) {
  return new Session("publisher", url, stream, options);
}

/**
 * Watches a channel.
 * @param {string | URL} url the WHEP endpoint, for example `/whep/main`
 * @param {Options} [options]
 * @returns {Session}
 */
export function watch(url, options) {
  return new Session("viewer", url, null, options);
}

/**
 * @typedef {object} Options
 * @property {string} [token] bearer token
 * @property {typeof fetch} [fetch] used in place of the global one
 * @property {AbortSignal} [signal] closes the session
 * @property {boolean} [leaveOnPagehide] tell the server when the page goes away (default true)
 */

/**
 * Makes an offer out of the server's answer, different enough that the browser runs DTLS again.
 *
 * Chromium and Safari start over when the fingerprint changes; the same certificate under another hash function is enough.
 * Firefox ignores that and starts over when another m-section becomes the owner of the BUNDLE group. (Chromium must never be
 * given that: it moves one section to a new transport and leaves the other one on the old, dead.)
 *
 * @param {string} answer the answer of the join
 * @param {{ version: number, fingerprint?: string, flip?: boolean, type?: "offer" | "answer" }} edit
 * @returns {string}
 */
export function reoffer(answer, { version, fingerprint, flip = false, type = "offer" }) {
  const setup = type === "offer" ? "actpass" : "passive";
  return answer
    .split(/\r?\n/)
    .map((line) => {
      if (line.startsWith("o=")) {
        const fields = line.split(" ");
        fields[2] = String(BigInt(fields[2]) + BigInt(version));
        return fields.join(" ");
      }
      if (line.startsWith("a=setup:")) return `a=setup:${setup}`;
      if (fingerprint && line.startsWith("a=fingerprint:")) return `a=fingerprint:${fingerprint}`;
      if (flip && line.startsWith("a=group:BUNDLE ")) {
        const [group, ...mids] = line.split(" ");
        return [group, ...mids.reverse()].join(" ");
      }
      return line;
    })
    .join("\r\n");
}

/**
 * Names the publisher's streams in the server's answer, in place of those that it named.
 *
 * @param {string} answer
 * @param {{ kind: string, ssrc: number, rtx: number | null }[]} streams
 * @returns {string}
 */
export function withStreams(answer, streams) {
  return answer
    .split(/^(?=m=)/m)
    .map((section) => {
      const own = streams.filter(({ kind }) => section.startsWith(`m=${kind} `));
      if (own.length === 0) return section;
      const others = section.split(/(?<=\n)/).filter((line) => !/^a=ssrc(-group)?:/.test(line));
      const retransmits = /^a=rtpmap:\d+ rtx\//m.test(section);
      const lines = own.flatMap(({ ssrc, rtx }) => {
        const pair = retransmits && rtx !== null ? [ssrc, rtx] : [ssrc];
        const group = pair.length > 1 ? [`a=ssrc-group:FID ${pair.join(" ")}\r\n`] : [];
        return [...group, ...pair.map((each) => `a=ssrc:${each} cname:rekindle\r\n`)];
      });
      return [...others, ...lines].join("");
    })
    .join("");
}

/** Splits a stream of server-sent events into `{ event, data }`; data is JSON. */
export class EventParser {
  #rest = "";

  /** @param {string} text @returns {{ event: string, data: any }[]} */
  push(text) {
    const blocks = (this.#rest + text).replaceAll("\r\n", "\n").split("\n\n");
    this.#rest = blocks.pop();
    const events = [];
    for (const block of blocks) {
      let event = "message";
      const data = [];
      for (const line of block.split("\n")) {
        if (line.startsWith("event:")) event = line.slice(6).trim();
        else if (line.startsWith("data:")) data.push(line.slice(5).trim());
      }
      if (data.length === 0) continue;
      try {
        events.push({ event, data: JSON.parse(data.join("\n")) });
      } catch {
        // Not ours: an event that is not JSON is left alone.
      }
    }
    return events;
  }
}

const now = () => performance.now();
const task = () =>
  new Promise((resolve) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      channel.port1.close();
      resolve();
    };
    channel.port2.postMessage(null);
  });

/** One RTCPeerConnection with what is needed to renew its keys. Knows how, not when. */
class Connection {
  pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  stream = new MediaStream();
  /** How often DTLS has come up. */
  handshakes = 0;
  /** An edit is being applied. */
  renewing = false;
  /** The server's side of the join; set by {@link accept}. */
  join = null;
  /** The server said that it has keys for us, in the boot that its event stream belongs to. */
  serverHasKeys = false;
  /** Resolves with the reason when this connection is beyond help. */
  over = new Promise((resolve) => {
    this.end = (reason) => {
      this.ended = true;
      resolve(reason);
    };
  });
  ended = false;
  /** The browser has not been told yet which streams the publisher sends now. */
  stale = false;

  /** When the BUNDLE owner was last moved. */
  flippedAt = -Infinity;

  #transports = new Set();
  #restarted = false;
  #version = 0;
  #hash = 0;
  #flip = false;

  /** @param {MediaStream | null} source @param {() => void} changed called when a state changed */
  constructor(source, changed) {
    this.changed = changed;
    // Two sections always, since a BUNDLE group of one cannot be turned round.
    for (const kind of ["audio", "video"]) {
      const track = source?.getTracks().find((candidate) => candidate.kind === kind);
      if (source) this.pc.addTransceiver(track ?? kind, { direction: "sendonly", streams: [source] });
      else this.pc.addTransceiver(kind, { direction: "recvonly" });
    }
    this.pc.addEventListener("connectionstatechange", () => changed());
    this.pc.addEventListener("iceconnectionstatechange", () => changed());
  }

  async offer() {
    await this.pc.setLocalDescription();
    return this.pc.localDescription.sdp;
  }

  async accept(join) {
    this.join = join;
    await this.pc.setRemoteDescription({ type: "answer", sdp: join.answer });
    this.#observe();
  }

  get connected() {
    return this.pc.connectionState === "connected" && this.#states().every((state) => state === "connected");
  }

  get iceIsDown() {
    return this.pc.connectionState === "failed" || ["disconnected", "failed"].includes(this.pc.iceConnectionState);
  }

  /** Another publisher sends other streams. */
  setStreams(streams) {
    const answer = withStreams(this.join.answer, streams);
    if (answer === this.join.answer) return;
    this.join.answer = answer;
    this.stale = true;
  }

  /** Tells the browser of the publisher's present streams. Keys and transports stay as they are. */
  async retune() {
    if (this.renewing || this.ended || !this.stale) return;
    this.renewing = true;
    try {
      await this.#applyOffer({ flip: this.#flip });
    } finally {
      this.renewing = false;
      this.changed();
    }
  }

  /** Whether there is a track that media should be sent of. */
  get sends() {
    return this.pc.getSenders().some(({ track }) => track?.readyState === "live");
  }

  /**
   * Done once, right after the first connect, when it disturbs nobody: finds out which way this browser goes, and lets Firefox make
   * its receivers anew, which it does at the first offer that it is given and which costs a key frame. (In Firefox a move of the
   * BUNDLE owner must not follow another description closely, so this cannot wait until it is needed.)
   */
  async prime() {
    if (this.renewing || this.ended) return;
    this.renewing = true;
    try {
      if (learned === null && this.join.fingerprints.length > 1) {
        const moved = await this.#changeFingerprint();
        learned ??= moved ? "fingerprint" : "bundle";
      } else if (learned !== "fingerprint") {
        await this.#applyOffer({ flip: this.#flip });
      }
      this.flippedAt = now();
    } finally {
      this.renewing = false;
      this.changed();
    }
  }

  /** Makes the browser run DTLS again, in the way that is seen to work in it. Resolves with whether it did. */
  async renew() {
    if (this.renewing || this.ended) return false;
    this.renewing = true;
    try {
      if (this.pc.signalingState === "have-remote-offer") await this.pc.setRemoteDescription({ type: "rollback" });
      if (this.pc.signalingState === "have-local-offer") await this.pc.setLocalDescription({ type: "rollback" });
      // DTLS that has not begun needs no help: it begins when ICE gets an answer. Nothing could be learned from it either.
      if (learned === null && this.#states().every((state) => state === "new")) return true;
      if (learned === null && this.join.fingerprints.length < 2) learned = "bundle";
      if (learned !== "bundle") {
        const moved = await this.#changeFingerprint();
        learned ??= moved ? "fingerprint" : "bundle";
        return learned === "fingerprint";
      }
      await this.#moveOwner();
      return true;
    } finally {
      this.renewing = false;
    }
  }

  /** The shortest round trip to the server that was seen, in ms: one that was measured around an outage says little. */
  rtt = Infinity;

  async measure() {
    for (const report of (await this.pc.getStats()).values()) {
      if (report.type !== "candidate-pair" || !report.nominated || !(report.currentRoundTripTime > 0)) continue;
      this.rtt = Math.min(this.rtt, report.currentRoundTripTime * 1000);
    }
  }

  /** What has arrived, video frames where there are any. */
  async received() {
    const count = { packets: 0, videoPackets: 0, frames: 0 };
    for (const report of (await this.pc.getStats()).values()) {
      if (report.type !== "inbound-rtp") continue;
      count.packets += report.packetsReceived ?? 0;
      count.frames += report.framesDecoded ?? 0;
      if (report.kind === "video") count.videoPackets += report.packetsReceived ?? 0;
    }
    return count;
  }

  close() {
    this.end("closed");
    this.pc.close();
  }

  /** @returns {Promise<boolean>} whether DTLS began anew */
  async #changeFingerprint() {
    this.#restarted = false;
    const next = this.join.fingerprints[(this.#hash + 1) % this.join.fingerprints.length];
    // Once ICE is down an offer is not enough; an ICE restart of our own is, with the server's credentials as they were.
    if (this.iceIsDown && learned === "fingerprint") {
      this.pc.restartIce();
      await this.pc.setLocalDescription();
      const sdp = reoffer(this.join.answer, { version: ++this.#version, fingerprint: next, type: "answer" });
      await this.pc.setRemoteDescription({ type: "answer", sdp });
      this.#observe();
    } else {
      await this.#applyOffer({ fingerprint: next });
    }
    this.#hash += 1;
    // The change shows while the answer is being applied, and may be over (connected again) before that returns.
    await task();
    return this.#restarted;
  }

  async #moveOwner() {
    const move = async () => {
      if (this.ended) return;
      this.#flip = !this.#flip;
      await this.#applyOffer({ flip: this.#flip });
      this.flippedAt = now();
    };
    if (!globalThis.navigator?.locks) return move();
    await new Promise((resolve, reject) => {
      navigator.locks.request("rekindle-move", () => move().then(resolve, reject).then(() => pause(FLIP_MS[1]))).catch(reject);
    });
  }

  async #applyOffer(edit) {
    const fingerprint = edit.fingerprint ?? this.join.fingerprints[this.#hash % this.join.fingerprints.length];
    this.stale = false;
    const sdp = reoffer(this.join.answer, { version: ++this.#version, fingerprint, ...edit });
    await this.pc.setRemoteDescription({ type: "offer", sdp });
    await this.pc.setLocalDescription();
    this.#observe();
  }

  #states() {
    const transports = new Set();
    for (const { sender, receiver } of this.pc.getTransceivers()) {
      if (sender.transport) transports.add(sender.transport);
      if (receiver.transport) transports.add(receiver.transport);
    }
    return [...transports].map((transport) => transport.state);
  }

  #observe() {
    for (const { sender, receiver } of this.pc.getTransceivers()) {
      for (const transport of [sender.transport, receiver.transport]) {
        if (!transport || this.#transports.has(transport)) continue;
        this.#transports.add(transport);
        const look = () => {
          if (transport.state === "new") this.#restarted = true;
          if (transport.state === "connected") this.handshakes += 1;
          if (transport.state === "closed") this.#transports.delete(transport);
          this.changed();
        };
        transport.addEventListener("statechange", look);
        if (transport.state === "connected") look();
      }
    }
  }
}

/**
 * A session with the server, for as long as the page wants it.
 *
 * Events, all with a `detail`:
 * - `state` `{ state, previous, reason?, took_ms? }`: see {@link Session#state}
 * - `restart` `{ boot, took_ms }`: the server has come back as another process and media flows again on the same connection
 * - `track` `{ track, stream }`: a track to show (viewers)
 * - `source` `{ live }`: the publisher came or went (viewers)
 * - `replaced` `{ pc, stream, reason }`: a new connection had to be made and has taken over
 * - `error` `{ reason, message, status? }`: the session cannot go on; its state is `failed`
 */
export class Session extends EventTarget {
  /** @type {RTCPeerConnection | null} */
  pc = null;
  /** What is received (viewers) or sent (publishers). @type {MediaStream | null} */
  stream = null;
  /** The number of the server process that this session last heard of. @type {number | null} */
  boot = null;
  /** How many restarts of the server were survived on one and the same connection. */
  restarts = 0;
  /** How many times a new connection had to be made. */
  replacements = 0;
  /** Whether a publisher is there (viewers); null while that is not known. @type {boolean | null} */
  live = null;
  /**
   * - `connecting`: joining for the first time
   * - `waiting`: nobody publishes on this channel yet
   * - `connected`
   * - `server-gone`: the server cannot be reached
   * - `renewing`: the server is back, and keys are being renewed
   * - `reconnecting`: the connection could not be kept, and a new one is being made
   * - `failed`, `closed`
   */
  state = "connecting";

  #role;
  #url;
  #options;
  #source;
  #fetch;
  #mode = "rehandshake";
  /** The connection in use, and the one that it is about to replace. */
  #connection = null;
  #old = null;
  #replaceReason = null;
  /** What is known of the outage in progress; null while all is well. */
  #outage = null;
  #streamOpen = false;
  /** The last attempt to open the event stream was refused at once. */
  #refused = false;
  /** The server says that the publisher's media arrives. */
  #arrives = null;
  #timer = null;
  #abort = new AbortController();
  #wake = () => {};

  constructor(role, url, source, options = {}) {
    super();
    this.#role = role;
    this.#url = new URL(url, globalThis.document?.baseURI);
    this.#options = options;
    this.#source = source;
    this.#fetch = options.fetch ?? ((...args) => globalThis.fetch(...args));
    this.stream = source;
    if (options.signal?.aborted) queueMicrotask(() => this.close());
    options.signal?.addEventListener("abort", () => this.close(), { signal: this.#abort.signal });
    const listen = { signal: this.#abort.signal };
    if (options.leaveOnPagehide !== false) globalThis.addEventListener("pagehide", () => this.close(), listen);
    for (const event of ["online", "pageshow"]) globalThis.addEventListener(event, () => this.#nudge(), listen);
    globalThis.document?.addEventListener("visibilitychange", () => this.#nudge(), listen);
    queueMicrotask(() => this.#run());
  }

  /** Leaves: tells the server, closes the connection. */
  close() {
    if (this.state === "closed") return;
    this.#teardown();
    this.#set("closed");
  }

  #teardown() {
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
    connection.pc.addEventListener("track", ({ track }) => {
      connection.stream.addTrack(track);
      if (connection === this.#connection && !this.#old) this.#show(connection, track);
    });
    let tries = 0;
    // A request that got no answer may have been heard all the same. Then the publisher in the way is ourselves.
    let lostAt = this.#old ? now() : null;
    try {
      const offer = await connection.offer();
      while (!this.#done) {
        const response = await this.#request(this.#url, { method: "POST", headers: { "Content-Type": "application/sdp" }, body: offer }, 10_000);
        if (this.#done) return null;
        tries += 1;
        if (!response) {
          lostAt = now();
          if (this.state !== "reconnecting") this.#set("server-gone", { reason: "unreachable" });
          await this.#pause(retryDelay(tries * 50));
          continue;
        }
        if (response.status === 201) {
          const answer = await response.text().catch(() => null);
          if (!answer) {
            lostAt = now();
            continue;
          }
          await connection.accept(joined(response, answer, this.#url));
          this.boot ??= connection.join.boot;
          this.#mode = connection.join.mode;
          this.#set(this.#old ? "reconnecting" : "connecting");
          return connection;
        }
        const again = this.#role === "viewer" || (lostAt !== null && now() - lostAt < OWN_GHOST_MS);
        if (response.status === 409 && again) {
          if (this.#role === "viewer") this.#set("waiting", { reason: "no-publisher" });
        } else if (response.status !== 429 && response.status < 500) {
          const problem = await response.json().catch(() => ({}));
          const message = problem.detail ?? problem.title ?? `The server answered ${response.status}.`;
          return this.#fail(response.status === 409 ? "channel-taken" : "refused", message, response.status);
        } else if (this.state !== "reconnecting") {
          this.#set("server-gone", { reason: "unavailable" });
        }
        const seconds = Number(response.headers.get("Retry-After"));
        const wait = seconds > 0 ? seconds * 1000 : 250 * tries;
        await this.#pause(Math.min(Math.max(wait, 3000), wait * (1 + tries / 10)) * (0.9 + 0.2 * Math.random()));
      }
    } catch (error) {
      if (!this.#done) this.#fail("join", String(error?.message ?? error));
    }
    return null;
  }

  #show(connection, track) {
    this.stream = connection.stream;
    this.#emit("track", { track, stream: this.stream });
  }

  /** Resolves with a response, or null if none came in time. */
  async #request(url, init = {}, timeout = 5000) {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), timeout);
    try {
      return await this.#fetch(url, this.#init(init, AbortSignal.any([controller.signal, this.#abort.signal])));
    } catch {
      return null;
    } finally {
      clearTimeout(timer);
    }
  }

  #init(init, signal) {
    const headers = { ...init.headers };
    if (this.#options.token) headers.Authorization = `Bearer ${this.#options.token}`;
    return { cache: "no-store", credentials: "same-origin", ...init, headers, signal };
  }

  async #leave(connection) {
    const location = connection.join?.location;
    if (!location || connection.left) return;
    connection.left = true;
    try {
      // keepalive: it must get out although the page may be going.
      await this.#fetch(location, this.#init({ method: "DELETE", keepalive: true }));
    } catch {
      // The server forgets a silent peer by itself.
    }
  }

  // -- the event stream: its end is the first sign that the server is gone ---------------------------------------------------

  async #listen(connection) {
    let failingSince = now();
    let tries = 0;
    while (!connection.ended) {
      const outcome = await this.#readEvents(connection, Math.min(ATTEMPT_MS[1], ATTEMPT_MS[0] + 500 * tries));
      this.#streamOpen = false;
      this.#refused = outcome === "refused";
      if (connection.ended) return;
      if (outcome === "unknown") return connection.end("unknown-session");
      if (outcome === "ended") {
        failingSince = now();
        tries = 0;
      }
      if (outcome === "ended" || tries === 0) this.#lost(connection);
      tries += 1;
      // The first retry goes out at once: the process may have been replaced already.
      if (tries > 1) await this.#pause(retryDelay(now() - failingSince));
    }
  }

  /** Reads events until the stream ends. Resolves with "ended", "unknown" (no such session), or why it did not begin: "refused", "failed". */
  async #readEvents(connection, timeout) {
    const controller = new AbortController();
    connection.dropStream = () => controller.abort();
    const signal = AbortSignal.any([controller.signal, this.#abort.signal]);
    const timer = setTimeout(() => controller.abort(), timeout);
    const start = now();
    let outcome = "refused";
    try {
      const response = await this.#fetch(connection.join.events, this.#init({ headers: { Accept: "text/event-stream" } }, signal));
      if (response.status === 404 || response.status === 410) return "unknown";
      outcome = "failed";
      if (!response.ok) return outcome;
      const parser = new EventParser();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || connection.ended) break;
        for (const { event, data } of parser.push(value)) {
          if (event === "hello") {
            outcome = "ended";
            clearTimeout(timer);
          }
          this.#heard(connection, event, data);
        }
      }
    } catch {
      // A process that is killed ends its streams with an error as often as with an end.
    } finally {
      clearTimeout(timer);
      controller.abort();
    }
    return outcome === "refused" && now() - start > ATTEMPT_MS[0] / 2 ? "failed" : outcome;
  }

  #heard(connection, event, data) {
    if (event === "hello") {
      this.#streamOpen = true;
      connection.serverHasKeys = data.connected === true;
      this.#mode = data.mode ?? this.#mode;
      const another = this.boot !== null && data.boot !== this.boot;
      // Without a lost stream before it: the server died and came back while the connection was being made.
      if (!this.#outage && (another || (connection.served && !data.connected))) this.#begin(connection);
      if (this.#outage) {
        this.#outage.backAt = now();
        this.#outage.boot = data.boot;
        if (this.#outage.upAt === null && !this.#keepsKeys(connection, this.#outage)) this.#set("renewing");
      } else {
        this.boot = data.boot;
      }
      this.#tune(connection, data.streams);
      if (typeof data.source === "boolean") this.#setLive(data.source);
    } else if (event === "connected") {
      connection.serverHasKeys = true;
    } else if (event === "source") {
      this.#tune(connection, data.streams);
      this.#setLive(data.live === true);
    } else if (event === "gone") {
      connection.end(data.reason ?? "gone");
    }
    this.#assess(connection);
  }

  #tune(connection, streams) {
    if (this.#role === "viewer" && streams?.length > 0) connection.setStreams(streams);
  }

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

  #lost(connection) {
    this.#begin(connection);
    this.#set("server-gone");
    this.#assess(connection);
  }

  /** An outage begins, or gets worse: whatever handshake there has been is of no use any more. */
  #begin(connection) {
    connection.serverHasKeys = false;
    const since = this.#outage?.since ?? now();
    const appliedAt = this.#outage?.appliedAt ?? -Infinity;
    this.#outage = { since, startedAt: now(), base: connection.handshakes, backAt: null, boot: null, live: null, upAt: null, tookMs: null, appliedAt, applied: 0 };
  }

  /** Looks at all that is known and does what is due. Called whenever something changed; timers are only deadlines. */
  #assess(connection) {
    if (this.#done || connection.ended || connection !== this.#connection || !connection.join) return;
    const outage = this.#outage;
    clearTimeout(this.#timer);
    if (!outage) {
      if (connection.pc.connectionState === "connected") {
        this.#serve(connection);
        if (connection.stale) connection.retune().catch(() => connection.end("retune-failed"));
      }
      else if (connection.pc.connectionState === "failed" && !connection.served) connection.end("no-media-path");
      // ICE noticed what the event stream did not: a host that is gone closes nothing.
      else if (connection.served && connection.iceIsDown) connection.dropStream?.();
      return;
    }
    if (connection.renewing) return;
    const at = now();
    const keepsKeys = this.#keepsKeys(connection, outage);
    const up = keepsKeys ? this.#streamOpen && connection.serverHasKeys : connection.handshakes > outage.base && connection.connected;
    if (up) {
      if (outage.upAt === null) {
        outage.upAt = at;
        this.#nudge();
        this.#settle(connection, outage);
      }
      // With the stream open, the server has to know of the keys as well: they may be those of a process that died since.
      if (!this.#streamOpen || connection.serverHasKeys) return this.#finish(connection, outage);
    } else {
      outage.upAt = null;
    }
    const back = outage.backAt !== null && this.#streamOpen;
    if (back && at - outage.backAt > GIVE_UP_MS && (up || outage.applied > 0 || keepsKeys)) return connection.end("renewal-failed");
    let due = Infinity;
    if (!keepsKeys) {
      due = this.#dueAt(connection, outage, back);
      if (up) due = Math.max(due, outage.upAt + handshakeTime(connection));
      if (due <= at) {
        this.#renew(connection, outage);
        return;
      }
    }
    if (back) due = Math.min(due, outage.backAt + GIVE_UP_MS + 1);
    if (back && keepsKeys && !connection.serverHasKeys) due = Math.min(due, outage.backAt + KEPT_MS + 1);
    if (due < Infinity) this.#timer = setTimeout(() => this.#assess(connection), Math.max(1, due - at));
  }

  /** Whether this outage may end with the keys that there are: the server keeps them, and has not shown that it lost ours. */
  #keepsKeys(connection, outage) {
    if (this.#mode !== "full-state" || outage.applied > 0) return false;
    const back = outage.backAt !== null && this.#streamOpen;
    if (back && connection.iceIsDown) return false;
    return connection.serverHasKeys || !back || now() - outage.backAt <= KEPT_MS;
  }

  /** When the next renewal is due. */
  #dueAt(connection, outage, back) {
    const apart = learned === "bundle" ? connection.flippedAt + FLIP_MS[0] : -Infinity;
    const since = outage.appliedAt + handshakeTime(connection);
    const backoff = 2 ** Math.max(0, outage.applied - 1);
    const hidden = globalThis.document?.hidden === true;
    let due = Infinity;
    if (back && outage.appliedAt < outage.backAt && !connection.serverHasKeys) due = since;
    else if (back) due = Math.max(since, outage.appliedAt + Math.min(REAPPLY_MS[1], REAPPLY_MS[0] * backoff));
    else if ((this.#refused && !hidden) || now() - outage.startedAt > BLIND_MS[1]) due = Infinity;
    else if (outage.applied > 0) due = Math.max(since, outage.appliedAt + 2 * BLIND_MS[0] * backoff);
    else due = Math.max(since, outage.startedAt + (hidden ? 0 : BLIND_MS[0]));
    return Math.max(due, apart);
  }

  async #renew(connection, outage) {
    outage.appliedAt = now();
    if (outage.backAt !== null && this.#streamOpen) this.#set("renewing");
    outage.base = connection.handshakes;
    outage.upAt = null;
    try {
      // The first time it may only have been found out which way to go.
      if (await connection.renew()) outage.applied += 1;
      else outage.appliedAt = -Infinity;
    } catch {
      // The connection was closed meanwhile, or would not take the description: the deadline finds out.
      outage.applied += 1;
    }
    this.#assess(connection);
  }

  /** Keys are there: waits until media flows under them, and says so. */
  async #settle(connection, outage) {
    const wanted = () => this.#outage === outage && outage.upAt !== null && !connection.ended;
    if (this.#role === "viewer" && this.live !== false) {
      const flow = await flows(connection, wanted, () => outage.live === true);
      if (wanted() && !flow && outage.live === true) return connection.end("no-media");
    }
    if (!wanted()) return;
    outage.tookMs = Math.round(now() - outage.since);
    this.#assess(connection);
  }

  #finish(connection, outage) {
    if (outage.tookMs === null) return;
    this.#set("connected", { took_ms: outage.tookMs });
    // Which process it is that answered is known when the stream is back.
    if (!this.#streamOpen) return;
    this.#outage = null;
    this.#serve(connection);
    const another = this.boot !== outage.boot;
    this.boot = outage.boot;
    if (outage.live !== null) this.#setLive(outage.live);
    if (connection.stale) queueMicrotask(() => this.#assess(connection));
    if (this.#role === "publisher") this.#watchArrival(connection);
    if (!another) return;
    this.restarts += 1;
    this.#emit("restart", { boot: this.boot, took_ms: outage.tookMs });
  }

  /** A publisher that is connected, and whose media does not arrive all the same, is helped only by a new connection. */
  async #watchArrival(connection) {
    await pause(SILENT_MS);
    if (this.#outage || connection.ended || !this.#streamOpen || this.#arrives !== false || !connection.sends) return;
    connection.end("no-media");
  }

  /** A viewer that receives packets and decodes nothing, while somebody looks: its requests for key frames are not heard. */
  async #watchPicture(connection) {
    let before = null;
    let stillSince = now();
    while (!connection.ended && !this.#done) {
      await pause(STILL_MS / 4);
      const after = await connection.received().catch(() => null);
      const stuck = before && after && after.frames === before.frames && after.videoPackets > before.videoPackets;
      if (!stuck || this.#outage || globalThis.document?.hidden) stillSince = now();
      if (now() - stillSince > STILL_MS) connection.end("no-picture");
      before = after;
    }
  }

  /** The first connect of a connection. */
  #serve(connection) {
    connection.measure().catch(() => {});
    if (connection.served) return;
    connection.served = true;
    if (this.#role === "viewer") {
      if (this.#mode !== "full-state") connection.prime().catch(() => {});
      this.#watchPicture(connection);
    }
    this.#takeOver(connection);
    this.#set("connected");
  }

  #takeOver(connection) {
    const old = this.#old;
    if (!old) return;
    this.#old = null;
    old.pc.close();
    this.pc = connection.pc;
    this.replacements += 1;
    if (this.#role === "viewer") this.stream = connection.stream;
    this.#emit("replaced", { pc: this.pc, stream: this.stream, reason: this.#replaceReason });
  }

  // -- small things -------------------------------------------------------------------------------------------------------------

  #fail(reason, message, status) {
    this.#teardown();
    this.#set("failed", { reason });
    this.#emit("error", { reason, message, status });
    return null;
  }

  #set(state, more = {}) {
    if (this.state === state) return;
    const previous = this.state;
    this.state = state;
    this.#emit("state", { state, previous, ...more });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** Waits, but no longer than until something happens that makes trying again worth while. */
  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #nudge() {
    this.#wake();
    if (this.#connection) this.#assess(this.#connection);
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** How long a handshake may take. */
function handshakeTime(connection) {
  return Math.max(HANDSHAKE_MS, Number.isFinite(connection.rtt) ? HANDSHAKE_RTTS * connection.rtt : 0);
}

/** The longer it has been failing, the longer the wait: about a sixteenth of it, with some jitter against herds. */
function retryDelay(failingMs) {
  return Math.min(RETRY_MS[1], Math.max(RETRY_MS[0], failingMs / 16)) * (0.8 + 0.4 * Math.random());
}

/** Waits until video frames (or, without video, packets) arrive on a connection, longer if they `should`; whether they did. */
async function flows(connection, wanted, should) {
  const before = await connection.received().catch(() => null);
  const start = now();
  while (before && wanted() && now() < start + FLOW_MS[should() ? 1 : 0]) {
    const after = await connection.received().catch(() => before);
    if (before.frames > 0 ? after.frames > before.frames : after.packets > before.packets) return true;
    await pause(15);
  }
  return false;
}

/** What the 201 says. */
function joined(response, answer, url) {
  const base = response.url || url;
  const location = new URL(response.headers.get("Location"), base);
  const link = /<([^>]*)>\s*;[^,]*server-sent-events/.exec(response.headers.get("Link") ?? "");
  const first = /^a=fingerprint:(.*)$/m.exec(answer)?.[1].trim();
  const second = response.headers.get("Rekindle-Fingerprint")?.trim();
  const boot = response.headers.get("Rekindle-Boot");
  return {
    answer,
    location,
    events: link ? new URL(link[1], base) : new URL(`${location.pathname}/events`, location),
    fingerprints: [first, second].filter(Boolean),
    boot: boot === null ? null : Number(boot),
    mode: response.headers.get("Rekindle-Mode") ?? "rehandshake",
  };
}
