// The page that tells what was measured.
import { CLIENTS } from "./clients.js";
import { PATIENCE } from "./trial.js";

const INTRODUCTION = `# Clients that were tried

Programs that others wrote, run against the real server by \`tests/clients/matrix.js\`, which also writes this page. Every number is measured.
On Debian, as root: \`tests/clients/install.sh --all && tests/clients/own-network.sh node tests/clients/matrix.js\`, after \`cargo build --release\`.

- *Publish*: the server takes the client's media, and a viewer of another make decodes it (aiortc; libwebrtc for VP9 and AV1). H.265
  is published and watched by libdatachannel alone.
- *Watch*: the client decodes what another make publishes. werift, Pion and libdatachannel have no decoders; of them whole frames are counted.
- *Goes on*: the publisher leaves, another session publishes, and the viewer gets its frames.
- The server is then killed with SIGKILL and started at once. None of these clients can renew its keys, so each has to join anew. All times are
  seconds from the kill. *Noticed*: the client's own state says that the connection is lost, or the program ends. *Let go*: the server
  holds the session no more. *Back*: media flows in a new session that was begun when the client noticed. *New session*: the same, begun
  right after the kill and tried again every 250 ms, without regard to the old one. Both hold the client's own start, and a viewer's also
  that of its publisher, on a machine with 2 cores that others used too.

The server refuses the ICE checks of a client that it has let go. libdatachannel and libwebrtc give up at that. Pion, werift, aiortc and FFmpeg
wait for limits of their own, and webrtcbin sends no checks once it is connected, so that whoever runs one has to watch the media.
FFmpeg ends at once where one of its packets meets the closed port.

Tried is a build with dimpl. One with BoringSSL (\`--features boring\`, \`tests/clients/boring.test.js\`) takes webrtcbin's RSA certificate too. The P-224 certificate
that FFmpeg makes with GnuTLS is refused by both: BoringSSL's list of keys in certificates has no P-224, and no setting adds one. The client is told by an alert within seconds and ends, and
the log says to give it a certificate with a P-256 key (FFmpeg's options \`cert_file\` and \`key_file\`).

Pages in Chromium and Firefox with WHIP and WHEP alone, without the module, are clients of the same kind. \`tests/browser/plain.test.js\` has them publish and watch and
kills the server: after an instant restart Chromium is \`failed\` within a check (2.5 s), and Firefox \`disconnected\` after 6 to 8 s, and not \`failed\` for long.
`;

const NAMES = { H264: "H.264", H265: "H.265", opus: "Opus" };
const named = (codecs) => codecs.split(" + ").map((codec) => NAMES[codec] ?? codec).join(" + ");

const cell = (text) => String(text ?? "-").replaceAll("|", "\\|").replaceAll("\n", " ");

function codecs({ codecs: tried }) {
  const good = Object.entries(tried).filter(([, { works }]) => works).map(([name]) => named(name));
  return good.length > 0 ? good.join(", ") : "**no**";
}

function faults(label, { codecs: tried }) {
  return Object.entries(tried)
    .filter(([, { works }]) => !works)
    .map(([name, { fault, told_s: told }]) => `- ${label}, ${named(name)}: ${fault.replace(/ *:? *'?http:\/\/127[^;]*/, "")}${told === null || told === undefined ? "" : ` (the client says so after ${told} s)`}`);
}

function restart(name, role, result) {
  if (!result?.restart) return [];
  const { fault, noticed_s: noticed, how, let_go_s: free, back_s: back, new_session_s: fresh } = result.restart;
  if (fault) return [`| ${name} | ${role} | ${cell(fault.split("\n")[0])} | | | |`];
  const when = noticed === null ? `not within ${PATIENCE / 1000}` : `${noticed} (${how})`;
  return [`| ${name} | ${role} | ${when} | ${cell(free)} | ${cell(back)} | ${cell(fresh)} |`];
}

export function page(results) {
  const known = Object.keys(CLIENTS).filter((name) => results[name]);
  const label = (name) => `${LABELS[name] ?? name}${results[name].note ? `, ${results[name].note}` : ""}`;
  const lines = [INTRODUCTION, "| client | version | publish | watch | goes on |", "|---|---|---|---|---|"];
  for (const name of known) {
    const { version, publish, watch, follows } = results[name];
    const goes = follows ? (follows.works ? "yes" : "**no**") : "-";
    lines.push(`| ${label(name)} | ${version} | ${codecs(publish)} | ${watch ? codecs(watch) : "-"} | ${goes} |`);
  }
  lines.push("", "After kill -9 and an instant restart, in seconds:", "", "| client | role | noticed | let go | back | new session |", "|---|---|---|---|---|---|");
  for (const name of known) {
    lines.push(...restart(label(name), "publish", results[name].publish), ...restart(label(name), "watch", results[name].watch));
  }
  const not = known.flatMap((name) => [...faults(`${label(name)}, publish`, results[name].publish), ...(results[name].watch ? faults(`${label(name)}, watch`, results[name].watch) : [])]);
  if (not.length > 0) lines.push("", "What did not work, and what was said:", "", ...not);
  return `${lines.join("\n")}\n`;
}

const LABELS = {
  wrtc: "libwebrtc without a browser",
  pion: "Pion",
  "pion-one": "Pion",
  gstreamer: "GStreamer webrtcbin",
  "gstreamer-p256": "GStreamer webrtcbin",
  ffmpeg: "FFmpeg",
  "ffmpeg-active": "FFmpeg",
  "ffmpeg-main": "FFmpeg",
  "ffmpeg-high": "FFmpeg",
  pyav: "PyAV",
  "pyav-p256": "PyAV",
};
