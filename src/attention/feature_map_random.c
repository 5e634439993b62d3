/* SPDX-License-Identifier: MIT */
/* Random feature maps: Fourier features and the positive features of FAVOR+. */
#include <lilac/feature_map.h>

#include "core/memory.h"
#include "core/random.h"
#include "runtime/context.h"

#include <math.h>
#include <string.h>

/* A map with what its functions need. s w_c is row c of weights and column c of transposed. */
typedef struct random_map {
    lilac_feature_map map; /* first: a pointer to it is one to the whole */
    size_t vectors;        /* number of w_c: C, or C/2 where each gives a cosine and a sine */
    float scale;           /* s */
    float *weights;        /* vectors x D */
    float *transposed;     /* D x vectors */
} random_map;

/* y[c] = s w_c . x for all c. */
static void project(const random_map *map, size_t D, const float *x, float *y) {
    memset(y, 0, map->vectors * sizeof *y);
    for (size_t d = 0; d < D; d++) {
        const float *row = map->transposed + d * map->vectors;
        for (size_t c = 0; c < map->vectors; c++) {
            y[c] += x[d] * row[c];
        }
    }
}

/* y += scale * x */
static void add_scaled(size_t n, float scale, const float *x, float *y) {
    for (size_t i = 0; i < n; i++) {
        y[i] += scale * x[i];
    }
}

static void fourier_forward(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx, float *y,
                            size_t ldy) {
    const random_map *random = map->parameters;
    const float amplitude = 1.0f / sqrtf((float)random->vectors);
    for (size_t i = 0; i < rows; i++) {
        float *cosines = y + i * ldy;
        float *sines = cosines + random->vectors;
        project(random, D, x + i * ldx, cosines);
        for (size_t c = 0; c < random->vectors; c++) {
            const float angle = cosines[c];
            cosines[c] = amplitude * cosf(angle);
            sines[c] = amplitude * sinf(angle);
        }
    }
}

static void fourier_backward(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx,
                             const float *y, size_t ldy, const float *dy, size_t lddy, float *dx, size_t lddx) {
    (void)x, (void)ldx;
    const random_map *random = map->parameters;
    for (size_t i = 0; i < rows; i++) {
        const float *cosines = y + i * ldy, *sines = cosines + random->vectors;
        const float *dcosines = dy + i * lddy, *dsines = dcosines + random->vectors;
        memset(dx + i * lddx, 0, D * sizeof *dx);
        for (size_t c = 0; c < random->vectors; c++) {
            const float dangle = cosines[c] * dsines[c] - sines[c] * dcosines[c];
            add_scaled(D, dangle, random->weights + c * D, dx + i * lddx);
        }
    }
}

static void positive_forward(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx, float *y,
                             size_t ldy) {
    const random_map *random = map->parameters;
    const float amplitude = 1.0f / sqrtf((float)random->vectors);
    for (size_t i = 0; i < rows; i++) {
        const float *row = x + i * ldx;
        float *out = y + i * ldy;
        float squares = 0.0f;
        for (size_t d = 0; d < D; d++) {
            squares += row[d] * row[d];
        }
        const float offset = 0.5f * random->scale * random->scale * squares;
        project(random, D, row, out);
        for (size_t c = 0; c < random->vectors; c++) {
            out[c] = amplitude * expf(out[c] - offset);
        }
    }
}

static void positive_backward(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx,
                              const float *y, size_t ldy, const float *dy, size_t lddy, float *dx, size_t lddx) {
    const random_map *random = map->parameters;
    for (size_t i = 0; i < rows; i++) {
        float total = 0.0f;
        memset(dx + i * lddx, 0, D * sizeof *dx);
        for (size_t c = 0; c < random->vectors; c++) {
            const float dexponent = dy[i * lddy + c] * y[i * ldy + c];
            total += dexponent;
            add_scaled(D, dexponent, random->weights + c * D, dx + i * lddx);
        }
        add_scaled(D, -random->scale * random->scale * total, x + i * ldx, dx + i * lddx);
    }
}

/* Fills w with normal numbers from the stream: two of each pair of words (Box and Muller, 1958). */
static void fill_normal(lilac_random random, size_t count, double *w) {
    const double turn = 6.283185307179586;
    uint32_t words[LILAC_RANDOM_GROUP];
    for (size_t i = 0; i < count; i += 2) {
        const size_t place = i % LILAC_RANDOM_GROUP;
        if (place == 0) {
            lilac_random_group(&random, words);
            random.group++;
        }
        /* The half keeps the logarithm's argument above 0 and below 1. */
        const double radius = sqrt(-2.0 * log(((double)words[place] + 0.5) * 0x1p-32));
        const double angle = turn * ((double)words[place + 1] * 0x1p-32);
        w[i] = radius * cos(angle);
        if (i + 1 < count) {
            w[i + 1] = radius * sin(angle);
        }
    }
}

static double norm(size_t n, const double *x) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i] * x[i];
    }
    return sqrt(sum);
}

/* Makes the `rows` <= D rows of w orthogonal, each keeping its length: modified Gram-Schmidt, twice for accuracy. */
static void orthogonalise(size_t rows, size_t D, double *w) {
    for (size_t i = 0; i < rows; i++) {
        double *row = w + i * D;
        const double length = norm(D, row);
        for (size_t pass = 0; pass < 2; pass++) {
            for (size_t j = 0; j < i; j++) {
                const double *other = w + j * D;
                double product = 0.0, square = 0.0;
                for (size_t d = 0; d < D; d++) {
                    product += row[d] * other[d];
                    square += other[d] * other[d];
                }
                for (size_t d = 0; d < D; d++) {
                    row[d] -= product / square * other[d];
                }
            }
        }
        const double rest = norm(D, row);
        for (size_t d = 0; d < D; d++) {
            row[d] *= length / rest;
        }
    }
}

/* Draws the vectors: the same for a seed whatever the machine. */
static lilac_status draw_vectors(lilac_context *context, random_map *random, bool orthogonal, size_t D, uint64_t seed) {
    double *w = lilac_memory_allocate(random->vectors * D, sizeof *w);
    if (w == NULL) {
        return lilac_fail_memory(context, "the vectors of a random feature map", random->vectors * D * sizeof *w);
    }
    fill_normal(lilac_random_stream(seed, LILAC_RANDOM_FEATURES, 0), random->vectors * D, w);
    for (size_t first = 0; orthogonal && first < random->vectors; first += D) {
        orthogonalise(lilac_size_min(D, random->vectors - first), D, w + first * D);
    }
    for (size_t c = 0; c < random->vectors; c++) {
        for (size_t d = 0; d < D; d++) {
            const float weight = (float)(random->scale * w[c * D + d]);
            random->weights[c * D + d] = weight;
            random->transposed[d * random->vectors + c] = weight;
        }
    }
    lilac_memory_free(w);
    return LILAC_OK;
}

static lilac_status check_arguments(lilac_context *context, lilac_random_features features, size_t D, size_t C,
                                    float scale, lilac_feature_map *const *out) {
    const bool fourier = features == LILAC_RANDOM_FEATURES_FOURIER;
    if (out == NULL || (!fourier && features != LILAC_RANDOM_FEATURES_POSITIVE)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "random feature map: %s",
                          out == NULL ? "out is NULL" : "unknown kind");
    }
    if (D == 0 || C == 0) {
        return lilac_fail(context, LILAC_ERROR_SHAPE,
                          "random feature map: from %zu to %zu numbers: expected at least 1", D, C);
    }
    if (fourier && C % 2 != 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                          "random feature map: expected an even size for Fourier features, "
                          "got %zu",
                          C);
    }
    if (!isfinite(scale) || scale <= 0.0f) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "random feature map: expected a scale above 0, got %g",
                          (double)scale);
    }
    return LILAC_OK;
}

lilac_status lilac_feature_map_create_random(lilac_context *context, lilac_random_features features, size_t D, size_t C,
                                             float scale, uint64_t seed, lilac_feature_map **out) {
    LILAC_TRY(check_arguments(context, features, D, C, scale, out));
    const bool fourier = features == LILAC_RANDOM_FEATURES_FOURIER;
    const size_t vectors = fourier ? C / 2 : C;
    size_t count;
    if (!lilac_size_multiply(vectors, D, &count) || count > PTRDIFF_MAX / (4 * sizeof(double))) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "random feature map: from %zu to %zu numbers is too large", D,
                          C);
    }
    const size_t header = lilac_round_up(sizeof(random_map), LILAC_ALIGNMENT);
    const size_t bytes = header + 2 * count * sizeof(float);
    random_map *random = lilac_memory_allocate(bytes, 1);
    if (random == NULL) {
        return lilac_fail_memory(context, "a random feature map", bytes);
    }
    random->map = (lilac_feature_map){
        .input_size = D,
        .output_size = C,
        .forward = fourier ? fourier_forward : positive_forward,
        .backward = fourier ? fourier_backward : positive_backward,
        .parameters = random,
    };
    random->vectors = vectors;
    random->scale = scale;
    random->weights = (float *)((char *)random + header);
    random->transposed = random->weights + count;
    const lilac_status status = draw_vectors(context, random, !fourier, D, seed);
    if (status != LILAC_OK) {
        lilac_memory_free(random);
        return status;
    }
    *out = &random->map;
    return LILAC_OK;
}

void lilac_feature_map_destroy(lilac_feature_map *map) {
    lilac_memory_free(map);
}
