// werift, WebRTC in TypeScript without codecs: it sends what comes by RTP on a local port, and counts the frames that it receives.
import dgram from "node:dgram";
import { RTCPeerConnection, MediaStreamTrack, RTCRtpCodecParameters } from "werift";
import { endOnSigterm, post, programArguments, say } from "./whip.js";

const args = programArguments();
const { role, url } = args;
const KINDS = { VP8: "video", VP9: "video", H264: "video", AV1: "video", opus: "audio", PCMU: "audio", PCMA: "audio" };
const FMTP = { H264: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f" };

const codec = (name) =>
  new RTCRtpCodecParameters({
    mimeType: `${KINDS[name]}/${name}`,
    clockRate: KINDS[name] === "video" ? 90000 : name === "opus" ? 48000 : 8000,
    channels: name === "opus" ? 2 : undefined,
    payloadType: { PCMU: 0, PCMA: 8 }[name],
    parameters: FMTP[name],
    rtcpFeedback: KINDS[name] === "video" ? [{ type: "nack" }, { type: "nack", parameter: "pli" }] : [],
  });

const wanted = [args.audio, args.video].filter((name) => name !== "none");
const codecs = { audio: [], video: [] };
for (const name of wanted) codecs[KINDS[name]].push(codec(name));
const pc = new RTCPeerConnection({ codecs, iceServers: [], bundlePolicy: "max-bundle" });
const counts = { video: 0, audio: 0 };
pc.connectionStateChange.subscribe((state) => say("state", { state }));
pc.onTrack.subscribe((track) => {
  track.onReceiveRtp.subscribe((rtp) => {
    // The marker ends a picture; each packet of sound is a frame of its own.
    if (track.kind === "audio" || rtp.header.marker) counts[track.kind]++;
  });
});

/** Media comes by RTP from an encoder, on one port for each kind. */
function fromPort(track, port) {
  const socket = dgram.createSocket("udp4");
  socket.on("message", (data) => {
    // RTCP of the encoder shares the port.
    if (data[1] >= 192 && data[1] < 224) return;
    if (pc.connectionState === "connected") track.writeRtp(data);
  });
  socket.bind(port, "127.0.0.1");
}

const port = Number(args["rtp-port"]);
for (const [i, name] of wanted.entries()) {
  const kind = KINDS[name];
  if (role === "publish") {
    const track = new MediaStreamTrack({ kind });
    fromPort(track, port + 2 * i);
    pc.addTransceiver(track, { direction: "sendonly" });
  } else {
    pc.addTransceiver(kind, { direction: "recvonly" });
  }
}

await pc.setLocalDescription(await pc.createOffer());
const { answer, location } = await post(url, pc.localDescription.sdp);
endOnSigterm(location);
await pc.setRemoteDescription({ type: "answer", sdp: answer });
setInterval(() => role === "watch" && say("frames", counts), 100);
