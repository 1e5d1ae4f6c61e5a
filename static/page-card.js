/**
 * The picture that viewers get while the camera is off: words, so that they know, and frames, so that their connections are as ever.
 *
 * @module
 */

const WIDTH = 640;
const HEIGHT = 360;
/** Interval at which it is sent, in ms. */
const EVERY_MS = 500;

/** @param {string} text @returns {MediaStreamTrack | null} null where the browser makes none */
export function card(text) {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  if (!context || !canvas.captureStream) return null;
  [canvas.width, canvas.height] = [WIDTH, HEIGHT];
  let odd = false;
  const draw = () => {
    context.fillStyle = "#1f1d1b";
    context.fillRect(0, 0, WIDTH, HEIGHT);
    context.fillStyle = "#f1eeea";
    context.font = "600 32px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(text, WIDTH / 2, HEIGHT / 2);
    // A picture that is drawn anew and is the same is not sent by every browser.
    odd = !odd;
    context.fillStyle = odd ? "#1f1d1b" : "#201e1c";
    context.fillRect(0, 0, 2, 2);
  };
  draw();
  const [track = null] = canvas.captureStream(2).getVideoTracks();
  const timer = setInterval(() => {
    if (track?.readyState === "live") draw();
    else clearInterval(timer);
  }, EVERY_MS);
  return track;
}
