// What the programs in JavaScript share: one JSON object a line on standard output, and a session by WHIP or WHEP (RFC 9725).
import { parseArgs } from "node:util";

export const say = (event, facts = {}) => process.stdout.write(`${JSON.stringify({ event, at: Date.now(), ...facts })}\n`);

export function programArguments() {
  const options = { video: { type: "string", default: "VP8" }, audio: { type: "string", default: "opus" }, "rtp-port": { type: "string" } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  return { role: positionals[0], url: positionals[1], ...values };
}

/** Sends the offer; resolves with answer and session URL, or ends the program. */
export async function post(url, offer) {
  say("offer", { sdp: offer });
  try {
    const response = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp" }, body: offer });
    const sdp = await response.text();
    if (response.status === 201) {
      const location = new URL(response.headers.get("location"), url).href;
      say("answer", { status: 201, sdp, location });
      return { answer: sdp, location };
    }
    say("answer", { status: response.status, problem: sdp });
  } catch (error) {
    say("answer", { status: 0, problem: error.message });
  }
  process.exit(3);
}

/** Ends the session and the program when that is asked for. */
export function endOnSigterm(location) {
  process.once("SIGTERM", async () => {
    await fetch(location, { method: "DELETE", signal: AbortSignal.timeout(2000) }).catch((error) => say("delete", { problem: error.message }));
    process.exit(0);
  });
}
