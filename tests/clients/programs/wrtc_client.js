// @roamhq/wrtc, which is libwebrtc without a browser, as publisher or viewer.
import wrtc from "@roamhq/wrtc";
import { endOnSigterm, post, programArguments, say } from "./whip.js";

const { RTCAudioSink, RTCAudioSource, RTCVideoSink, RTCVideoSource } = wrtc.nonstandard;
const WIDTH = 320;
const HEIGHT = 240;
const { role, url, video, audio } = programArguments();
const pc = new wrtc.RTCPeerConnection({ iceServers: [], bundlePolicy: "max-bundle" });
const counts = { video: 0, audio: 0 };
// Its events come before the property has the new value.
let state = pc.connectionState;
setInterval(() => {
  if (pc.connectionState !== state) say("state", { state: (state = pc.connectionState) });
}, 20);

function picture() {
  const source = new RTCVideoSource();
  let count = 0;
  setInterval(() => {
    const data = new Uint8ClampedArray((WIDTH * HEIGHT * 3) / 2).fill(128);
    const left = count++ % (WIDTH - 40);
    for (let y = 100; y < 140; y++) data.fill(235, y * WIDTH + left, y * WIDTH + left + 40);
    source.onFrame({ width: WIDTH, height: HEIGHT, data });
  }, 33);
  return source.createTrack();
}

function sound() {
  const source = new RTCAudioSource();
  let count = 0;
  setInterval(() => {
    const samples = new Int16Array(480);
    for (let i = 0; i < samples.length; i++) samples[i] = 8000 * Math.sin((count++ * 2 * Math.PI * 440) / 48000);
    source.onData({ samples, sampleRate: 48000, bitsPerSample: 16, channelCount: 1, numberOfFrames: 480 });
  }, 10);
  return source.createTrack();
}

pc.ontrack = ({ track }) => {
  const sink = track.kind === "video" ? new RTCVideoSink(track) : new RTCAudioSink(track);
  const count = () => counts[track.kind]++;
  if (track.kind === "video") sink.onframe = count;
  else sink.ondata = count;
};

for (const [kind, codec, make] of [["audio", audio, sound], ["video", video, picture]]) {
  if (codec === "none") continue;
  const publishes = role === "publish";
  const transceiver = pc.addTransceiver(publishes ? make() : kind, { direction: publishes ? "sendonly" : "recvonly" });
  if (codec === "any") continue;
  const capabilities = pc.getTransceivers && transceiver.setCodecPreferences && wrtc.RTCRtpReceiver.getCapabilities(kind).codecs;
  transceiver.setCodecPreferences(capabilities.filter(({ mimeType }) => mimeType.toLowerCase() === `${kind}/${codec}`.toLowerCase()));
}

await pc.setLocalDescription(await pc.createOffer());
if (pc.iceGatheringState !== "complete") {
  await new Promise((resolve) => (pc.onicegatheringstatechange = () => pc.iceGatheringState === "complete" && resolve()));
}
const { answer, location } = await post(url, pc.localDescription.sdp);
endOnSigterm(location);
await pc.setRemoteDescription({ type: "answer", sdp: answer });

/** Frames that were decoded, whether or not the sink was given them. */
async function decoded() {
  for (const stat of (await pc.getStats()).values()) {
    if (stat.type === "inbound-rtp" && stat.kind === "video") return { decoded: stat.framesDecoded, lost: stat.packetsLost };
  }
  return {};
}

setInterval(async () => {
  if (role === "watch") say("frames", { ...counts, ...(await decoded()) });
}, 100);
