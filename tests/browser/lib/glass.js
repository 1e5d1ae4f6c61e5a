// From glass to glass: the publisher's camera is a canvas that shows the time as bars, and the viewer reads the bars off its screen.
// The functions run in pages, and refer to nothing outside themselves.

/** In the publisher's page, before it asks for a camera: the picture is the time in ms, in 16 bars, low bit first, black is 0. */
export function paint() {
  const media = navigator.mediaDevices;
  const get = media.getUserMedia.bind(media);
  media.getUserMedia = async (wanted) => {
    const stream = await get({ audio: wanted.audio });
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: 320, height: 240 });
    const context = canvas.getContext("2d");
    const draw = () => {
      const now = Date.now() & 0xffff;
      for (let bit = 0; bit < 16; bit++) {
        context.fillStyle = (now >> bit) & 1 ? "white" : "black";
        context.fillRect(bit * 20, 0, 20, 240);
      }
    };
    draw();
    setInterval(draw, 33);
    for (const track of canvas.captureStream(30).getVideoTracks()) stream.addTrack(track);
    return stream;
  };
}

/** In the viewer's page: how old the frames of the next `ms` were when they were shown, each in ms. */
export function read(ms) {
  const video = document.querySelector("video");
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: 320, height: 240 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const ages = [];
  return new Promise((resolve) => {
    const until = performance.now() + ms;
    const shown = (now, { expectedDisplayTime }) => {
      context.drawImage(video, 0, 0, 320, 240);
      const { data } = context.getImageData(0, 120, 320, 1);
      let painted = 0;
      for (let bit = 0; bit < 16; bit++) if (data[(bit * 20 + 10) * 4] > 127) painted |= 1 << bit;
      const age = (Math.round(performance.timeOrigin + expectedDisplayTime) - painted) & 0xffff;
      // A frame between two pictures is read as neither.
      if (age < 5000) ages.push(age);
      if (performance.now() < until) video.requestVideoFrameCallback(shown);
      else resolve(ages);
    };
    video.requestVideoFrameCallback(shown);
  });
}
