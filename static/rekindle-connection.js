/**
 * One RTCPeerConnection with what is needed to renew its keys. It implements how, others decide when.
 *
 * @module
 */

import { reoffer, signed, withCandidates, withSoundAgain, withStreams } from "./rekindle-description.js";
import { Encoders } from "./rekindle-encoders.js";
import { lastSent, roundTrip } from "./rekindle-statistics.js";
import { now } from "./rekindle-time.js";
import { Transports } from "./rekindle-transports.js";

/**
 * The way in which this browser runs DTLS again (see rekindle-description.js): by parking, or by another fingerprint. It has to be known before
 * the join, since the first one takes sections of its own: a DTLS transport that cannot report errors is Firefox's. The second one is watched
 * when it is first used, and where it does not work, the first one it is.
 */
let parks = !!globalThis.RTCDtlsTransport && !("onerror" in RTCDtlsTransport.prototype);
let confirmed = false;
/** The first one, once it is loaded. @type {typeof import("./rekindle-parking.js") | null} */
let firefox = null;

/** Loads what this browser's way takes, before a connection is made. Firefox does not ask a second time for what it could not load. */
export async function load() {
  try {
    if (parks) firefox = await import("./rekindle-parking.js");
  } catch {
    throw new Error("rekindle-parking.js, which has to lie beside rekindle.js, could not be loaded. Load the page again.");
  }
}
// With the module itself: the server may be gone later. Whoever makes a connection hears of it if it failed.
load().catch(() => {});

/** Addresses that are gathered again may take this long to be of use, in ms, before that is done once more. */
const GATHER_MS = 2000;

export class Connection extends Transports {
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
  /** The shortest round trip to the server that was seen, in ms: one that was measured around an outage says little. */
  rtt = Infinity;
  /** Whether the answer to a ClientHello may reach the attempt after it. Firefox begins each one from another port. */
  mixes;
  /**
   * When the browser last sent something, as of when it was asked; null where it never says so, or where nobody needs to know.
   *
   * @type {import("./rekindle-statistics.js").Sent | null}
   */
  sent = null;
  /** The browser has been given the offer of the next renewal, and waits for its own answer: see {@link prepare}. */
  prepared = false;
  /** Where the server receives media, as it last said. @type {string | null} */
  media = null;
  /** How much its place is preferred: servers that were left while they went on answer the browser's checks still. */
  rank = 0;
  /** The browser's own network may be another one: its addresses have to be gathered again. */
  adrift = false;

  encoders = new Encoders(this.pc);

  #parking;
  /** Settles when {@link ask} is done; null while it is not under way. @type {Promise<void> | null} */
  #asking = null;
  #version = 0;
  #hash = 0;
  /** Firefox: the transport from before the last renewal was still in a handshake when it was left. */
  #unfinished = false;
  /** The browser's own answer. @type {RTCSessionDescriptionInit | null} */
  #answer = null;
  /**
   * The server's answer as it was last given to the browser, and as the browser goes by it: it names the publisher's streams.
   *
   * @type {string | null}
   */
  #given = null;
  /** @type {string | null} */
  #told = null;
  /** The server is at another place since the browser was last told. */
  #moved = false;
  /** When the browser's addresses were last gathered again. */
  #gatheredAt = -Infinity;

  /**
   * @param {MediaStream | null} source
   * @param {() => void} changed called when a state changed
   * @param {RTCConfiguration} [rtc] what the page wishes
   */
  constructor(source, changed, rtc) {
    // Without one transport for all there is no owner to move.
    super(new RTCPeerConnection({ ...rtc, bundlePolicy: "max-bundle" }), changed);
    this.#parking = firefox && new firefox.Parking(this.pc);
    this.mixes = !this.#parking;
    if (this.mixes) this.sent = { at: null, asOf: -Infinity };
    this.#parking?.park();
    for (const kind of ["audio", "video"]) {
      const track = source?.getTracks().find((candidate) => candidate.kind === kind);
      /** @type {RTCRtpTransceiverInit} */
      const init = source ? { direction: "sendonly", streams: [source] } : { direction: "recvonly" };
      this.transceivers.push(this.pc.addTransceiver(track ?? kind, init));
    }
    this.#parking?.park();
    firefox?.stopping(this.encoders);
  }

  /** The offer for the server. */
  async offer() {
    await this.#setOwn(await this.pc.createOffer());
    return signed(this.#parking?.shown(this.#own) ?? this.#own);
  }

  /** @param {import("./rekindle-signalling.js").Join} join */
  async accept(join) {
    this.join = join;
    join.answer = this.#parking?.completed(join.answer, this.#own) ?? join.answer;
    this.#told = join.answer;
    await this.pc.setRemoteDescription({ type: "answer", sdp: join.answer });
    this.observe();
  }

  /** Its transport has no address to send from. */
  get isStranded() {
    return this.served && this.pc.iceConnectionState === "new";
  }

  /** Whether there is a track that media should be sent of. */
  get sends() {
    return this.pc.getSenders().some(({ track }) => track?.readyState === "live");
  }

  /** Sends this track in place of the one of its kind. @param {MediaStreamTrack} track */
  async exchange(track) {
    const media = this.transceivers.find(({ receiver }) => receiver.track.kind === track.kind);
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

  /**
   * Does the first half of a renewal, which changes nothing yet: DTLS begins when the browser's answer is applied. Done while all is
   * well, it saves more than half of what a renewal takes in the moment that counts, when everybody renews.
   */
  prepare() {
    return this.iceIsDown || this.prepared ? undefined : this.#alone(() => this.#give());
  }

  /** Makes the browser run DTLS again. */
  renew() {
    return this.#alone(async () => {
      const parking = this.#parking;
      // Once ICE is down, or the server or this browser elsewhere, or its connection closed, an offer is not enough where the fingerprint is changed.
      const adrift = this.adrift && now() - this.#gatheredAt > GATHER_MS;
      const moved = this.#moved || adrift;
      const restart = !parking && (moved || this.iceIsDown || this.usesTcp);
      // What was prepared leads to where the server was.
      if (restart || moved || !this.prepared) await this.#takeBack();
      // DTLS that has not begun begins when ICE gets an answer.
      const { transports } = this;
      const begun = transports.length === 0 || transports.some(({ state }) => state !== "new");
      if (!parking && !begun && !moved) return;
      if (adrift) {
        // Chromium learns its addresses in an ICE restart, as soon as it knows of them itself, which takes it 2 s and more.
        this.#gatheredAt = now();
        await parking?.gather();
      }
      if (restart) return this.#restartIce();
      if (!this.prepared) await this.#give();
      await this.#take();
    });
  }

  /** Firefox: lets the transport from before the last renewal go, which no media uses any more. */
  tidy() {
    return this.#parking?.held && !this.prepared ? this.#alone(() => this.#letGo()) : undefined;
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
    try {
      await work();
    } finally {
      this.renewing = false;
      this.changed();
    }
  }

  /** Gives the browser the offer that makes it run DTLS again. */
  async #give() {
    const parking = this.#parking;
    if (parking?.held) await this.#letGo();
    this.#unfinished = this.transports.some(({ state }) => state !== "connected");
    if (parking) parking.turn();
    else this.#hash += 1;
    this.prepared = true;
    try {
      await this.#edit("offer");
      this.#answer = await this.pc.createAnswer();
    } catch (error) {
      await this.#takeBack();
      throw error;
    }
  }

  /** Has the browser answer it: DTLS begins. */
  async #take() {
    const parking = this.#parking;
    this.prepared = this.restarted = false;
    await this.#agree(this.#answer);
    // An attempt that had not come to its end must not do so now: the server would go by its keys, and send where no media is.
    if (parking && this.#unfinished) await this.#letGo();
    if (parking || confirmed) return;
    // The change shows while the answer is being applied, and may be over (connected again) before that returns.
    await task();
    confirmed = this.restarted || this.transports.length === 0;
    if (confirmed) return;
    parks = true;
    this.end("other-way");
  }

  /** Takes back what was given, and whatever else is half done. */
  async #takeBack() {
    const { pc } = this;
    if (pc.signalingState === "have-remote-offer") await pc.setRemoteDescription({ type: "rollback" });
    if (pc.signalingState === "have-local-offer") await pc.setLocalDescription({ type: "rollback" });
    if (!this.prepared) return;
    this.prepared = false;
    if (this.#parking) this.#parking.turnBack();
    else this.#hash -= 1;
  }

  /**
   * An ICE restart of our own, with the server's credentials as they were. Where the server is elsewhere, new pairs take over as soon as they
   * work: of two with one priority Chromium prefers the later generation. (A higher priority does it without a restart, but not on the way
   * back: Chromium keeps a pair and its priority for 30 s, and the one in use until that has received nothing for 2.5 s.)
   */
  async #restartIce() {
    this.#hash += 1;
    this.pc.restartIce();
    await this.#setOwn(await this.pc.createOffer());
    await this.#edit("answer");
    this.observe();
  }

  async #letGo() {
    if (this.#parking) this.#parking.held = false;
    await this.#applyOffer();
  }

  /** The join, in what is done after it only. */
  get #joined() {
    return /** @type {import("./rekindle-signalling.js").Join} */ (this.join);
  }

  /** The browser's own description, in what is done with one only. */
  get #own() {
    return this.pc.localDescription?.sdp ?? "";
  }

  async #applyOffer() {
    await this.#edit("offer");
    await this.#agree();
  }

  /** Gives the browser the server's answer once more, as something else. @param {"offer" | "answer"} type */
  async #edit(type) {
    const { answer, fingerprints } = this.#joined;
    this.#given = answer;
    this.#moved = false;
    const sdp = reoffer(answer, ++this.#version, fingerprints[this.#hash % fingerprints.length], type);
    await this.pc.setRemoteDescription({ type, sdp: this.#parking?.regrouped(sdp) ?? sdp });
  }

  /** Has the browser answer the offer that it was given. @param {RTCSessionDescriptionInit | null} [answer] that it has made already */
  async #agree(answer) {
    await this.#setOwn(answer ?? (await this.pc.createAnswer()));
    this.#told = this.#given;
    this.observe();
  }

  /**
   * Takes the browser's own description, with what it can do and does not say. Firefox cannot, and leaves the line out again.
   *
   * @param {RTCSessionDescriptionInit} description
   */
  async #setOwn({ type, sdp = "" }) {
    if (!this.#parking) {
      try {
        return await this.pc.setLocalDescription({ type, sdp: withSoundAgain(sdp) });
      } catch {
        // This browser does not let its descriptions be changed; what else is wrong, fails again below.
      }
    }
    return this.pc.setLocalDescription({ type, sdp });
  }

  /** How long the browser keeps media back, in ms; null for its own way. @param {number | null} ms */
  cushion(ms) {
    for (const { receiver } of this.transceivers) if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = ms;
  }
}

/** Waits until the browser has done what it has to do at present. @returns {Promise<void>} */
function task() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
