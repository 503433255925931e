/* Bilinear resize of RGB pictures, with the bytes of Pillow; resize.py says how, and calls it.
 *
 * Rename a function whose arguments change: a library that was compiled earlier may still be there.
 */
#include <stddef.h>
#include <stdint.h>

/* Of a weight of one; a sum starts with half of it, which rounds to the nearest. */
#define BITS 22
#define HALF (1 << (BITS - 1))

/* Pixels of a side of the new picture, and bytes of its rows. */
#define SIDE 224
#define ROW (3 * SIDE)

/* Compiled for processors with AVX2 as well; the loader takes what the processor can do. Clang
 * gives such functions other names. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EVERY_CPU __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EVERY_CPU
#endif

/* Numbers that are multiplied, or added, at once; they may lie anywhere among others. */
typedef int32_t Eight __attribute__((vector_size(32), aligned(4), may_alias));

/* Resize along rows: (height, width, 3) to (height, SIDE, 3).
 *
 * first: (SIDE,), the leftmost old pixel of each new one.
 * weights: (SIDE, pairs, 8), of two neighbours: three times that of the left one, three times that
 *     of the right one, and two zeros, as the numbers of their channels lie in memory.
 * row: memory for one row; what its pixels leave free is read, too, times a weight of zero.
 */
FOR_EVERY_CPU void theia_resize_rows(
    const uint8_t *picture, ptrdiff_t height, ptrdiff_t width, const int32_t *first,
    const int32_t *weights, ptrdiff_t pairs, int32_t *row, uint8_t *narrow)
{
  for (ptrdiff_t y = 0; y < height; y++, picture += 3 * width) {
    for (ptrdiff_t i = 0; i < 3 * width; i++) row[i] = picture[i];
    const int32_t *weight = weights;
    for (int x = 0; x < SIDE; x++, narrow += 3) {
      const int32_t *old = row + 3 * first[x];
      Eight sums = {0};
      for (ptrdiff_t pair = 0; pair < pairs; pair++, old += 6, weight += 8)
        sums += *(const Eight *)old * *(const Eight *)weight;
      for (int c = 0; c < 3; c++) narrow[c] = (sums[c] + sums[3 + c] + HALF) >> BITS;
    }
  }
}

/* Resize along columns: (height, SIDE, 3) to (SIDE, SIDE, 3).
 *
 * first: (SIDE,), the uppermost old row of each new one.
 * weights: (SIDE, taps); a row that lies below the picture is read, too, times a weight of zero.
 */
FOR_EVERY_CPU void theia_resize_columns(
    const uint8_t *narrow, const int32_t *first, const int32_t *weights, ptrdiff_t taps,
    uint8_t *resized)
{
  enum { PART = 32 }; /* of a row, whose sums stay in registers */
  _Static_assert(ROW % PART == 0, "a row is made of whole parts");
  for (int y = 0; y < SIDE; y++, weights += taps) {
    for (int x = 0; x < ROW; x += PART, resized += PART) {
      const uint8_t *old = narrow + (ptrdiff_t)first[y] * ROW + x;
      int32_t sums[PART];
      for (int i = 0; i < PART; i++) sums[i] = HALF;
      for (ptrdiff_t tap = 0; tap < taps; tap++, old += ROW)
        for (int i = 0; i < PART; i++) sums[i] += old[i] * weights[tap];
      for (int i = 0; i < PART; i++) resized[i] = sums[i] >> BITS;
    }
  }
}
