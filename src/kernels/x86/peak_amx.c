/* SPDX-License-Identifier: MIT */
/* The peak loop of AMX: 16 x 32 times 32 x 16 numbers of bf16 in an instruction, in four sums by turns. */
#include "kernels/peak.h"
#include "kernels/x86/tiles_amx.h"

enum { SUMS = 4, ROWS = 16, DEPTH = 32 };

/* Tiles: 0 to 3 sums, 4 and 5 operands. */
static void multiply_tiles(size_t rounds) {
    _Alignas(64) uint16_t numbers[ROWS * DEPTH];
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        numbers[i] = i % 2 == 0 ? 0x3e9a : 0xbe9a; /* 0.3 and -0.3 in bf16 */
    }
    set_tile_shapes();
    finish_stores();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, numbers, ROW_BYTES);
    _tile_loadd(5, numbers, ROW_BYTES);
    for (; rounds > 0; rounds--) {
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 5);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 5);
    }
    _tile_release();
}

void lilac_peak_loops_amx(lilac_peak_loops *loops) {
    loops->bf16 = (lilac_peak_loop){multiply_tiles, (size_t)SUMS * ROWS * ROWS * DEPTH * 2};
}
