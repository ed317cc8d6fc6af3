/* Resizing as Pillow does it, to the last bit: src/libImaging/Resample.c of Pillow, for bytes.

   A pixel is a weighted sum of those near it, along rows and along columns, each rounded to a byte.
   Weights are whole numbers of 22 bits behind the point. A canvas resizes otherwise, and each
   browser in its own way. */

const BITS = 22;

const FILTERS = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { support: 2, weight: bicubic },
};

function bicubic(distance) {
  const a = -0.5;
  const x = Math.abs(distance);
  if (x < 1) {
    return ((a + 2) * x - (a + 3)) * x * x + 1;
  }
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/* The weights of `count` places from `first` on, of `after` places that `before` become. */
function weights(before, after, filter, first, count) {
  const scale = before / after;
  const stretch = Math.max(scale, 1);
  const reach = filter.support * stretch;
  return Array.from({ length: count }, (_, index) => {
    const centre = (first + index + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(before, Math.trunc(centre + reach + 0.5));
    const found = [];
    let sum = 0;
    for (let place = start; place < end; place += 1) {
      // times the inverse, not divided: Pillow rounds so
      const weight = filter.weight((place - centre + 0.5) * (1 / stretch));
      found.push(weight);
      sum += weight;
    }
    const whole = found.map((weight) => {
      const share = (sum === 0 ? weight : weight / sum) * 2 ** BITS;
      return Math.trunc(share < 0 ? share - 0.5 : share + 0.5);
    });
    return { start, whole };
  });
}

/* Resize a picture and cut a window out of it.

   `bytes` are the red, green, blue and opacity of width x height pixels, row by row; the whole is
   resized to scaled[0] x scaled[1], and the square of `size` pixels from `corner` on is returned as
   red, green, blue of each pixel, row by row. */
export function resized(bytes, [width, height], scaled, interpolation, corner, size) {
  const filter = FILTERS[interpolation];
  const columns = weights(width, scaled[0], filter, corner[0], size);
  const rows = weights(height, scaled[1], filter, corner[1], size);
  // from version 13 on, Pillow brings pictures that lose much more height than width down first
  if (height - scaled[1] > 2 * Math.max(0, width - scaled[0])) {
    const [left, right] = span(columns);
    const low = alongColumns(bytes, 4, width, left, right, rows);
    return alongRows(low, 3, right - left, 0, size, moved(columns, left));
  }
  const [top, bottom] = span(rows);
  const narrow = alongRows(bytes, 4, width, top, bottom, columns);
  return alongColumns(narrow, 3, size, 0, size, moved(rows, top));
}

/* The first place that weights reach, and the one behind the last. */
function span(all) {
  const ends = all.map(({ start, whole }) => start + whole.length);
  return [all[0].start, Math.max(...ends)];
}

/* The same weights where the first `by` places are cut off. */
function moved(all, by) {
  return all.map(({ start, whole }) => ({ start: start - by, whole }));
}

/* Sum along the rows from `top` to `bottom` of pixels that are `step` bytes apart. */
function alongRows(bytes, step, width, top, bottom, columns) {
  const found = new Uint8ClampedArray(3 * columns.length * (bottom - top));
  for (let y = top, to = 0; y < bottom; y += 1) {
    for (const { start, whole } of columns) {
      for (let colour = 0; colour < 3; colour += 1, to += 1) {
        found[to] = weighed(bytes, step * (y * width + start) + colour, step, whole);
      }
    }
  }
  return found;
}

/* Likewise along the columns from `left` to `right`. */
function alongColumns(bytes, step, width, left, right, rows) {
  const found = new Uint8ClampedArray(3 * (right - left) * rows.length);
  let to = 0;
  for (const { start, whole } of rows) {
    for (let x = left; x < right; x += 1) {
      for (let colour = 0; colour < 3; colour += 1, to += 1) {
        found[to] = weighed(bytes, step * (start * width + x) + colour, step * width, whole);
      }
    }
  }
  return found;
}

function weighed(bytes, from, step, whole) {
  let sum = 1 << (BITS - 1);
  for (let index = 0, place = from; index < whole.length; index += 1, place += step) {
    sum += bytes[place] * whole[index];
  }
  return sum >> BITS; // a clamped array cuts it to a byte
}
