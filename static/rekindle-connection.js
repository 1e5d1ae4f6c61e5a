/**
 * One RTCPeerConnection with what is needed to renew its keys. Knows how, not when.
 *
 * @module
 */

import { bundled, reoffer, signed, withParking, withSoundAgain, withStreams, without } from "./rekindle-description.js";

/**
 * The way in which this browser runs DTLS again: "fingerprint" or "bundle" (see rekindle-description.js). It has to be known before the
 * join, since the second one takes sections of its own: a DTLS transport that cannot report errors is Firefox's. The first one is
 * watched when it is first used, and where it does not work, the other one it is.
 */
let way = globalThis.RTCDtlsTransport && !("onerror" in RTCDtlsTransport.prototype) ? "bundle" : "fingerprint";
let confirmed = false;

/** A transport that says so long, in ms, that it is not connected, while the connection is, is not believed. */
const UNTOLD_MS = 150;
/** The browser is asked for no longer than this, in ms. */
const ASK_MS = 30;

const DOWN = ["disconnected", "failed", "closed"];
const ENDED = ["failed", "closed"];

const task = () =>
  new Promise((resolve) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      channel.port1.close();
      resolve();
    };
    channel.port2.postMessage(null);
  });

export class Connection {
  pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  stream = new MediaStream();
  /** How often DTLS has come up. */
  handshakes = 0;
  /** An edit is being applied. */
  renewing = false;
  /** The server's side of the join; set by {@link accept}. */
  join = null;
  /** What it hears of the server; set once it has joined. */
  feed = null;
  /** The server said that it has keys for us, in the process that its event stream belongs to. */
  serverHasKeys = false;
  /** ICE is down, and the event stream was asked whether the server is. */
  iceDoubted = false;
  /** Since when ICE is down; null while it is not. */
  iceDownSince = null;
  /** Resolves with the reason when this connection is beyond help. */
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
   * When the browser last sent something but ICE checks, as of when it was asked (ms, of the page's clock); no time where it did not say
   * soon enough; null where it never does, or where nobody needs to know.
   *
   * @type {{ at: number | null, asOf: number } | null}
   */
  sent = this.mixes ? { at: null, asOf: -Infinity } : null;

  /** Firefox: the sections that take turns as the owner of the BUNDLE group, and which of them is it. */
  #parking = [];
  #owner = 0;
  /** Firefox: the one that is not the owner still holds the transport from before the last renewal. */
  #held = false;
  /** Firefox: which encodings were active before they were stopped; null while they are not. */
  #running = null;
  /** Settles when the last change of what is sent is done. */
  #changing = Promise.resolve();
  /** Settles when {@link ask} is done; null while it is not under way. */
  #asking = null;
  /** Firefox: that transport was still in a handshake when it was left. */
  #unfinished = false;
  /** The transceivers that carry media. */
  #media = [];
  #transports = new Set();
  /** Those that are connected and do not say so: see {@link Connection.#mind}. */
  #untold = new Set();
  #restarted = false;
  #version = 0;
  #hash = 0;
  /** The browser has been given the offer of the next renewal, and waits for its own answer: see {@link prepare}. */
  #prepared = false;
  /** That answer. @type {RTCSessionDescriptionInit | null} */
  #answer = null;
  /** The server's answer as it was last given to the browser, edited, and as the browser goes by it: it names the publisher's streams. */
  #given = null;
  #told = null;

  /** @param {MediaStream | null} source @param {() => void} changed called when a state changed */
  constructor(source, changed) {
    this.changed = changed;
    const park = () => {
      if (way === "bundle") this.#parking.push(this.pc.addTransceiver("audio", { direction: "inactive" }));
    };
    // The first section owns the BUNDLE group from the start.
    park();
    for (const kind of ["audio", "video"]) {
      const track = source?.getTracks().find((candidate) => candidate.kind === kind);
      const init = source ? { direction: "sendonly", streams: [source] } : { direction: "recvonly" };
      this.#media.push(this.pc.addTransceiver(track ?? kind, init));
    }
    park();
    this.pc.addEventListener("connectionstatechange", () => {
      changed();
      this.#mind().catch(() => {});
    });
    this.pc.addEventListener("iceconnectionstatechange", () => changed());
  }

  /** The offer for the server. */
  async offer() {
    await this.#setOwn(await this.pc.createOffer());
    const { sdp } = this.pc.localDescription;
    return signed(this.#parking.length > 0 ? without(sdp, this.#parkingMids) : sdp);
  }

  async accept(join) {
    this.join = join;
    if (this.#parking.length > 0) join.answer = withParking(join.answer, this.pc.localDescription.sdp, this.#parkingMids);
    this.#told = join.answer;
    await this.pc.setRemoteDescription({ type: "answer", sdp: join.answer });
    this.#observe();
  }

  get connected() {
    const transports = this.#live();
    if (transports.length === 0) return this.pc.connectionState === "connected";
    return transports.every((transport) => this.#isUp(transport) && !DOWN.includes(transport.iceTransport?.state));
  }

  /** A handshake has failed: nothing more comes of it. */
  get broken() {
    return this.#live().some(({ state }) => state === "failed");
  }

  get iceIsDown() {
    return this.#iceIsIn(DOWN);
  }

  /** ICE has given up. Before, when a check went unanswered, media goes on in both directions. */
  get iceHasFailed() {
    return this.#iceIsIn(ENDED);
  }

  #iceIsIn(states) {
    const transports = this.#live();
    if (transports.length > 0) return transports.some(({ iceTransport }) => states.includes(iceTransport?.state));
    return this.pc.connectionState === "failed" || states.includes(this.pc.iceConnectionState);
  }

  /** Whether there is a track that media should be sent of. */
  get sends() {
    return this.pc.getSenders().some(({ track }) => track?.readyState === "live");
  }

  /** Another publisher sends other streams. */
  setStreams(streams) {
    const answer = withStreams(this.join.answer, streams);
    if (answer === this.join.answer) return;
    this.join.answer = answer;
  }

  /** Tells the browser of the publisher's present streams. Keys and transports stay as they are. */
  retune() {
    if (this.#told === this.join.answer) return undefined;
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
      // Once ICE is down an offer is not enough where the fingerprint is changed.
      const restart = this.iceIsDown && way === "fingerprint";
      if (restart || !this.#prepared) await this.#takeBack();
      // DTLS that has not begun begins when ICE gets an answer.
      const transports = this.#live();
      const begun = transports.length === 0 || transports.some(({ state }) => state !== "new");
      if (way === "fingerprint" && !begun) return;
      if (restart) return this.#restartIce();
      if (!this.#prepared) await this.#give();
      await this.#take();
    });
  }

  /** Firefox: stops the video encoders until {@link refresh}: what they make while keys are renewed is lost, and costs time. */
  hold() {
    if (way === "fingerprint") return undefined;
    return this.#parameters(({ encodings }) => {
      this.#running ??= encodings.map(({ active }) => active);
      for (const encoding of encodings) encoding.active = false;
    });
  }

  /** Video encoders have been stopped. */
  get holds() {
    return this.#running !== null;
  }

  /**
   * Has the next video frame be a key frame: by asking for one (WebRTC Extensions, `encodingOptions`), or, in Firefox, which does not know
   * that, by starting encoders that had been stopped.
   */
  async refresh() {
    if (way === "fingerprint") {
      return this.#parameters(({ encodings }) => ({ encodingOptions: encodings.map(() => ({ keyFrame: true })) }));
    }
    if (!this.holds) await this.hold();
    await this.#parameters(({ encodings }) => encodings.forEach((encoding, i) => (encoding.active = this.#running?.[i] ?? true)));
    this.#running = null;
  }

  /** Changes the parameters of the video that is sent, one change after the other. What `change` returns goes with them. */
  #parameters(change) {
    const next = async () => {
      const sender = this.#media.map((media) => media.sender).find(({ track }) => track?.kind === "video");
      if (!sender) return;
      const parameters = sender.getParameters();
      await sender.setParameters(parameters, change(parameters));
    };
    return (this.#changing = this.#changing.then(next, next));
  }

  /** Firefox: lets the transport from before the last renewal go, which no media uses any more. */
  tidy() {
    return this.#held && !this.#prepared ? this.#alone(() => this.#letGo()) : undefined;
  }

  async measure() {
    for (const report of (await this.pc.getStats()).values()) {
      // Firefox knows it of the pair in use only after a while; the others lead to the same server. Zero is what a near one takes, unless
      // nothing was answered.
      if (report.type !== "candidate-pair" || !(report.responsesReceived > 0 && report.currentRoundTripTime >= 0)) continue;
      this.rtt = Math.min(this.rtt, report.currentRoundTripTime * 1000);
    }
  }

  /** Asks the browser when it last sent something. */
  ask() {
    return (this.#asking ??= this.#ask().finally(() => (this.#asking = null)));
  }

  async #ask() {
    let timer;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, ASK_MS, null)));
    const reports = await Promise.race([this.pc.getStats(), late]).catch(() => null);
    clearTimeout(timer);
    const asOf = performance.now();
    let at = null;
    for (const { type, timestamp, lastPacketSentTimestamp } of reports?.values() ?? []) {
      if (type === "candidate-pair" && lastPacketSentTimestamp > 0) at = Math.max(at ?? -Infinity, asOf - (timestamp - lastPacketSentTimestamp));
    }
    this.sent = reports && at === null ? null : { at, asOf };
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

  /** One description at a time. */
  async #alone(work) {
    if (this.renewing || this.ended) return;
    this.renewing = true;
    const done = work();
    try {
      await done;
    } finally {
      this.renewing = false;
      this.changed();
    }
  }

  /** Gives the browser the offer that makes it run DTLS again. */
  async #give() {
    if (way === "fingerprint") {
      this.#hash += 1;
    } else {
      if (this.#held) await this.#letGo();
      this.#unfinished = this.#live().some(({ state }) => state !== "connected");
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
    this.#restarted = false;
    await this.#agree(this.#answer);
    // An attempt that had not come to its end must not do so now: the server would go by its keys, and send where no media is.
    if (way === "bundle" && this.#unfinished) await this.#letGo();
    if (way !== "fingerprint" || confirmed) return;
    // The change shows while the answer is being applied, and may be over (connected again) before that returns.
    await task();
    confirmed = this.#restarted || this.#live().length === 0;
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

  /** An ICE restart of our own, with the server's credentials as they were. */
  async #restartIce() {
    this.#hash += 1;
    this.pc.restartIce();
    await this.#setOwn(await this.pc.createOffer());
    const sdp = reoffer(this.join.answer, { version: ++this.#version, fingerprint: this.#fingerprint, type: "answer" });
    await this.pc.setRemoteDescription({ type: "answer", sdp });
    this.#observe();
  }

  async #letGo() {
    this.#held = false;
    await this.#applyOffer();
  }

  get #parkingMids() {
    return this.#parking.map(({ mid }) => mid);
  }

  /** Firefox: the BUNDLE group as it is now. The section that holds the old transport is not in it. */
  get #bundle() {
    if (this.#parking.length === 0) return undefined;
    const mids = this.#parkingMids;
    const [owner, other] = [mids[this.#owner], mids[1 - this.#owner]];
    const media = bundled(this.join.answer).filter((mid) => !mids.includes(mid));
    return this.#held ? [owner, ...media] : [owner, ...media, other];
  }

  get #fingerprint() {
    return this.join.fingerprints[this.#hash % this.join.fingerprints.length];
  }

  async #applyOffer() {
    await this.#setOffer();
    await this.#agree();
  }

  /** Has the browser answer the offer that it was given. */
  async #agree(answer) {
    await this.#setOwn(answer ?? (await this.pc.createAnswer()));
    this.#told = this.#given;
    this.#observe();
  }

  /** Takes the browser's own description, with what it can do and does not say. Firefox cannot, and leaves the line out again. */
  async #setOwn({ type, sdp }) {
    if (way === "fingerprint") {
      try {
        return await this.pc.setLocalDescription({ type, sdp: withSoundAgain(sdp) });
      } catch (error) {
        // A browser that does not let its descriptions be changed; a state that no description fits fails again below.
        if (error.name !== "InvalidModificationError" && error.name !== "InvalidAccessError" && error.name !== "OperationError") throw error;
      }
    }
    return this.pc.setLocalDescription({ type, sdp });
  }

  /** How long the browser keeps media back, in ms; null for its own way. */
  cushion(ms) {
    for (const { receiver } of this.#media) if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = ms;
  }

  async #setOffer() {
    this.#given = this.join.answer;
    const sdp = reoffer(this.join.answer, { version: ++this.#version, fingerprint: this.#fingerprint, bundle: this.#bundle });
    await this.pc.setRemoteDescription({ type: "offer", sdp });
  }

  /** The transports that media uses. */
  #live() {
    const transports = new Set(this.#media.flatMap(({ sender, receiver }) => [sender.transport, receiver.transport]));
    transports.delete(null);
    transports.delete(undefined);
    return [...transports];
  }

  #isUp(transport) {
    return transport.state === "connected" || this.#untold.has(transport);
  }

  /**
   * Chromium loses the news that a transport is connected where that comes while it makes the object (one of some hundred connections, when
   * fifty begin at once), and calls it "connecting" until it has other news. The connection's own state is right, and so are statistics.
   */
  async #mind() {
    if (this.pc.connectionState !== "connected") return;
    await new Promise((resolve) => setTimeout(resolve, UNTOLD_MS));
    const isUntold = () => !this.ended && this.pc.connectionState === "connected" && this.#live().some((transport) => !this.#isUp(transport));
    if (!isUntold()) return;
    const reports = [...(await this.pc.getStats()).values()].filter(({ type }) => type === "transport");
    if (reports.length === 0 || reports.some(({ dtlsState }) => dtlsState !== "connected") || !isUntold()) return;
    for (const transport of this.#live()) this.#untold.add(transport);
    this.handshakes += 1;
    this.changed();
  }

  #observe() {
    for (const transport of this.#live()) {
      if (this.#transports.has(transport)) continue;
      this.#transports.add(transport);
      const look = () => {
        this.#untold.delete(transport);
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
