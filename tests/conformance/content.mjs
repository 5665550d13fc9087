// The small pieces of content that tools, prompts and resources of the fixture share.

/** One red pixel. */
export const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";

/** A WAV file with no samples. */
export const WAV = wav();

function wav() {
  const head = Buffer.alloc(44);
  head.write("RIFF", 0, "latin1");
  head.writeUInt32LE(36, 4);
  head.write("WAVEfmt ", 8, "latin1");
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(8000, 24);
  head.writeUInt32LE(8000, 28);
  head.writeUInt16LE(1, 32);
  head.writeUInt16LE(8, 34);
  head.write("data", 36, "latin1");
  return head.toString("base64");
}

export const text = (words) => ({ type: "text", text: words });
export const image = () => ({ type: "image", data: PNG, mimeType: "image/png" });
export const says = (words) => ({ content: [text(words)] });

export const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
