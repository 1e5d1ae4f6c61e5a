// Runs in every page before the page's own scripts, and only looks on: which connections are made, which requests go out, when
// frames are shown. It is turned into text and injected, so it refers to nothing outside itself.
export function probe() {
  const clock = () => performance.timeOrigin + performance.now();
  /** @type {Seen} */
  const seen = { connections: [], requests: [], frames: [], states: [], handshakes: 0, excused: 0 };
  window.seen = seen;
  /** Keeps the last steps of the connections, for the story of a failure. */
  seen.note = (what) => {
    seen.states.push([Math.round(clock() % 1e6), what]);
    if (seen.states.length > 120) seen.states.shift();
  };

  const noted = new WeakSet();
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class RTCPeerConnection extends Native {
    constructor(...args) {
      super(...args);
      seen.connections.push(this);
      this.addEventListener("connectionstatechange", () => seen.note(this.connectionState));
      let down = null;
      /** For so long no check was answered, in ms. */
      this.iceDownFor = () => (down === null ? 0 : clock() - down);
      this.addEventListener("iceconnectionstatechange", () => {
        const isDown = ["disconnected", "failed"].includes(this.iceConnectionState);
        down = isDown ? (down ?? clock()) : null;
        seen.note(`ice ${this.iceConnectionState}`);
      });
    }

    async setLocalDescription(...args) {
      await super.setLocalDescription(...args);
      seen.note(`local ${this.localDescription.type}`);
      for (const { sender } of this.getTransceivers()) {
        const { transport } = sender;
        if (!transport || noted.has(transport)) continue;
        noted.add(transport);
        transport.addEventListener("statechange", () => {
          if (transport.state === "connecting") {
            seen.handshakes += 1;
            // Consent was about to end: the one reason to renew what the server keeps.
            seen.excused += this.iceDownFor() > 11_000 ? 1 : 0;
          }
          seen.note(`dtls ${transport.state}`);
        });
      }
    }
  };

  // A small picture: browsers, encoders and decoders share two cores with the server under test.
  const media = navigator.mediaDevices;
  if (media) {
    const get = media.getUserMedia.bind(media);
    media.getUserMedia = ({ audio, video }) => {
      const { deviceId } = typeof video === "object" ? video : {};
      return get({ audio, video: video && { deviceId, width: 320, height: 240, frameRate: 30 } });
    };
  }

  const fetch = window.fetch;
  window.fetch = (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : input, location.href);
    seen.requests.push([clock(), init.method ?? "GET", url.pathname, url.host]);
    return fetch.call(window, input, init);
  };

  const follow = () => {
    const video = document.querySelector("video");
    if (!video) return;
    const shown = (at, frame) => {
      seen.frames.push([performance.timeOrigin + at, frame.presentedFrames]);
      if (seen.frames.length > 20_000) seen.frames.splice(0, 10_000);
      video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
    new MutationObserver(() => {
      const text = document.querySelector("#status-text").textContent;
      (seen.words ??= []).push([clock(), text]);
      if (seen.words.length > 200) seen.words.shift();
    }).observe(document.querySelector("#status-text"), { childList: true, characterData: true, subtree: true });
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", follow);
  else follow();

  /** The connection in use: the last one that is not closed. */
  seen.live = () => seen.connections.filter((connection) => connection.signalingState !== "closed").at(-1);

  seen.stats = async () => {
    const connection = seen.live();
    const result = { state: connection?.connectionState, decoded: 0, received: 0, encoded: 0, packets: 0, lost: 0, audio: 0 };
    if (!connection) return result;
    for (const report of (await connection.getStats()).values()) {
      if (report.type === "inbound-rtp" && report.kind === "video") {
        result.decoded += report.framesDecoded ?? 0;
        result.received += report.framesReceived ?? 0;
        result.packets += report.packetsReceived ?? 0;
        result.lost += report.packetsLost ?? 0;
        result.keyFrames = report.keyFramesDecoded;
        result.nacks = report.nackCount;
        result.plis = report.pliCount;
        result.dropped = report.framesDropped;
      }
      if (report.type === "inbound-rtp" && report.kind === "audio") result.audio += report.packetsReceived ?? 0;
      if (report.type === "outbound-rtp" && report.kind === "video") {
        result.encoded += report.framesEncoded ?? 0;
        result.sent = (result.sent ?? 0) + (report.framesSent ?? 0);
        result.plis = report.pliCount;
      }
    }
    return result;
  };

  /** Stops or goes on sending pictures, so that frames can be counted while none is on its way. */
  seen.hold = async (held) => {
    for (const sender of seen.live().getSenders()) {
      if (held && sender.track?.kind === "video") {
        seen.held = [sender, sender.track];
        await sender.replaceTrack(null);
      } else if (!held && seen.held?.[0] === sender) {
        await sender.replaceTrack(seen.held[1]);
      }
    }
  };

  /** Sound that the browser made up, in ms, and packets that it does not have. */
  seen.sound = async () => {
    const reports = [...(await seen.live().getStats()).values()];
    const sound = reports.find(({ type, kind }) => type === "inbound-rtp" && kind === "audio");
    return { madeUp: sound.concealedSamples / 48, lost: sound.packetsLost, nacks: sound.nackCount };
  };

  /** The candidate that this connection sends from; undefined while it has none. */
  const local = async () => {
    const reports = [...(await seen.live().getStats()).values()];
    const pairs = reports.filter(({ type, state, nominated, selected }) => type === "candidate-pair" && state === "succeeded" && (selected ?? nominated));
    return reports.find(({ id }) => id === pairs.at(-1)?.localCandidateId);
  };

  /** The port that this connection sends from; null while it has none. */
  seen.port = async () => (await local())?.port ?? null;

  /** "udp" or "tcp"; null while it has neither. */
  seen.transport = async () => (await local())?.protocol ?? null;

  /** What a STUN check of this connection carries. */
  seen.credentials = () => {
    const { remoteDescription, localDescription } = seen.live();
    const find = (sdp, name) => new RegExp(`^a=${name}:(.*)$`, "m").exec(sdp)[1].trim();
    return {
      remoteUfrag: find(remoteDescription.sdp, "ice-ufrag"),
      remotePwd: find(remoteDescription.sdp, "ice-pwd"),
      localUfrag: find(localDescription.sdp, "ice-ufrag"),
    };
  };

  /**
   * Waits until packets arrive that were not there at the call, and then a frame is decoded; resolves with the time, or null.
   * Counters may begin again from zero when the browser makes its receiver anew.
   */
  seen.nextFrame = async (timeout) => {
    const end = clock() + timeout;
    let last = await seen.stats();
    let arrived = false;
    while (clock() < end) {
      const next = await seen.stats();
      if (arrived && next.decoded > last.decoded) return clock();
      arrived ||= next.packets > last.packets;
      last = next;
      // Statistics cost the browser time, at the moment when it has most to do.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return null;
  };

  /** The largest gap between two shown frames that ends after `from`, in ms, and where it ends. */
  seen.gap = (from, to = Infinity) => {
    let worst = { ms: 0, at: 0 };
    for (let i = 1; i < seen.frames.length; i++) {
      const [at] = seen.frames[i];
      if (at < from || seen.frames[i - 1][0] > to) continue;
      const ms = at - seen.frames[i - 1][0];
      if (ms > worst.ms) worst = { ms, at };
    }
    return worst;
  };

  /** What must not change over a restart, as one line. */
  const names = new Map();
  const name = (thing) => {
    if (!thing) return "none";
    if (!names.has(thing)) names.set(thing, `${thing.constructor.name}-${names.size}`);
    return names.get(thing);
  };
  seen.identity = () => {
    const connection = seen.live();
    const tracks = connection?.getReceivers().map((receiver) => `${name(receiver.track)}:${receiver.track.readyState}`) ?? [];
    const video = document.querySelector("video");
    return [name(connection), ...tracks, name(video.srcObject), `${seen.connections.length} made`].join(" ");
  };
  seen.posts = () => seen.requests.filter(([, method, path]) => method === "POST" && /^\/wh[ie]p\//.test(path)).length;
}
