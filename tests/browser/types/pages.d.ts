// What tests find in a page: what lib/probe.js has seen of it.

interface Seen {
  connections: RTCPeerConnection[];
  /** When, with which method, which path of which host. */
  requests: [at: number, method: string, path: string, host: string][];
  /** When each was shown, and how many there were by then. */
  frames: [at: number, presented: number][];
  /** Steps of connections. */
  states: [at: number, what: string][];
  /** What the status said. */
  words?: [at: number, text: string][];
  /** DTLS handshakes that have begun, and those of them that consent was the reason for. */
  handshakes: number;
  excused: number;
  held?: [sender: RTCRtpSender, track: MediaStreamTrack];
  note?(what: string): void;
  live?(): RTCPeerConnection | undefined;
  stats?(): Promise<Statistics>;
  hold?(held: boolean): Promise<void>;
  sound?(): Promise<{ madeUp: number; lost: number; nacks: number }>;
  port?(): Promise<number | null>;
  transport?(): Promise<string | null>;
  credentials?(): { remoteUfrag: string; remotePwd: string; localUfrag: string };
  nextFrame?(timeout: number): Promise<number | null>;
  gap?(from: number, to?: number): { ms: number; at: number };
  identity?(): string;
  posts?(): number;
}

interface Statistics {
  state: RTCPeerConnectionState | undefined;
  decoded: number;
  received: number;
  encoded: number;
  packets: number;
  lost: number;
  audio: number;
  sent?: number;
  keyFrames?: number;
  nacks?: number;
  plis?: number;
  dropped?: number;
}

interface Window {
  seen: Seen;
}
