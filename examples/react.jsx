import { useEffect, useRef, useState } from "react";
import { watch } from "rekindle";

/** A channel: `<Channel url="https://media.example.org/whep/main" />`. Strict mode, which mounts twice, costs nothing. */
export function Channel({ url, token }) {
  const video = useRef(null);
  const [state, setState] = useState("connecting");
  useEffect(() => {
    const leave = new AbortController();
    const session = watch(url, { token, signal: leave.signal });
    const show = () => {
      if (video.current) video.current.srcObject = session.stream;
    };
    session.addEventListener("track", show);
    session.addEventListener("replaced", show);
    session.addEventListener("state", ({ detail }) => leave.signal.aborted || setState(detail.state));
    return () => leave.abort();
  }, [url, token]);
  return (
    <figure>
      <video ref={video} autoPlay muted playsInline />
      <figcaption>{state}</figcaption>
    </figure>
  );
}
