/* From a picture to what the model takes, as fdbpl predict prepares it. */

import { resized } from "./resize.js";

const MOST = 89478485; // pixels of a picture
const RATIO = 500; // of its longer side to its shorter

/* Decode a file: upright, its colours as they are stored, transparency laid on white. */
export async function decoded(file) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(file, options).catch(() => {
    throw new Error("It cannot be decoded by this browser.");
  });
  const { width, height } = bitmap;
  if (width * height > MOST || Math.max(width, height) > RATIO * Math.min(width, height)) {
    throw new Error(`It has ${width} x ${height} pixels, which is too large or too narrow.`);
  }
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/* Prepare a decoded picture by what preprocessing.json says: float32 (3, size, size). */
export function prepared({ data, width, height }, about) {
  const size = about.image_size;
  let scaled = [size, size];
  if (about.resize_mode === "shortest") {
    const short = Math.min(width, height);
    scaled = [width, height].map((side) => Math.trunc((size * side) / short));
  }
  const corner = scaled.map((side) => halfToEven(side - size));
  const square = resized(data, [width, height], scaled, about.interpolation, corner, size);
  const found = new Float32Array(3 * size * size);
  for (let colour = 0, to = 0; colour < 3; colour += 1) {
    const std = Math.fround(about.std[colour]);
    const factor = Math.fround(Math.fround(1 / 255) / std);
    const shift = Math.fround(-Math.fround(about.mean[colour]) / std);
    for (let from = colour; from < square.length; from += 3, to += 1) {
      found[to] = Math.fround(square[from] * factor) + shift;
    }
  }
  return found;
}

/* Half of a whole number; a half that is left goes to the even neighbour, as Python rounds. */
function halfToEven(number) {
  const down = Math.floor(number / 2);
  return number % 2 === 0 ? down : down + (down % 2);
}
