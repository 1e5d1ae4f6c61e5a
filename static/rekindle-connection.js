/**
 * One RTCPeerConnection with what is needed to renew its keys. It implements how, others decide when.
 *
 * @module
 */

import { bundled, reoffer, signed, withCandidates, withParking, withSoundAgain, withStreams, without } from "./rekindle-description.js";
import { Encoders } from "./rekindle-encoders.js";
import { lastSent, roundTrip } from "./rekindle-statistics.js";
import { Transports } from "./rekindle-transports.js";
import { gathered, task } from "./rekindle-watch.js";

/**
 * The way in which this browser runs DTLS again: "fingerprint" or "bundle" (see rekindle-description.js). It has to be known before the
 * join, since the second one takes sections of its own: a DTLS transport that cannot report errors is Firefox's. The first one is
 * watched when it is first used, and where it does not work, the other one it is.
 *
 * @type {"fingerprint" | "bundle"}
 */
let way = globalThis.RTCDtlsTransport && !("onerror" in RTCDtlsTransport.prototype) ? "bundle" : "fingerprint";
let confirmed = false;

/** What a browser says that does not let its descriptions be changed. */
const UNCHANGEABLE = ["InvalidModificationError", "InvalidAccessError", "OperationError"];

/** Addresses that are gathered again may take this long to be of use, in ms, before that is done once more. */
const GATHER_MS = 2000;

export class Connection {
  pc;
  stream = new MediaStream();
  /** An edit is being applied. */
  renewing = false;
  /** The server's side of the join; set by {@link accept}. @type {import("./rekindle-signalling.js").Join | null} */
  join = null;
  /** The server said that it has keys for us, in the process that its event stream belongs to. */
  serverHasKeys = false;
  /** The server has been told that it is left. */
  left = false;
  /** It has been connected. */
  served = false;
  /** Since when ICE is down; null while it is not. @type {number | null} */
  iceDownSince = null;
  /** Reports that this connection cannot be recovered, and why. @type {(reason: string) => void} */
  end = () => {};
  /** Resolves with the reason when it is. @type {Promise<string>} */
  over = new Promise((resolve) => {
    this.end = (reason) => {
      this.ended = true;
      resolve(reason);
    };
  });
  ended = false;
  /** The shortest round trip to the server that was seen, in ms: one that was measured around an outage says little. */
  rtt = Infinity;
  /** Whether the answer to a ClientHello may reach the attempt after it. Firefox begins each one from another port. */
  mixes = way === "fingerprint";
  /**
   * When the browser last sent something, as of when it was asked; null where it never says so, or where nobody needs to know.
   *
   * @type {import("./rekindle-statistics.js").Sent | null}
   */
  sent = this.mixes ? { at: null, asOf: -Infinity } : null;

  /** Firefox: the sections that take turns as the owner of the BUNDLE group, and which of them is it. @type {RTCRtpTransceiver[]} */
  #parking = [];
  #owner = 0;
  /** Firefox: the one that is not the owner still holds the transport from before the last renewal. */
  #held = false;
  /** Settles when {@link ask} is done; null while it is not under way. @type {Promise<void> | null} */
  #asking = null;
  /** Firefox: that transport was still in a handshake when it was left. */
  #unfinished = false;
  /** The transceivers that carry media. @type {RTCRtpTransceiver[]} */
  #media = [];
  #changed;
  #transports;
  #version = 0;
  #hash = 0;
  /** The browser has been given the offer of the next renewal, and waits for its own answer: see {@link prepare}. */
  #prepared = false;
  /** That answer. @type {RTCSessionDescriptionInit | null} */
  #answer = null;
  /**
   * The server's answer as it was last given to the browser, edited, and as the browser goes by it: it names the publisher's streams.
   *
   * @type {string | null}
   */
  #given = null;
  /** @type {string | null} */
  #told = null;
  /** Where the server receives media, as it last said. @type {string | null} */
  media = null;
  /** How much its place is preferred: servers that were left while they went on answer the browser's checks still. */
  rank = 0;
  /** The server is at another place since the browser was last told. */
  #moved = false;
  /** The browser's own network may be another one: its addresses have to be gathered again. */
  adrift = false;
  /** When they last were. */
  #gatheredAt = -Infinity;

  /**
   * @param {MediaStream | null} source
   * @param {() => void} changed called when a state changed
   * @param {RTCConfiguration} [rtc] what the page wishes
   */
  constructor(source, changed, rtc) {
    // Without one transport for all there is no owner to move.
    this.pc = new RTCPeerConnection({ ...rtc, bundlePolicy: "max-bundle" });
    this.#changed = changed;
    const park = () => {
      if (way === "bundle") this.#parking.push(this.pc.addTransceiver("audio", { direction: "inactive" }));
    };
    // The first section owns the BUNDLE group from the start.
    park();
    for (const kind of ["audio", "video"]) {
      const track = source?.getTracks().find((candidate) => candidate.kind === kind);
      /** @type {RTCRtpTransceiverInit} */
      const init = source ? { direction: "sendonly", streams: [source] } : { direction: "recvonly" };
      this.#media.push(this.pc.addTransceiver(track ?? kind, init));
    }
    park();
    this.#transports = new Transports(this.pc, this.#media, changed, () => this.ended);
    this.encoders = new Encoders(this.#media, () => way === "bundle");
  }

  /** The offer for the server. */
  async offer() {
    await this.#setOwn(await this.pc.createOffer());
    const sdp = this.#own;
    return signed(this.#parking.length > 0 ? without(sdp, this.#parkingMids) : sdp);
  }

  /** @param {import("./rekindle-signalling.js").Join} join */
  async accept(join) {
    this.join = join;
    if (this.#parking.length > 0) join.answer = withParking(join.answer, this.#own, this.#parkingMids);
    this.#told = join.answer;
    await this.pc.setRemoteDescription({ type: "answer", sdp: join.answer });
    this.#transports.observe();
  }

  /** How often DTLS has come up. */
  get handshakes() {
    return this.#transports.handshakes;
  }

  get connected() {
    return this.#transports.connected;
  }

  /** A handshake has failed: nothing more comes of it. */
  get broken() {
    return this.#transports.broken;
  }

  get iceIsDown() {
    return this.#transports.iceIsDown;
  }

  /** Its transport has no address to send from. */
  get isStranded() {
    return this.served && this.pc.iceConnectionState === "new";
  }

  /** ICE has given up. Before, when a check went unanswered, media goes on in both directions. */
  get iceHasFailed() {
    return this.#transports.iceHasFailed;
  }

  /** Whether there is a track that media should be sent of. */
  get sends() {
    return this.pc.getSenders().some(({ track }) => track?.readyState === "live");
  }

  /** Sends this track in place of the one of its kind. @param {MediaStreamTrack} track */
  async exchange(track) {
    const media = this.#media.find(({ receiver }) => receiver.track.kind === track.kind);
    if (!this.ended) await media?.sender.replaceTrack(track);
  }

  /** Another publisher sends other streams. @param {import("./rekindle-signalling.js").Stream[]} streams */
  setStreams(streams) {
    this.#joined.answer = withStreams(this.#joined.answer, streams);
  }

  /**
   * The server says where it receives media. Whether that is another place than before. What it says first is what the answer says, which
   * something on the way may have changed.
   *
   * @param {string[]} media
   */
  move(media) {
    const before = this.media;
    this.media = `${media}`;
    if (before === null || before === this.media) return false;
    const join = this.#joined;
    const answer = withCandidates(join.answer, media, this.rank);
    // The browser is told when keys are renewed, and not before.
    if (this.#told === join.answer) this.#told = answer;
    join.answer = answer;
    this.#moved = true;
    return true;
  }

  /** Tells the browser of the publisher's present streams. Keys and transports stay as they are. */
  retune() {
    if (this.#told === this.#joined.answer) return undefined;
    return this.#alone(async () => {
      await this.#takeBack();
      await this.#applyOffer();
    });
  }

  /**
   * Done once, right after the first connect, when it disturbs nobody: browsers make receivers anew at the first offer that they are given,
   * which costs Firefox a key frame and Chromium some hundred ms of sound.
   */
  prime() {
    return this.#alone(() => this.#applyOffer());
  }

  /** The first half of the next renewal is done. */
  get prepared() {
    return this.#prepared;
  }

  /**
   * Does the first half of a renewal, which changes nothing yet: DTLS begins when the browser's answer is applied. Done while all is
   * well, it saves more than half of what a renewal takes in the moment that counts, when everybody renews.
   */
  prepare() {
    return this.iceIsDown || this.#prepared ? undefined : this.#alone(() => this.#give());
  }

  /** Makes the browser run DTLS again. */
  renew() {
    return this.#alone(async () => {
      // Once ICE is down, or the server or this browser elsewhere, or its connection closed, an offer is not enough where the fingerprint is changed.
      const adrift = this.adrift && performance.now() - this.#gatheredAt > GATHER_MS;
      const restart = way === "fingerprint" && (this.iceIsDown || this.#moved || adrift || this.#transports.usesTcp);
      // What was prepared leads to where the server was.
      if (restart || adrift || !this.#prepared || this.#moved) await this.#takeBack();
      // DTLS that has not begun begins when ICE gets an answer.
      const transports = this.#transports.live;
      const begun = transports.length === 0 || transports.some(({ state }) => state !== "new");
      if (way === "fingerprint" && !begun && !this.#moved && !adrift) return;
      if (adrift) await this.#gather();
      if (restart) return this.#restartIce();
      if (!this.#prepared) await this.#give();
      await this.#take();
    });
  }

  /** Firefox: lets the transport from before the last renewal go, which no media uses any more. */
  tidy() {
    return this.#held && !this.#prepared ? this.#alone(() => this.#letGo()) : undefined;
  }

  /** Learns the round trip. */
  async measure() {
    this.rtt = Math.min(this.rtt, await roundTrip(this.pc));
  }

  /** Asks the browser when it last sent something. */
  ask() {
    const ask = async () => {
      this.sent = await lastSent(this.pc);
    };
    return (this.#asking ??= ask().finally(() => (this.#asking = null)));
  }

  close() {
    this.end("closed");
    this.pc.close();
  }

  /** One description at a time. @param {() => Promise<void>} work */
  async #alone(work) {
    if (this.renewing || this.ended) return;
    this.renewing = true;
    const done = work();
    try {
      await done;
    } finally {
      this.renewing = false;
      this.#changed();
    }
  }

  /** Gives the browser the offer that makes it run DTLS again. */
  async #give() {
    if (way === "fingerprint") {
      this.#hash += 1;
    } else {
      if (this.#held) await this.#letGo();
      this.#unfinished = this.#transports.live.some(({ state }) => state !== "connected");
      this.#owner = 1 - this.#owner;
      this.#held = true;
    }
    this.#prepared = true;
    try {
      await this.#setOffer();
      this.#answer = await this.pc.createAnswer();
    } catch (error) {
      await this.#takeBack();
      throw error;
    }
  }

  /** Has the browser answer it: DTLS begins. */
  async #take() {
    this.#prepared = false;
    this.#transports.restarted = false;
    await this.#agree(this.#answer);
    // An attempt that had not come to its end must not do so now: the server would go by its keys, and send where no media is.
    if (way === "bundle" && this.#unfinished) await this.#letGo();
    if (way !== "fingerprint" || confirmed) return;
    // The change shows while the answer is being applied, and may be over (connected again) before that returns.
    await task();
    confirmed = this.#transports.restarted || this.#transports.live.length === 0;
    if (confirmed) return;
    way = "bundle";
    this.end("other-way");
  }

  /** Takes back what was given, and whatever else is half done. */
  async #takeBack() {
    if (this.pc.signalingState === "have-remote-offer") await this.pc.setRemoteDescription({ type: "rollback" });
    if (this.pc.signalingState === "have-local-offer") await this.pc.setLocalDescription({ type: "rollback" });
    if (!this.#prepared) return;
    this.#prepared = false;
    if (way === "fingerprint") {
      this.#hash -= 1;
    } else {
      this.#owner = 1 - this.#owner;
      this.#held = false;
    }
  }

  /**
   * An ICE restart of our own, with the server's credentials as they were. Where the server is elsewhere, new pairs take over as soon as they
   * work: of two with one priority Chromium prefers the later generation. (A higher priority does it without a restart, but not on the way
   * back: Chromium keeps a pair and its priority for 30 s, and the one in use until that has received nothing for 2.5 s.)
   */
  async #restartIce() {
    this.#hash += 1;
    this.#moved = false;
    this.pc.restartIce();
    await this.#setOwn(await this.pc.createOffer());
    const sdp = reoffer(this.#joined.answer, { version: ++this.#version, fingerprint: this.#fingerprint, type: "answer" });
    await this.pc.setRemoteDescription({ type: "answer", sdp });
    this.#transports.observe();
  }

  /**
   * The browser's own addresses are others. Chromium learns them in an ICE restart, as soon as it knows of them itself, which takes it 2 s and more. Firefox uses
   * the same ones for all transports of a connection, and asks for them anew when it makes an offer that restarts ICE: that one is taken back again.
   */
  async #gather() {
    this.#gatheredAt = performance.now();
    if (way === "fingerprint") return;
    await this.pc.setLocalDescription(await this.pc.createOffer({ iceRestart: true }));
    await gathered(this.pc);
    await this.pc.setLocalDescription({ type: "rollback" });
  }

  async #letGo() {
    this.#held = false;
    await this.#applyOffer();
  }

  /** The join, in what is done after it only. */
  get #joined() {
    if (!this.join) throw new Error("not joined");
    return this.join;
  }

  /** The browser's own description, in what is done with one only. */
  get #own() {
    return this.pc.localDescription?.sdp ?? "";
  }

  /** They have mids as soon as there is an offer. */
  get #parkingMids() {
    return this.#parking.map(({ mid }) => mid ?? "");
  }

  /** Firefox: the BUNDLE group as it is now. The section that holds the old transport is not in it. */
  get #bundle() {
    if (this.#parking.length === 0) return undefined;
    const mids = this.#parkingMids;
    const [owner = "", other = ""] = [mids[this.#owner], mids[1 - this.#owner]];
    const media = bundled(this.#joined.answer).filter((mid) => !mids.includes(mid));
    return this.#held ? [owner, ...media] : [owner, ...media, other];
  }

  get #fingerprint() {
    const { fingerprints } = this.#joined;
    return fingerprints[this.#hash % fingerprints.length];
  }

  async #applyOffer() {
    await this.#setOffer();
    await this.#agree();
  }

  /** Has the browser answer the offer that it was given. @param {RTCSessionDescriptionInit | null} [answer] that it has made already */
  async #agree(answer) {
    await this.#setOwn(answer ?? (await this.pc.createAnswer()));
    this.#told = this.#given;
    this.#transports.observe();
  }

  /**
   * Takes the browser's own description, with what it can do and does not say. Firefox cannot, and leaves the line out again.
   *
   * @param {RTCSessionDescriptionInit} description
   */
  async #setOwn({ type, sdp = "" }) {
    if (way === "fingerprint") {
      try {
        return await this.pc.setLocalDescription({ type, sdp: withSoundAgain(sdp) });
      } catch (error) {
        // A state that no description fits fails again below.
        if (!UNCHANGEABLE.includes(/** @type {Error} */ (error).name)) throw error;
      }
    }
    return this.pc.setLocalDescription({ type, sdp });
  }

  /** How long the browser keeps media back, in ms; null for its own way. @param {number | null} ms */
  cushion(ms) {
    for (const { receiver } of this.#media) if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = ms;
  }

  async #setOffer() {
    const { answer } = this.#joined;
    this.#given = answer;
    this.#moved = false;
    const sdp = reoffer(answer, { version: ++this.#version, fingerprint: this.#fingerprint, bundle: this.#bundle });
    await this.pc.setRemoteDescription({ type: "offer", sdp });
  }
}
