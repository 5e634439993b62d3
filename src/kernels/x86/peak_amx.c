/* SPDX-License-Identifier: MIT */
/* The peak loop of AMX: 16 x 32 times 32 x 16 numbers of bf16 in an instruction, in four sums by turns. */
#include "kernels/peak.h"

#include <immintrin.h>
#include <stdint.h>

enum { SUMS = 4, TILE_ROWS = 16, TILE_BYTES = 64, DEPTH = 32 };

static void multiply_tiles(size_t rounds) {
    const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1,
                .row_bytes = {TILE_BYTES, TILE_BYTES, TILE_BYTES, TILE_BYTES, TILE_BYTES, TILE_BYTES},
                .rows = {TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS, TILE_ROWS}};
    _Alignas(64) uint16_t numbers[TILE_ROWS * DEPTH];
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        numbers[i] = i % 2 == 0 ? 0x3e9a : 0xbe9a; /* 0.3 and -0.3 in bf16 */
    }
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, numbers, TILE_BYTES);
    _tile_loadd(5, numbers, TILE_BYTES);
    for (; rounds > 0; rounds--) {
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 5);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 5);
    }
    _tile_release();
}

void lilac_peak_loops_amx(lilac_peak_loops *loops) {
    loops->bf16 = (lilac_peak_loop){multiply_tiles, (size_t)SUMS * TILE_ROWS * TILE_ROWS * DEPTH * 2};
}
