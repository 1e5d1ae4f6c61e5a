// The clients: how each is run as publisher and as viewer, and what it can.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(new URL("..", import.meta.url));
const TARGET = fileURLToPath(new URL("../../../target", import.meta.url));
const PYTHON = path.join(TARGET, "venv-clients/bin/python");
const DEBIANS_PYTHON = "/usr/bin/python3";
const PION = path.join(TARGET, "clients/pion");

const program = (name) => path.join(HERE, "programs", name);
const codecs = ({ video, audio }) => ["--video", video, "--audio", audio];
const output = (program, ...args) => execFileSync(program, args, { cwd: HERE, encoding: "utf8" }).trim();
const once = (make) => {
  let made;
  return () => (made ??= make());
};

const python = (name) => output(PYTHON, "-c", `import importlib.metadata as m; print(m.version("${name}"))`);
const npm = (name) => JSON.parse(fs.readFileSync(path.join(HERE, "node_modules", name, "package.json"), "utf8")).version;
const debian = (name) => output("dpkg-query", "-W", "-f", "${Version}", name);

export const ffmpeg = once(() => output(PYTHON, "-c", "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"));

/** A certificate with a P-256 key, as WebRTC's own are: one file for both, and one for each. */
const certificate = once(() => {
  const [cert, key, both] = ["cert.pem", "key.pem", "both.pem"].map((name) => path.join(TARGET, "clients", name));
  if (fs.existsSync(both)) return { cert, key, both };
  fs.mkdirSync(path.dirname(both), { recursive: true });
  const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=client", "-days", "3650"];
  execFileSync("openssl", [...made, "-keyout", key, "-out", cert], { stdio: "ignore" });
  fs.writeFileSync(both, fs.readFileSync(cert, "utf8") + fs.readFileSync(key, "utf8"));
  return { cert, key, both };
});

const ENCODERS = {
  VP8: ["libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "500k", "-g", "30"],
  VP9: ["libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "500k", "-g", "30"],
  H264: ["libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline", "-g", "30", "-bsf:v", "dump_extra"],
  AV1: ["libaom-av1", "-usage", "realtime", "-cpu-used", "8", "-b:v", "500k", "-g", "30"],
  H265: ["libx265", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "30", "-bsf:v", "dump_extra", "-x265-params", "log-level=none"],
  opus: ["libopus", "-ar", "48000", "-ac", "2"],
  PCMU: ["pcm_mulaw", "-ar", "8000", "-ac", "1"],
  PCMA: ["pcm_alaw", "-ar", "8000", "-ac", "1"],
};
const PICTURE = ["-f", "lavfi", "-i", "testsrc=size=320x240:rate=30"];
const SOUND = ["-f", "lavfi", "-i", "sine=sample_rate=48000"];

/** An encoder for clients that have none: it sends RTP to local ports, audio first. */
function encoder({ video, audio }, port) {
  const words = [ffmpeg(), "-nostdin", "-loglevel", "error", "-re"];
  const kinds = [["a", audio, SOUND], ["v", video, PICTURE]].filter(([, codec]) => codec !== "none");
  for (const [, , source] of kinds) words.push(...source);
  for (const [i, [kind, codec]] of kinds.entries()) {
    words.push("-map", `${i}:${kind}`, `-c:${kind}`, ...ENCODERS[codec]);
    if (kind === "v") words.push("-pix_fmt", "yuv420p");
    // FFmpeg calls its packets of these experimental.
    if (["VP9", "AV1"].includes(codec)) words.push("-strict", "experimental");
    words.push("-f", "rtp", `rtp://127.0.0.1:${port + 2 * i}?pkt_size=1200`);
  }
  return words;
}

let ports = 21000;
const fed = (command) => (url, wanted) => {
  ports += 4;
  return { words: [...command(wanted, ports), "publish", url], helpers: [encoder(wanted, ports)] };
};

function ffmpegPublishes(flags, profile) {
  return (url, { video, audio }) => {
    const words = [ffmpeg(), "-nostdin", "-loglevel", "verbose", "-re"];
    if (video !== "none") words.push(...PICTURE);
    if (audio !== "none") words.push(...SOUND);
    if (video !== "none") {
      words.push("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", profile, "-g", "30", "-pix_fmt", "yuv420p");
      // The preset switches off what makes the stream more than baseline; the profile is then only a name.
      if (profile === "high") words.push("-x264-params", "8x8dct=1");
      if (profile !== "baseline") words.push("-coder", "1");
    }
    if (audio !== "none") words.push("-c:a", "libopus", "-ar", "48000", "-ac", "2");
    return { words: [...words, ...flags, "-f", "whip", url] };
  };
}

const ordinary = (...words) => (url, wanted) => ({ words: [...words, ...codecs(wanted), url] });
const gst = (...extra) => (role) => (url, wanted) => ({ words: [DEBIANS_PYTHON, program("gst_client.py"), ...codecs(wanted), ...extra.map((one) => one()), role, url] });
const gstPlain = gst();
const gstWithCertificate = gst(() => `--certificate=${certificate().both}`);

const sets = (text) => text.split(" ").map((one) => ({ video: one.split("+")[0], audio: one.split("+")[1] }));
const ffmpegVersion = () => output(ffmpeg(), "-version").split(" ")[2].replace(/-\d+$/, "");
const pyavVersion = () => `${python("av")}, FFmpeg ${output(PYTHON, "-c", "import av; print(av.ffmpeg_version_info)")}`;

/**
 * `publish` and `watch` give the command of a session; `publishes` and `watches` are the codecs to try, of which the first one also goes
 * through a restart. A viewer that `decodes` has decoders, others count whole frames.
 */
export const CLIENTS = {
  aiortc: {
    version: () => python("aiortc"),
    publish: (url, wanted) => ordinary(PYTHON, program("aiortc_client.py"), "publish")(url, wanted),
    watch: (url, wanted) => ordinary(PYTHON, program("aiortc_client.py"), "watch")(url, wanted),
    publishes: sets("VP8+opus H264+opus none+PCMU VP8+none"),
    watches: sets("VP8+opus H264+opus none+PCMU"),
    decodes: true,
  },
  wrtc: {
    version: () => `@roamhq/wrtc ${npm("@roamhq/wrtc")}`,
    publish: ordinary(process.execPath, program("wrtc_client.js"), "publish"),
    watch: ordinary(process.execPath, program("wrtc_client.js"), "watch"),
    publishes: sets("VP8+opus VP9+opus AV1+opus none+PCMA"),
    watches: sets("VP8+opus VP9+opus AV1+opus none+PCMU"),
    decodes: true,
  },
  werift: {
    version: () => npm("werift"),
    publish: fed((wanted, port) => [process.execPath, program("werift_client.js"), ...codecs(wanted), "--rtp-port", String(port)]),
    watch: ordinary(process.execPath, program("werift_client.js"), "watch"),
    publishes: sets("VP8+opus H264+opus VP9+opus none+PCMU"),
    watches: sets("VP8+opus H264+opus VP9+opus none+PCMU"),
  },
  libdatachannel: {
    version: () => `node-datachannel ${npm("node-datachannel")}, libdatachannel ${output(process.execPath, "-p", 'require("node-datachannel").getLibraryVersion()')}`,
    note: "which OBS has for WHIP",
    publish: fed((wanted, port) => [process.execPath, program("libdatachannel_client.js"), ...codecs(wanted), "--rtp-port", String(port)]),
    watch: ordinary(process.execPath, program("libdatachannel_client.js"), "watch"),
    publishes: sets("H264+opus VP8+opus VP9+opus AV1+opus H265+opus none+PCMU"),
    watches: sets("H264+opus VP8+opus VP9+opus AV1+opus H265+opus none+PCMU"),
  },
  pion: {
    version: () => debian("golang-github-pion-webrtc.v3-dev"),
    note: "offers all codecs that it knows",
    publish: fed((wanted, port) => [PION, ...codecs(wanted), "-rtp-port", String(port)]),
    watch: (url, wanted) => ({ words: [PION, ...codecs(wanted), "watch", url] }),
    publishes: sets("VP8+opus H264+opus"),
    watches: sets("VP8+opus H264+opus VP9+opus none+PCMU"),
  },
  "pion-one": {
    version: () => debian("golang-github-pion-webrtc.v3-dev"),
    note: "offers the codec that it sends",
    publish: fed((wanted, port) => [PION, "-only", ...codecs(wanted), "-rtp-port", String(port)]),
    publishes: sets("VP8+opus H264+opus VP9+opus none+PCMU"),
  },
  gstreamer: {
    version: () => debian("gstreamer1.0-plugins-bad"),
    note: "its own RSA certificate",
    publish: gstPlain("publish"),
    watch: gstPlain("watch"),
    publishes: sets("VP8+opus"),
    watches: sets("VP8+opus"),
    decodes: true,
  },
  "gstreamer-p256": {
    version: () => debian("gstreamer1.0-plugins-bad"),
    note: "a P-256 certificate",
    publish: gstWithCertificate("publish"),
    watch: gstWithCertificate("watch"),
    publishes: sets("VP8+opus VP9+opus H264+opus none+PCMU none+PCMA"),
    watches: sets("VP8+opus VP9+opus H264+opus none+PCMU"),
    decodes: true,
  },
  ffmpeg: {
    version: ffmpegVersion,
    note: "as it comes, baseline",
    publish: ffmpegPublishes([], "baseline"),
    publishes: sets("H264+opus H264+none none+opus"),
  },
  "ffmpeg-active": {
    version: ffmpegVersion,
    note: "`-whip_flags dtls_active`, baseline",
    publish: ffmpegPublishes(["-whip_flags", "dtls_active"], "baseline"),
    publishes: sets("H264+opus H264+none none+opus"),
  },
  "ffmpeg-main": {
    version: ffmpegVersion,
    note: "`-whip_flags dtls_active`, main",
    publish: ffmpegPublishes(["-whip_flags", "dtls_active"], "main"),
    publishes: sets("H264+opus"),
  },
  "ffmpeg-high": {
    version: ffmpegVersion,
    note: "`-whip_flags dtls_active`, high",
    publish: ffmpegPublishes(["-whip_flags", "dtls_active"], "high"),
    publishes: sets("H264+opus"),
  },
  pyav: {
    version: pyavVersion,
    note: "as it comes (GnuTLS)",
    publish: (url) => ({ words: [PYTHON, program("pyav_client.py"), "publish", url] }),
    publishes: sets("H264+opus"),
  },
  "pyav-p256": {
    version: pyavVersion,
    note: "a P-256 certificate",
    publish: (url) => ({ words: [PYTHON, program("pyav_client.py"), `--certificate=${certificate().cert},${certificate().key}`, "publish", url] }),
    publishes: sets("H264+opus"),
  },
};

/** Who publishes, and who looks, where another client is tried. */
export const reference = ({ video }) => CLIENTS[{ VP9: "wrtc", AV1: "wrtc", H265: "libdatachannel" }[video] ?? "aiortc"];
