// rekindle.d.ts says what the module is. Nothing of this runs: a difference is an error of the compiler.
import * as declared from "../../../static/rekindle.js";
import { RekindlePlayer } from "../../../static/rekindle-player.js";
import { Session } from "../../../static/rekindle-session.js";

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;

// What the module exports; module.test.js looks whether it does.
export const exported: Same<keyof typeof declared, "Session" | "publish" | "watch"> = true;

// What a session has is what it is said to have: no more, no less, and of the same types.
export const names: Same<keyof Session, keyof declared.Session> = true;
export const session: { [Name in Exclude<keyof declared.Session, keyof EventTarget>]: Same<Session[Name], declared.Session[Name]> } = {
  pc: true,
  stream: true,
  state: true,
  boot: true,
  restarts: true,
  replacements: true,
  live: true,
  unheard: true,
  keys: true,
  cushion: true,
  replaceTrack: true,
  close: true,
};
export const asDeclared = (made: Session): declared.Session => made;

// And a page gets what it expects.
export function page(stream: MediaStream): void {
  const watching = declared.watch("/whep/main", { token: "t", cushion: 0, leaveOnPagehide: false, signal: new AbortController().signal, fetch });
  watching.addEventListener("state", ({ detail: { state, reason, took_ms } }) => {
    const words: [declared.State, string | undefined, number | undefined] = [state, reason, took_ms];
    console.log(words);
  });
  watching.addEventListener("restart", (event) => event.detail.boot.toFixed(), { once: true });
  watching.addEventListener("error", ({ detail }) => detail.status === 401 && detail.message);
  watching.cushion = "auto";
  const ms: number | null = watching.cushion;
  watching.cushion = ms ?? 100;
  const target: EventTarget = watching;
  target.dispatchEvent(new Event("state"));
  declared.publish(new URL("https://example.org/whip/main"), stream).close();
  const publishing = declared.publish("/whip/main", stream.getVideoTracks(), { iceServers: [{ urls: "stun:example.org" }], rtc: { iceTransportPolicy: "relay" } });
  publishing.replaceTrack(stream.getTracks()[0]!).then(() => {});
  const player: RekindlePlayer = document.createElement("rekindle-player");
  player.addEventListener("error", ({ detail }) => detail.reason === "refused" && (player.token = "t"));

  // @ts-expect-error: a restart says no such thing
  watching.addEventListener("restart", ({ detail }) => detail.nothing);
  // @ts-expect-error: there is no such option
  declared.watch("/whep/main", { iceservers: [] });
  // @ts-expect-error: renewing keys needs one transport
  declared.watch("/whep/main", { rtc: { bundlePolicy: "balanced" } });
  // @ts-expect-error: only the module changes it
  watching.state = "closed";
  // @ts-expect-error: only the module makes one
  new declared.Session();
  // @ts-expect-error: a publisher needs a stream
  declared.publish("/whip/main");
}
