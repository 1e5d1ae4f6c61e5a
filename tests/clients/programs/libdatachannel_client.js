// libdatachannel, which OBS has for its WHIP output, as publisher or viewer. It has no codecs: it sends what comes by RTP on a local port,
// and counts the frames that it receives.
import dgram from "node:dgram";
import { Audio, PeerConnection, RtcpReceivingSession, Video } from "node-datachannel";
import { endOnSigterm, post, programArguments, say } from "./whip.js";

const args = programArguments();
const publishes = args.role === "publish";
const direction = publishes ? "SendOnly" : "RecvOnly";
const counts = { video: 0, audio: 0 };
const pc = new PeerConnection("client", { iceServers: [], disableAutoNegotiation: true });
pc.onStateChange((state) => say("state", { state }));

const ADD = {
  VP8: (media) => media.addVP8Codec(96),
  VP9: (media) => media.addVP9Codec(96),
  AV1: (media) => media.addAV1Codec(96),
  H264: (media) => media.addH264Codec(96),
  H265: (media) => media.addH265Codec(96),
  opus: (media) => media.addOpusCodec(111),
  PCMU: (media) => media.addAudioCodec(0, "PCMU"),
  PCMA: (media) => media.addAudioCodec(8, "PCMA"),
};
const PAYLOAD = { opus: 111, PCMU: 0, PCMA: 8 };

function open(kind, codec, port) {
  const media = kind === "video" ? new Video(kind, direction) : new Audio(kind, direction);
  ADD[codec](media);
  const ssrc = kind === "video" ? 2001 : 1001;
  if (publishes) media.addSSRC(ssrc, "client", "client", kind);
  const track = pc.addTrack(media);
  if (publishes) {
    const socket = dgram.createSocket("udp4");
    socket.on("message", (data) => {
      // RTCP of the encoder shares the port.
      if ((data[1] >= 192 && data[1] < 224) || !track.isOpen()) return;
      data[1] = (data[1] & 0x80) | (PAYLOAD[codec] ?? 96);
      data.writeUInt32BE(ssrc, 8);
      track.sendMessageBinary(data);
    });
    socket.bind(port, "127.0.0.1");
  } else {
    track.setMediaHandler(new RtcpReceivingSession());
    track.onMessage((data) => {
      if (data[1] >= 192 && data[1] < 224) return;
      // The marker ends a picture; each packet of sound is a frame of its own.
      if (kind === "audio" || data[1] & 0x80) counts[kind]++;
    });
  }
  return track;
}

// Kept, or they would be collected.
const tracks = [["audio", args.audio], ["video", args.video]]
  .filter(([, codec]) => codec !== "none")
  .map(([kind, codec], i) => open(kind, codec, Number(args["rtp-port"]) + 2 * i));
const gathered = new Promise((resolve) => pc.onGatheringStateChange((state) => state === "complete" && resolve()));
pc.setLocalDescription();
await gathered;
const { answer, location } = await post(args.url, pc.localDescription().sdp);
endOnSigterm(location);
pc.setRemoteDescription(answer, "answer");
setInterval(() => !publishes && say("frames", { ...counts, tracks: tracks.length }), 100);
