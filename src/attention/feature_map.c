/* SPDX-License-Identifier: MIT */
/* The feature maps without parameters. */
#include <lilac/feature_map.h>

#include <math.h>
#include <string.h>

size_t lilac_feature_map_output_size(const lilac_feature_map *map, size_t D) {
    if (map == NULL || (map->input_size != 0 && map->input_size != D)) {
        return 0;
    }
    return map->output_size == 0 ? D : map->output_size;
}

static void elu_plus_one_forward(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx,
                                 float *y, size_t ldy) {
    (void)map;
    for (size_t i = 0; i < rows; i++) {
        for (size_t d = 0; d < D; d++) {
            const float value = x[i * ldx + d];
            /* Not (exp(x) - 1) + 1, which is 0 below -17. */
            y[i * ldy + d] = value > 0.0f ? value + 1.0f : expf(value);
        }
    }
}

static void elu_plus_one_backward(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx,
                                  const float *y, size_t ldy, const float *dy, size_t lddy, float *dx, size_t lddx) {
    (void)map;
    for (size_t i = 0; i < rows; i++) {
        for (size_t d = 0; d < D; d++) {
            const float slope = x[i * ldx + d] > 0.0f ? 1.0f : y[i * ldy + d];
            dx[i * lddx + d] = dy[i * lddy + d] * slope;
        }
    }
}

static void relu_forward(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx, float *y,
                         size_t ldy) {
    (void)map;
    for (size_t i = 0; i < rows; i++) {
        for (size_t d = 0; d < D; d++) {
            const float value = x[i * ldx + d];
            y[i * ldy + d] = value > 0.0f ? value : 0.0f;
        }
    }
}

static void relu_backward(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx,
                          const float *y, size_t ldy, const float *dy, size_t lddy, float *dx, size_t lddx) {
    (void)map, (void)y, (void)ldy;
    for (size_t i = 0; i < rows; i++) {
        for (size_t d = 0; d < D; d++) {
            dx[i * lddx + d] = x[i * ldx + d] > 0.0f ? dy[i * lddy + d] : 0.0f;
        }
    }
}

static void squared_relu_forward(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx,
                                 float *y, size_t ldy) {
    (void)map;
    for (size_t i = 0; i < rows; i++) {
        for (size_t d = 0; d < D; d++) {
            const float value = x[i * ldx + d];
            y[i * ldy + d] = value > 0.0f ? value * value : 0.0f;
        }
    }
}

static void squared_relu_backward(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx,
                                  const float *y, size_t ldy, const float *dy, size_t lddy, float *dx, size_t lddx) {
    (void)map, (void)y, (void)ldy;
    for (size_t i = 0; i < rows; i++) {
        for (size_t d = 0; d < D; d++) {
            const float value = x[i * ldx + d];
            dx[i * lddx + d] = value > 0.0f ? dy[i * lddy + d] * (2.0f * value) : 0.0f;
        }
    }
}

static void exp_forward(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx, float *y,
                        size_t ldy) {
    (void)map;
    for (size_t i = 0; i < rows; i++) {
        for (size_t d = 0; d < D; d++) {
            y[i * ldy + d] = expf(x[i * ldx + d]);
        }
    }
}

static void exp_backward(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx,
                         const float *y, size_t ldy, const float *dy, size_t lddy, float *dx, size_t lddx) {
    (void)map, (void)x, (void)ldx;
    for (size_t i = 0; i < rows; i++) {
        for (size_t d = 0; d < D; d++) {
            dx[i * lddx + d] = dy[i * lddy + d] * y[i * ldy + d];
        }
    }
}

static void copy_rows(size_t rows, size_t D, const float *x, size_t ldx, float *y, size_t ldy) {
    for (size_t i = 0; i < rows; i++) {
        memcpy(y + i * ldy, x + i * ldx, D * sizeof *y);
    }
}

static void identity_forward(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx, float *y,
                             size_t ldy) {
    (void)map;
    copy_rows(rows, D, x, ldx, y, ldy);
}

static void identity_backward(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx,
                              const float *y, size_t ldy, const float *dy, size_t lddy, float *dx, size_t lddx) {
    (void)map, (void)x, (void)ldx, (void)y, (void)ldy;
    copy_rows(rows, D, dy, lddy, dx, lddx);
}

const lilac_feature_map *lilac_feature_map_elu_plus_one(void) {
    static const lilac_feature_map map = {.forward = elu_plus_one_forward, .backward = elu_plus_one_backward};
    return &map;
}

const lilac_feature_map *lilac_feature_map_relu(void) {
    static const lilac_feature_map map = {.forward = relu_forward, .backward = relu_backward};
    return &map;
}

const lilac_feature_map *lilac_feature_map_squared_relu(void) {
    static const lilac_feature_map map = {.forward = squared_relu_forward, .backward = squared_relu_backward};
    return &map;
}

const lilac_feature_map *lilac_feature_map_exp(void) {
    static const lilac_feature_map map = {.forward = exp_forward, .backward = exp_backward};
    return &map;
}

const lilac_feature_map *lilac_feature_map_identity(void) {
    static const lilac_feature_map map = {.forward = identity_forward, .backward = identity_backward};
    return &map;
}
